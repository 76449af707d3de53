//! Loading and running a guest in this process, whatever it is.

use std::fs::File;
use std::os::fd::AsRawFd;

use tokio::sync::watch;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::code::Code;
use crate::command::{self, TRAPPED};
use crate::context::{Guest, Place};
use crate::engine::Kind;
use crate::http::{self, Server};
use crate::signals;
use crate::ticker::Ticker;

/// The interface that makes a component a server, whatever its version.
const HANDLER: &str = "wasi:http/incoming-handler@";

/// A program that is loaded and runs once.
pub struct Program {
    engine: Engine,
    form: Form,
}

enum Form {
    Module(Module),
    Command(Component),
    Server(Component),
}

/// Loads compiled code, without beginning anything: a process may fork between this and [`run`].
///
/// # Errors
/// When the engine does not take it.
pub fn load(code: Code) -> Result<Program, String> {
    form(code).map_err(|error| format!("{error:#}"))
}

fn form(code: Code) -> wasmtime::Result<Program> {
    let engine = code.engine;
    let form = match code.kind {
        // SAFETY: a `Code` comes from the cache, which has checked that it is whole and what this engine has compiled.
        Kind::Module => Form::Module(unsafe { Module::deserialize_open_file(&engine, code.file)? }),
        Kind::Component => {
            let component = component(&engine, &code.file)?;
            let serves =
                component.component_type().exports(&engine).any(|(name, _)| name.starts_with(HANDLER));
            if serves { Form::Server(component) } else { Form::Command(component) }
        }
    };
    Ok(Program { engine, form })
}

pub(crate) fn component(engine: &Engine, file: &File) -> wasmtime::Result<Component> {
    // There is no function that takes an open file, as there is for modules.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: as for modules.
    unsafe { Component::deserialize_file(engine, path) }
}

impl Program {
    /// Whether it is a component that serves HTTP.
    pub fn serves(&self) -> bool {
        matches!(self.form, Form::Server(_))
    }
}

/// Runs a program to its end and returns its exit code. The process must have no other threads yet, and belongs to the guest
/// from now on: a signal that is to end the guest ends the process, but for a server, which answers what it was asked.
pub fn run(program: &Program, guest: &Guest) -> i32 {
    let place = Place::alone(guest);
    begin(program, &place).unwrap_or_else(|error| {
        place.complain(format_args!("{error:#}"));
        TRAPPED
    })
}

fn begin(program: &Program, place: &Place) -> wasmtime::Result<i32> {
    let (stop, stopped) = watch::channel(false);
    let serves = program.serves();
    signals::watch(move |signal| match serves {
        true => drop(stop.send(true)),
        false => std::process::exit(128 + signal),
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let engine = &program.engine;
        Ok(match &program.form {
            Form::Module(module) => command::module(engine, module, place).await,
            Form::Command(component) => command::component(engine, component, place).await,
            Form::Server(component) => {
                let server = Server::new(engine, component, place, &Ticker::new(engine.clone())?)?;
                match http::listen(&place.guest.ports) {
                    Ok(listeners) => {
                        server.serve(listeners, stopped).await?;
                        0
                    }
                    Err(reason) => {
                        place.complain(format_args!("{reason}"));
                        1
                    }
                }
            }
        })
    })
}
