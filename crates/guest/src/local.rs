//! The streams of this process as those of one in the guest: what a monitor and a client do with descriptors 0 to 2.

use std::io::Result;
use std::os::fd::RawFd;

use dunlin_guest::Message;
use dunlin_guest::message::{PIECE, WINDOW};

use crate::stream::{Got, Room, Sink, Source};
use crate::sys;

/// Our side of a guest's process.
pub struct Local {
    input: Source,
    out: Sink,
    err: Sink,
    room: Room,
    tty: bool,
}

impl Local {
    /// Over descriptors 0 to 2, which are a terminal or not.
    pub fn new(tty: bool) -> Result<Self> {
        if tty {
            sys::raw_terminal(0);
        }
        let copy = |fd| sys::moved_up(fd, 20);
        Ok(Self {
            input: Source::new(copy(0)?)?,
            out: Sink::new(copy(1)?)?,
            err: Sink::new(copy(2)?)?,
            room: Room::new(),
            tty,
        })
    }

    /// The terminal's size, if there is a terminal that has one.
    pub fn size(&self) -> Option<Message> {
        let (width, height) = sys::terminal_size(0).filter(|_| self.tty)?;
        Some(Message::Resize { width, height })
    }

    /// What to poll for.
    pub fn interests(&self, reading: bool, mut add: impl FnMut(RawFd, i16)) {
        if let Some(fd) = self.input.interest(&self.room).filter(|_| reading) {
            add(fd, libc::POLLIN);
        }
        for fd in [&self.out, &self.err].into_iter().filter_map(Sink::interest) {
            add(fd, libc::POLLOUT);
        }
    }

    /// Whether a piece of output may find no place.
    pub fn is_full(&self) -> bool {
        self.out.waiting() + PIECE > WINDOW
    }

    /// Takes output or room; `false`: the guest has sent more than it may.
    #[must_use]
    pub fn told(&mut self, message: &Message) -> bool {
        match message {
            Message::Out(bytes) => self.out.take(bytes),
            Message::Err(bytes) => self.err.take(bytes),
            Message::Taken(bytes) => {
                self.room.taken(*bytes);
                true
            }
            _ => true,
        }
    }

    /// Moves what there is.
    pub fn serve(&mut self, reading: bool, mut send: impl FnMut(Message)) {
        let gone = self.out.flush() + self.err.flush();
        if gone > 0 {
            send(Message::Taken(gone));
        }
        if !reading {
            return;
        }
        let mut buffer = [0u8; PIECE];
        loop {
            match self.input.read(&mut self.room, &mut buffer) {
                Got::Bytes(n) => send(Message::Input(buffer[..n].to_vec())),
                Got::End => send(Message::EndInput),
                Got::Nothing => return,
            }
        }
    }

    /// Waits until all output is written.
    pub fn finish(&mut self) {
        loop {
            self.serve(false, drop);
            let mut fds = Vec::new();
            self.interests(false, |fd, events| fds.push(libc::pollfd { fd, events, revents: 0 }));
            if fds.is_empty() {
                return;
            }
            sys::poll(&mut fds, -1);
        }
    }
}
