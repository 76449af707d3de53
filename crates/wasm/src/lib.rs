//! WebAssembly for pods: code is compiled once per machine and engine version, commands run to their end, and `wasi:http`
//! components serve.
//!
//! This crate knows neither pods nor containers. Whoever calls it is already where the guest shall be: in its file system,
//! network, cgroup and user. What the guest may do is what that place offers, and no more than [`Guest`] says.

mod code;
mod command;
mod context;
mod engine;
mod host;
mod http;
mod pace;
mod run;
mod signals;
mod ticker;

pub use code::{Cache, Code, Error, LARGEST};
pub use context::Guest;
pub use engine::{Kind, compile, probe};
pub use host::{Host, Hosted};
pub use http::listen;
pub use run::{Program, load, run};
pub use signals::hold as hold_signals;
