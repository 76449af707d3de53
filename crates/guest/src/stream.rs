//! The ends of a process's streams, and how many bytes may be on their way between them.

use std::io::Result;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use dunlin_guest::message::{PIECE, WINDOW};

use crate::sys;

/// A descriptor that bytes from the other side are written to.
#[derive(Debug, Default)]
pub struct Sink {
    fd: Option<OwnedFd>,
    waiting: Vec<u8>,
    ends: bool,
}

impl Sink {
    /// One that writes to `fd` without waiting.
    pub fn new(fd: OwnedFd) -> Result<Self> {
        sys::nonblocking(fd.as_raw_fd())?;
        Ok(Self { fd: Some(fd), ..Self::default() })
    }

    /// Takes bytes. `false`: the other side has sent more than it may.
    #[must_use]
    pub fn take(&mut self, bytes: &[u8]) -> bool {
        self.waiting.extend_from_slice(bytes);
        self.waiting.len() <= WINDOW
    }

    /// How many bytes are not written yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// No more comes: the descriptor closes when all is written.
    pub fn end(&mut self) {
        self.ends = true;
        if self.waiting.is_empty() {
            self.fd = None;
        }
    }

    /// What to wait for until there is room; none while nothing waits.
    pub fn interest(&self) -> Option<RawFd> {
        self.fd.as_ref().filter(|_| !self.waiting.is_empty()).map(AsRawFd::as_raw_fd)
    }

    /// Writes as far as there is room, and returns how many bytes are gone. Those that nobody reads any more are.
    pub fn flush(&mut self) -> u32 {
        let mut gone = 0;
        while !self.waiting.is_empty() {
            let written = match &self.fd {
                Some(fd) => sys::write(fd.as_raw_fd(), &self.waiting),
                None => Ok(self.waiting.len()),
            };
            match written {
                Ok(n) => {
                    self.waiting.drain(..n);
                    gone += n as u32;
                }
                Err(error) if sys::later(&error) => return gone,
                Err(_) => self.fd = None,
            }
        }
        self.waiting = Vec::new();
        if self.ends {
            self.fd = None;
        }
        gone
    }
}

/// What reading gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The end; the descriptor is closed.
    End,
}

/// A descriptor whose bytes go to the other side.
#[derive(Debug)]
pub struct Source(Option<OwnedFd>);

impl Source {
    /// One that reads from `fd` without waiting.
    pub fn new(fd: OwnedFd) -> Result<Self> {
        sys::nonblocking(fd.as_raw_fd())?;
        Ok(Self(Some(fd)))
    }

    /// One that has ended.
    pub fn ended() -> Self {
        Self(None)
    }

    /// What to wait for, while bytes may come.
    pub fn interest(&self, room: &Room) -> Option<RawFd> {
        self.0.as_ref().filter(|_| room.0 > 0).map(AsRawFd::as_raw_fd)
    }

    /// Whether its end was seen.
    pub fn is_over(&self) -> bool {
        self.0.is_none()
    }

    /// Reads a piece if there is room for it.
    pub fn read(&mut self, room: &mut Room, buffer: &mut [u8; PIECE]) -> Got {
        let Some(fd) = &self.0 else { return Got::Nothing };
        let most = room.0.min(PIECE);
        if most == 0 {
            return Got::Nothing;
        }
        match sys::read(fd.as_raw_fd(), &mut buffer[..most]) {
            Ok(n) if n > 0 => {
                room.0 -= n;
                Got::Bytes(n)
            }
            Err(error) if sys::later(&error) => Got::Nothing,
            // The end of a pipe, or EIO of a terminal whose other side is closed.
            _ => {
                self.0 = None;
                Got::End
            }
        }
    }
}

/// How many bytes may still be sent before the other side has taken some.
#[derive(Debug)]
pub struct Room(usize);

impl Room {
    /// A whole window.
    pub fn new() -> Self {
        Self(WINDOW)
    }

    /// The other side has taken some.
    pub fn taken(&mut self, bytes: u32) {
        self.0 = self.0.saturating_add(bytes as usize).min(WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_closes_and_opens() {
        let (out, into) = sys::pipe().unwrap();
        let (mut source, mut room) = (Source::new(out).unwrap(), Room::new());
        let mut buffer = [0; PIECE];
        assert_eq!(source.read(&mut room, &mut buffer), Got::Nothing);
        let mut read = 0;
        while read < WINDOW {
            sys::write(into.as_raw_fd(), &[b'x'; 1000]).unwrap();
            let Got::Bytes(n) = source.read(&mut room, &mut buffer) else { panic!("nothing at {read}") };
            read += n;
        }
        sys::write(into.as_raw_fd(), b"more").unwrap();
        assert_eq!((source.read(&mut room, &mut buffer), source.interest(&room)), (Got::Nothing, None));
        room.taken(2);
        assert_eq!(source.read(&mut room, &mut buffer), Got::Bytes(2));
        room.taken(u32::MAX);
        drop(into);
        while source.read(&mut room, &mut buffer) != Got::End {}
        assert!(source.is_over());
    }

    #[test]
    fn a_sink_keeps_what_finds_no_room_and_no_more_than_a_window() {
        let (out, into) = sys::pipe().unwrap();
        let mut sink = Sink::new(into).unwrap();
        assert!(sink.take(&[b'x'; WINDOW]));
        let gone = sink.flush();
        assert!(gone > 0 && (gone as usize) < WINDOW && sink.interest().is_some());
        assert!(!sink.take(&[b'x'; WINDOW]));
        drop(out);
        assert_eq!(sink.flush() as usize, 2 * WINDOW - gone as usize);
    }
}
