//! What a runtime asks of a shim.

use crate::wire::{Error, Reader, Writer};

/// Start a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Start {
    /// Its id.
    pub container: String,
    /// The creator's executable.
    pub executable: String,
    /// The bundle: where the creator finds what to make, and where the exit record goes.
    pub bundle: String,
    /// The log file; empty for none.
    pub log_path: String,
    /// Rotate a log larger than this, bytes; 0 for never.
    pub log_max_size: u64,
    /// Rotated files kept.
    pub log_max_files: u32,
    /// The container has a terminal.
    pub tty: bool,
    /// Its standard input can be attached.
    pub stdin: bool,
    /// Close standard input when the first attached client leaves.
    pub stdin_once: bool,
    /// The container's `cgroup.procs`, to end what outlives its first process.
    pub cgroup_procs: String,
    /// The file with a line `oom_kill <n>`.
    pub oom_file: String,
    /// After how many milliseconds a creator that reports nothing is ended.
    pub timeout_ms: u32,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The first message of every connection.
    Hello {
        /// The protocol version the runtime speaks.
        version: u16,
        /// Whether this connection wants to be told of exits.
        events: bool,
    },
    /// Start a container; answered when its process is executed.
    Start(Box<Start>),
    /// List the containers.
    List,
    /// Send a signal to the first process; `SIGKILL` goes to all in the cgroup.
    Signal {
        /// Which container.
        container: String,
        /// Which signal.
        signal: i32,
    },
    /// Forget a dead container.
    Remove {
        /// Which container.
        container: String,
    },
    /// Turn this connection into one end of the container's streams.
    Attach {
        /// Which container.
        container: String,
    },
    /// Bytes for standard input (attached connections only).
    Stdin(Vec<u8>),
    /// No more input comes from this client.
    CloseStdin,
    /// The client's terminal has a new size.
    Resize {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// Kill everything and end.
    Shutdown,
}

impl Request {
    /// Kind and fields.
    pub fn encode(&self) -> (u8, Vec<u8>) {
        let mut w = Writer::default();
        let kind = match self {
            Request::Hello { version, events } => {
                w.u16(*version);
                w.bool(*events);
                1
            }
            Request::Start(s) => {
                for text in [&s.container, &s.executable, &s.bundle, &s.log_path] {
                    w.text(text);
                }
                w.u64(s.log_max_size);
                w.u32(s.log_max_files);
                w.bool(s.tty);
                w.bool(s.stdin);
                w.bool(s.stdin_once);
                w.text(&s.cgroup_procs);
                w.text(&s.oom_file);
                w.u32(s.timeout_ms);
                2
            }
            Request::List => 3,
            Request::Signal { container, signal } => {
                w.text(container);
                w.i32(*signal);
                4
            }
            Request::Remove { container } => {
                w.text(container);
                5
            }
            Request::Attach { container } => {
                w.text(container);
                6
            }
            Request::Stdin(bytes) => {
                w.0.extend_from_slice(bytes);
                7
            }
            Request::CloseStdin => 8,
            Request::Resize { width, height } => {
                w.u16(*width);
                w.u16(*height);
                9
            }
            Request::Shutdown => 10,
        };
        (kind, w.0)
    }

    /// Reads a message from its kind and fields.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader(payload);
        Ok(match kind {
            1 => Request::Hello { version: r.u16()?, events: r.bool()? },
            2 => Request::Start(Box::new(Start {
                container: r.text()?,
                executable: r.text()?,
                bundle: r.text()?,
                log_path: r.text()?,
                log_max_size: r.u64()?,
                log_max_files: r.u32()?,
                tty: r.bool()?,
                stdin: r.bool()?,
                stdin_once: r.bool()?,
                cgroup_procs: r.text()?,
                oom_file: r.text()?,
                timeout_ms: r.u32()?,
            })),
            3 => Request::List,
            4 => Request::Signal { container: r.text()?, signal: r.i32()? },
            5 => Request::Remove { container: r.text()? },
            6 => Request::Attach { container: r.text()? },
            7 => Request::Stdin(payload.to_vec()),
            8 => Request::CloseStdin,
            9 => Request::Resize { width: r.u16()?, height: r.u16()? },
            10 => Request::Shutdown,
            kind => return Err(Error::Kind(kind)),
        })
    }
}
