//! What a shim answers, and what it tells unasked.

use super::Failure;
use crate::exit::ExitRecord;
use crate::wire::{Error, Reader, Writer};

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The creator is at work.
    Creating,
    /// Its first process runs.
    Running {
        /// Host pid.
        pid: u32,
        /// Nanoseconds since 1970.
        started: u64,
    },
    /// It has ended.
    Exited(ExitRecord),
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerInfo {
    /// Its id.
    pub id: String,
    /// What it does.
    pub state: State,
}

/// An answer or a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To `Hello`.
    Hello {
        /// The protocol version the shim speaks.
        version: u16,
        /// The shim's pid.
        pid: u32,
        /// The pid of the shared PID namespace's process 1; 0 if there is none.
        reaper: u32,
    },
    /// Done, nothing to say.
    Done,
    /// Not done.
    Failed {
        /// What kind of failure.
        failure: Failure,
        /// In words.
        text: String,
    },
    /// To `Start`.
    Started {
        /// Host pid.
        pid: u32,
        /// Nanoseconds since 1970.
        started: u64,
    },
    /// To `List`.
    Containers(Vec<ContainerInfo>),
    /// Unasked: a container has ended.
    Exited {
        /// Which.
        container: String,
        /// How.
        record: ExitRecord,
    },
    /// Output of an attached container.
    Stdout(Vec<u8>),
    /// Errors of an attached container.
    Stderr(Vec<u8>),
}

impl Reply {
    /// Kind and fields.
    pub fn encode(&self) -> (u8, Vec<u8>) {
        let mut w = Writer::default();
        let kind = match self {
            Reply::Hello { version, pid, reaper } => {
                w.u16(*version);
                w.u32(*pid);
                w.u32(*reaper);
                101
            }
            Reply::Done => 102,
            Reply::Failed { failure, text } => {
                w.u8(*failure as u8);
                w.text(text);
                103
            }
            Reply::Started { pid, started } => {
                w.u32(*pid);
                w.u64(*started);
                104
            }
            Reply::Containers(list) => {
                w.u32(list.len() as u32);
                for info in list {
                    w.text(&info.id);
                    match &info.state {
                        State::Creating => w.u8(0),
                        State::Running { pid, started } => {
                            w.u8(1);
                            w.u32(*pid);
                            w.u64(*started);
                        }
                        State::Exited(record) => {
                            w.u8(2);
                            record.write(&mut w);
                        }
                    }
                }
                105
            }
            Reply::Exited { container, record } => {
                w.text(container);
                record.write(&mut w);
                106
            }
            Reply::Stdout(bytes) => {
                w.0.extend_from_slice(bytes);
                107
            }
            Reply::Stderr(bytes) => {
                w.0.extend_from_slice(bytes);
                108
            }
        };
        (kind, w.0)
    }

    /// Reads a message from its kind and fields.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader(payload);
        Ok(match kind {
            101 => Reply::Hello { version: r.u16()?, pid: r.u32()?, reaper: r.u32()? },
            102 => Reply::Done,
            103 => Reply::Failed { failure: Failure::from_u8(r.u8()?), text: r.text()? },
            104 => Reply::Started { pid: r.u32()?, started: r.u64()? },
            105 => Reply::Containers(r.list(4096, info)?),
            106 => Reply::Exited { container: r.text()?, record: ExitRecord::read(&mut r)? },
            107 => Reply::Stdout(payload.to_vec()),
            108 => Reply::Stderr(payload.to_vec()),
            kind => return Err(Error::Kind(kind)),
        })
    }
}

fn info(r: &mut Reader<'_>) -> Result<ContainerInfo, Error> {
    let id = r.text()?;
    let state = match r.u8()? {
        0 => State::Creating,
        1 => State::Running { pid: r.u32()?, started: r.u64()? },
        2 => State::Exited(ExitRecord::read(r)?),
        _ => return Err(Error::Value),
    };
    Ok(ContainerInfo { id, state })
}
