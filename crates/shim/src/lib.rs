//! What the shim and those who talk to it share: the wire format, the messages, the exit record, log lines.
//!
//! Everything here but `sys` is pure, and nothing depends on more than `libc`, because it is linked into a process that
//! exists once per pod and is meant to cost some hundred kilobytes. The process itself is the binary of this crate.

pub mod crilog;
pub mod exit;
pub mod hold;
pub mod message;
pub mod sys;
pub mod wire;

pub use exit::ExitRecord;

/// The protocol this crate speaks. A shim outlives the agent that started it, so an agent must go on speaking every
/// version whose shims may still run; within a version fields are only ever appended.
pub const VERSION: u16 = 1;

/// The shim's socket, in the sandbox's directory.
pub const SOCKET: &str = "shim.sock";
/// What the shim is to set up, in the sandbox's directory.
pub const CONFIG: &str = "shim.conf";
/// The exit record, in a container's bundle.
pub const EXIT_FILE: &str = "exit";
/// The descriptor on which a creator finds its control socket.
pub const CONTROL_FD: i32 = 3;
