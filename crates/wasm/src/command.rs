//! Commands: a program that is run once, to its end.

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Module};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::{I32Exit, p1, p2};

use crate::context::{Counted, Place, State, Taken};

/// The exit code of a guest that did what it must not: as of a process that aborted itself.
pub const TRAPPED: i32 = 134;

struct Module1 {
    wasi: WasiP1Ctx,
    taken: Taken,
}

impl Counted for Module1 {
    fn taken(&mut self) -> &mut Taken {
        &mut self.taken
    }
}

/// Runs a module of WASI preview 1; its exit code.
pub async fn module(engine: &Engine, module: &Module, place: &Place) -> i32 {
    let run = async {
        let mut linker = wasmtime::Linker::new(engine);
        p1::add_to_linker_async(&mut linker, |state: &mut Module1| &mut state.wasi)?;
        let state = Module1 { wasi: place.surroundings()?.build_p1(), taken: Taken::default() };
        let mut store = place.store(engine, state);
        let instance = linker.instantiate_async(&mut store, module).await?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        start.call_async(&mut store, ()).await
    };
    code(place, run.await.map(|()| 0))
}

/// Runs a component of the world `wasi:cli/command`; its exit code.
pub async fn component(engine: &Engine, component: &Component, place: &Place) -> i32 {
    let run = async {
        let mut linker = Linker::new(engine);
        p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        let mut store =
            place.store(engine, State::new(place.surroundings()?.build(), place.guest.host_network));
        let command = Command::instantiate_async(&mut store, component, &linker).await?;
        command.wasi_cli_run().call_run(&mut store).await
    };
    code(place, run.await.map(|result| i32::from(result.is_err())))
}

/// What became of a guest, as an exit code. What it cannot say itself is said on standard error.
fn code(place: &Place, result: wasmtime::Result<i32>) -> i32 {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return exit.0;
    }
    place.complain(format_args!("{error:#}"));
    TRAPPED
}
