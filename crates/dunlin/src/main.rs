//! The `dunlin` program: it reads the command line and calls the part that does the work.
//!
//! Two hidden commands make containers, and under another name it is a container runtime's network plugin; these run before anything that starts a thread, because they clone processes.

mod flags;
mod images;
mod progress;
mod roles;
mod simulate;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use flags::{Command, Flags};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum Error {
    App(#[from] dunlin_app::Error),
    Client(#[from] dunlin_client::Error),
    Simulate(#[from] simulate::Error),
    Runtime(#[from] std::io::Error),
}

fn main() -> ExitCode {
    dunlin_app::creator::main_if_asked();
    dunlin_app::plugin::main_if_asked();
    // Wrong usage ends with 2, help with 0; clap prints both.
    let flags = Flags::parse();
    match run(flags) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("dunlin: {}", dunlin_base::error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> Result<u8, Error> {
    // Several of our libraries use rustls; all of them use this provider. A second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match flags.command {
        Command::Server(server) => roles::server(*server, flags.global).map(|()| 0),
        Command::Agent(agent) => roles::agent(agent, flags.global).map(|()| 0),
        Command::Reset { yes, all } => roles::reset(yes, all, &flags.global).map(|()| 0),
        Command::Image(image) => roles::on_one_thread(images::run(image, &flags.global)).map(|()| 0),
        Command::Simulate { file, world, output } => simulate::run(&file, &world, output).map(|()| 0),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Flags::command(), "dunlin", &mut std::io::stdout());
            Ok(0)
        }
        verb => roles::on_one_thread(verbs::run(verb, &flags.global)),
    }
}
