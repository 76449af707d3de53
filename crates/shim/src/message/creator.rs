//! What a creator reports to who started it, one datagram each on its control socket.

use super::Failure;
use crate::wire::{Error, Reader, Writer};

/// A report. With a terminal, `Started` carries the terminal's master as a descriptor beside the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The process has been executed.
    Started {
        /// Host pid.
        pid: u32,
    },
    /// It could not be.
    Failed {
        /// What kind of failure.
        failure: Failure,
        /// In words.
        text: String,
    },
    /// The process has ended (only from an exec's creator, which waits for it).
    Exited {
        /// Exit code, 128 + signal for a signal.
        code: i32,
        /// The signal, 0 for none.
        signal: i32,
    },
}

impl Report {
    /// Longest text of a failure: a datagram stays small.
    const TEXT: usize = 3000;

    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        match self {
            Report::Started { pid } => {
                w.u8(1);
                w.u32(*pid);
            }
            Report::Failed { failure, text } => {
                let mut end = text.len().min(Self::TEXT);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                w.u8(2);
                w.u8(*failure as u8);
                w.text(&text[..end]);
            }
            Report::Exited { code, signal } => {
                w.u8(3);
                w.i32(*code);
                w.i32(*signal);
            }
        }
        w.0
    }

    /// Reads a datagram.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader(bytes);
        Ok(match r.u8()? {
            1 => Report::Started { pid: r.u32()? },
            2 => Report::Failed { failure: Failure::from_u8(r.u8()?), text: r.text()? },
            3 => Report::Exited { code: r.i32()?, signal: r.i32()? },
            kind => return Err(Error::Kind(kind)),
        })
    }
}
