//! The shim: one small process per pod that owns its namespaces and its containers' streams, and outlives the agent.
//!
//! It pins the pod's namespaces by living, starts the creator for each container, writes logs, reaps, records exits and
//! answers on a socket. Single-threaded, one `poll` loop, no allocation to speak of while idle. It must not know what a
//! container is made of (the creator does), must not talk to the network, and must not trust what it reads from its
//! socket or from containers.

#[path = "shim/client.rs"]
mod client;
#[path = "shim/container.rs"]
mod container;
#[path = "shim/hold.rs"]
mod hold;
#[path = "shim/log.rs"]
mod log;
#[path = "shim/requests.rs"]
mod requests;
#[path = "shim/server.rs"]
mod server;
#[path = "shim/setup.rs"]
mod setup;
#[path = "shim/spawn.rs"]
mod spawn;
#[path = "shim/sys.rs"]
mod sys;

use std::io::Write;

/// `dunlin-shim --hold <name>`: stands for a guest of another process. `dunlin-shim <sandbox directory>`: prints `ready <pid>` or `error <text>` on standard output once, and goes on in the
/// background when it was `ready`.
fn main() {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: dunlin-shim <sandbox directory>");
        std::process::exit(2);
    };
    if directory == dunlin_shim::hold::HOLD {
        hold::run(&std::env::args().nth(2).unwrap_or_default());
    }
    if let Err(error) = std::env::set_current_dir(&directory) {
        report(&format!("error entering the sandbox's directory: {error}"));
        std::process::exit(1);
    }
    // The first process ends at once, so that the agent has no child to wait for and its end is nothing to us.
    match sys::fork() {
        Ok(0) => {}
        Ok(_) => return,
        Err(error) => {
            report(&format!("error forking: {error}"));
            std::process::exit(1);
        }
    }
    match setup::setup() {
        Ok(ready) => {
            // An agent that has gone will not know of this sandbox, and makes another when it comes back.
            if !report(&format!("ready {}", std::process::id())) {
                std::process::exit(1);
            }
            if sys::stdio_to_null("shim.log").is_err() {
                // Only diagnostics are lost.
            }
            server::run(ready);
        }
        Err(error) => {
            report(&format!("error {error}"));
            std::process::exit(1);
        }
    }
}

/// Whether there was somebody to take the line.
fn report(line: &str) -> bool {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}
