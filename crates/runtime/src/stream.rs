//! A live session with a process: what goes in, what comes out, how it ended.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::spec::{ExitStatus, TerminalSize};

/// What a client sends into a session.
#[derive(Debug, Clone)]
pub enum SessionInput {
    /// Bytes for standard input.
    Stdin(Bytes),
    /// Standard input is at its end.
    CloseStdin,
    /// The client's terminal has a new size.
    Resize(TerminalSize),
}

/// What comes out of a session. `Exited` is the last.
#[derive(Debug, Clone)]
pub enum SessionOutput {
    /// Bytes of standard output (of the terminal, if there is one).
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// The process has ended (for an attach: the container has).
    Exited(ExitStatus),
    /// The session broke; the process's fate is unknown.
    Failed(String),
}

/// Both ends of a session. Dropping it ends an exec's process with `SIGKILL` and leaves an attached container alone.
///
/// The channels are bounded (a slow client slows the process down instead of filling memory).
#[derive(Debug)]
pub struct Session {
    /// Towards the process.
    pub input: mpsc::Sender<SessionInput>,
    /// From the process.
    pub output: mpsc::Receiver<SessionOutput>,
}
