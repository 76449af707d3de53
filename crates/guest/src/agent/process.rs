//! A process of the guest, from its start to the last byte of its output.

use std::io::{self, Error};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use dunlin_guest::message::PIECE;
use dunlin_guest::{Message, Setup};
use dunlin_shim::message::Failure;

use super::Failed;
use super::become_process::{Place, Streams, become_it};
use super::root::ROOT;
use crate::stream::{Got, Room, Sink, Source};
use crate::sys;

/// Rounds of reading per turn, so that one process does not hold up the others.
const ROUNDS: usize = 8;

/// A process.
pub struct Process {
    pid: i32,
    /// Closes when it executes; before that it may tell why it cannot.
    outcome: Option<OwnedFd>,
    failed: Option<Failed>,
    input: Sink,
    out: Source,
    err: Source,
    room: Room,
    terminal: Option<OwnedFd>,
    status: Option<i32>,
}

impl Process {
    /// Starts the guest's first process.
    pub fn first(setup: &Setup) -> Result<Self, Failed> {
        // SAFETY: no memory is involved; only children are in the new namespace.
        sys::check(unsafe { libc::unshare(libc::CLONE_NEWPID) })
            .map_err(|e| Failed::create("making a PID namespace", e))?;
        Self::start(Place::New, setup, &setup.process.args, setup.process.tty)
    }

    /// Starts one more process where the first one is.
    pub fn beside(first: i32, setup: &Setup, args: Vec<String>, tty: bool) -> Result<Self, Failed> {
        let gone = |error: Error| Failed { failure: Failure::NotRunning, text: error.to_string() };
        let open = |name: &str| std::fs::File::open(format!("/proc/{first}/ns/{name}")).map(OwnedFd::from);
        let (pids, mounts) = (open("pid").map_err(gone)?, open("mnt").map_err(gone)?);
        enter_pids(&pids).map_err(gone)?;
        Self::start(Place::Beside(mounts), setup, &args, tty)
    }

    /// Forks into the PID namespace that was chosen, and leaves it again.
    fn start(place: Place, setup: &Setup, args: &[String], tty: bool) -> Result<Self, Failed> {
        let started = Self::fork(place, setup, args, tty);
        let own = std::fs::File::open("/proc/self/ns/pid").map(OwnedFd::from).and_then(|ns| enter_pids(&ns));
        own.map_err(|e| Failed::create("leaving the PID namespace", e))?;
        started.map_err(|e| Failed::create("making a process", e))
    }

    fn fork(place: Place, setup: &Setup, args: &[String], tty: bool) -> io::Result<Self> {
        let (outcome, told) = sys::pipe()?;
        let (streams, theirs, terminal) = if tty {
            let (master, number) = sys::terminal(&format!("{ROOT}/dev/pts"))?;
            let streams =
                (Sink::new(master.try_clone()?)?, Source::new(master.try_clone()?)?, Source::ended());
            (streams, Streams::Terminal(number), Some(master))
        } else {
            let ((input, in_), (out_, out), (err_, err)) = (sys::pipe()?, sys::pipe()?, sys::pipe()?);
            let streams = (Sink::new(in_)?, Source::new(out_)?, Source::new(err_)?);
            (streams, Streams::Pipes([input, out, err]), None)
        };
        // SAFETY: the agent has one thread, so the child may do whatever a process may.
        match unsafe { libc::fork() } {
            -1 => Err(Error::last_os_error()),
            0 => {
                let failed = become_it(place, setup, args, theirs);
                let mut bytes = vec![failed.failure as u8];
                bytes.extend_from_slice(failed.text.as_bytes());
                bytes.truncate(3000);
                let _ = sys::write(told.as_raw_fd(), &bytes);
                // SAFETY: ends the child without running anything of the parent's.
                unsafe { libc::_exit(127) }
            }
            pid => {
                let (input, out, err) = streams;
                sys::nonblocking(outcome.as_raw_fd())?;
                Ok(Self {
                    pid,
                    outcome: Some(outcome),
                    failed: None,
                    input,
                    out,
                    err,
                    room: Room::new(),
                    terminal,
                    status: None,
                })
            }
        }
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// It was reaped.
    pub fn ended(&mut self, status: i32) {
        self.status = Some(status);
    }

    /// Whether it was.
    pub fn has_ended(&self) -> bool {
        self.status.is_some()
    }

    /// What to poll for.
    pub fn interests(&self, mut add: impl FnMut(RawFd, i16)) {
        if let Some(outcome) = &self.outcome {
            add(outcome.as_raw_fd(), libc::POLLIN);
        }
        for source in [&self.out, &self.err] {
            if let Some(fd) = source.interest(&self.room) {
                add(fd, libc::POLLIN);
            }
        }
        if let Some(fd) = self.input.interest() {
            add(fd, libc::POLLOUT);
        }
    }

    /// The monitor says something to it; what is to be answered.
    pub fn told(&mut self, message: Message, alone: bool) -> Option<Message> {
        match message {
            Message::Input(bytes) => {
                if !self.input.take(&bytes) {
                    self.input = Sink::default();
                }
                let gone = self.input.flush();
                return (gone > 0).then_some(Message::Taken(gone));
            }
            // A terminal's input never ends.
            Message::EndInput if self.terminal.is_none() => self.input.end(),
            Message::Resize { width, height } => {
                if let Some(terminal) = &self.terminal {
                    sys::resize(terminal.as_raw_fd(), width, height);
                }
            }
            Message::Signal(signal) if self.status.is_none() => {
                sys::kill(if alone { self.pid } else { -self.pid }, signal);
            }
            Message::Taken(bytes) => self.room.taken(bytes),
            _ => {}
        }
        None
    }

    /// Moves what there is; its last message when it has ended and everything of it was sent.
    pub fn serve(&mut self, buffer: &mut [u8; PIECE], mut send: impl FnMut(Message)) -> Option<Message> {
        self.learn(&mut send);
        let gone = self.input.flush();
        if gone > 0 {
            send(Message::Taken(gone));
        }
        let mut silent = 0;
        for (source, wrap) in
            [(&mut self.out, Message::Out as fn(Vec<u8>) -> Message), (&mut self.err, Message::Err)]
        {
            for _ in 0..ROUNDS {
                match source.read(&mut self.room, buffer) {
                    Got::Bytes(n) => send(wrap(buffer[..n].to_vec())),
                    Got::Nothing if source.interest(&self.room).is_none() && !source.is_over() => break,
                    Got::Nothing | Got::End => {
                        silent += 1;
                        break;
                    }
                }
            }
        }
        let status = self.status.filter(|_| silent == 2 && self.outcome.is_none())?;
        let (code, signal) = sys::ended(status);
        Some(match self.failed.take() {
            Some(Failed { failure, text }) => Message::Failed { failure, text },
            None => Message::Exited { code, signal, oom: false },
        })
    }

    /// Learns whether it was executed.
    fn learn(&mut self, send: &mut impl FnMut(Message)) {
        let Some(outcome) = &self.outcome else { return };
        let mut bytes = [0u8; 3000];
        match sys::read(outcome.as_raw_fd(), &mut bytes) {
            Err(error) if sys::later(&error) => return,
            Ok(n) if n > 0 => {
                let text = String::from_utf8_lossy(&bytes[1..n]).into_owned();
                self.failed = Some(Failed { failure: Failure::from_u8(bytes[0]), text });
            }
            _ => send(Message::Started),
        }
        self.outcome = None;
    }
}

/// Children are made in this PID namespace from now on.
fn enter_pids(namespace: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is open; only children are concerned.
    sys::check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWPID) }).map(drop)
}
