//! The engine's settings, which compiled code depends on, and what a file of WebAssembly is.

use std::hash::{DefaultHasher, Hash, Hasher};

use wasmtime::{Config, Engine, Instance, Module, Store};

/// The two forms of WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A core module: WASI preview 1.
    Module,
    /// A component: WASI 0.2.
    Component,
}

impl Kind {
    /// What the bytes begin as; `None` if it is neither.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes.get(..8)? {
            b"\0asm\x01\0\0\0" => Some(Self::Module),
            b"\0asm\x0d\0\x01\0" => Some(Self::Component),
            _ => None,
        }
    }
}

/// The engine that compiles and runs. Every guest can be interrupted, so that one that never ends holds up no other.
pub fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    Engine::new(&config)
}

/// A name for all that compiled code depends on: the engine's version and settings and the processor's features.
pub fn version(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Compiles; slow, and hungry for large modules. The result is machine code.
///
/// # Errors
/// When it is no valid WebAssembly, with the place and the reason.
pub fn compile(kind: Kind, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let text = |error: wasmtime::Error| format!("{error:#}");
    let engine = engine().map_err(text)?;
    match kind {
        Kind::Module => engine.precompile_module(bytes),
        Kind::Component => engine.precompile_component(bytes),
    }
    .map_err(text)
}

/// Compiles and runs something small: some machines forbid memory that is written and then executed.
///
/// # Errors
/// When this machine cannot run WebAssembly, with the reason.
pub fn probe() -> Result<(), String> {
    // (module (func (export "a") (result i32) i32.const 42))
    const ANSWER: &[u8] = b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\x07\x05\x01\x01a\0\0\x0a\x06\x01\x04\0\x41\x2a\x0b";
    let run = || {
        let engine = engine()?;
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let instance = Instance::new(&mut store, &Module::new(&engine, ANSWER)?, &[])?;
        instance.get_typed_func::<(), i32>(&mut store, "a")?.call(&mut store, ())
    };
    match run() {
        Ok(42) => Ok(()),
        Ok(other) => Err(format!("a test module answered {other} instead of 42")),
        Err(error) => Err(format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_components_are_told_apart_from_everything_else() {
        let module = wat::parse_str("(module)").unwrap();
        let component = wat::parse_str("(component)").unwrap();
        assert_eq!(Kind::of(&module), Some(Kind::Module));
        assert_eq!(Kind::of(&component), Some(Kind::Component));
        for other in [&b"\x7fELF\x02\x01\x01\0"[..], b"\0asm", b"", b"#!/bin/sh\n"] {
            assert_eq!(Kind::of(other), None);
        }
    }

    #[test]
    fn the_version_stays_the_same() {
        assert_eq!(version(&engine().unwrap()), version(&engine().unwrap()));
    }

    #[test]
    fn this_machine_runs_it() {
        probe().unwrap();
    }

    #[test]
    fn what_cannot_be_compiled_says_where() {
        let reason = compile(Kind::Module, b"\0asm\x01\0\0\0\xff").unwrap_err();
        assert!(reason.contains("offset"), "{reason}");
    }
}
