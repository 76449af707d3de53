//! One end of a byte stream that carries messages: the machine's port, or a client's socket.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use dunlin_guest::Message;
use dunlin_shim::wire::Decoder;

use crate::sys;

/// Messages that wait to be written, bytes. Windows keep streams far below it, so what is beyond comes from a peer that does
/// not play by the rules.
const MOST: usize = 8 << 20;

/// A connection.
#[derive(Debug)]
pub struct Port {
    fd: OwnedFd,
    decoder: Decoder,
    unsent: Vec<u8>,
}

impl Port {
    /// Over a descriptor that does not wait.
    pub fn new(fd: OwnedFd) -> std::io::Result<Self> {
        sys::nonblocking(fd.as_raw_fd())?;
        Ok(Self { fd, decoder: Decoder::default(), unsent: Vec::new() })
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// What to poll for.
    pub fn events(&self) -> i16 {
        if self.unsent.is_empty() { libc::POLLIN } else { libc::POLLIN | libc::POLLOUT }
    }

    /// Sends a message of process `id`, now or when there is room.
    pub fn send(&mut self, id: u32, message: &Message) {
        message.put(id, &mut self.unsent);
        self.flush();
    }

    /// Writes what waits, as far as there is room. An end is seen by reading.
    pub fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match sys::write(self.fd(), &self.unsent) {
                Ok(n) if n > 0 => drop(self.unsent.drain(..n)),
                Ok(_) => return,
                Err(error) if sys::later(&error) => return,
                Err(_) => self.unsent.clear(),
            }
        }
        self.unsent = Vec::new();
    }

    /// Whether the other side takes nothing while more and more is sent.
    pub fn is_overfull(&self) -> bool {
        self.unsent.len() > MOST
    }

    /// Whether everything is written.
    pub fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }

    /// The next messages. `None`: the other side has gone, or does not play by the rules.
    pub fn receive(&mut self) -> Option<Vec<(u32, Message)>> {
        let mut buffer = [0u8; 32 * 1024];
        let n = match sys::read(self.fd(), &mut buffer) {
            Ok(0) => return None,
            Ok(n) => n,
            Err(error) if sys::later(&error) => return Some(Vec::new()),
            Err(_) => return None,
        };
        if self.is_overfull() {
            return None;
        }
        self.decoder.push(&buffer[..n]);
        let mut messages = Vec::new();
        while let Some(frame) = self.decoder.next_frame().ok()? {
            messages.push((frame.id, Message::read(frame.kind, &frame.payload).ok()?));
        }
        Some(messages)
    }
}
