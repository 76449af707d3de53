//! One container as the shim sees it: its phase, its streams, its log.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use dunlin_shim::message::{ContainerInfo, Start, State};
use dunlin_shim::{EXIT_FILE, ExitRecord};

use crate::log::{Log, Stream};
use crate::spawn::Spawned;
use crate::sys;

/// How far a container is.
pub enum Phase {
    /// The creator works; the answer goes to this connection's request.
    Creating { creator: i32, control: OwnedFd, client: u64, request: u32, deadline: u64, creator_gone: bool },
    /// Its first process runs.
    Running { pid: i32, started: u64 },
    /// It has ended.
    Exited(ExitRecord),
}

/// A container.
pub struct Container {
    /// What was asked for.
    pub start: Start,
    /// How far it is.
    pub phase: Phase,
    /// Standard output, or the terminal's master.
    pub out: Option<OwnedFd>,
    /// Standard error.
    pub err: Option<OwnedFd>,
    /// Standard input of a container without a terminal.
    pub stdin: Option<OwnedFd>,
    /// Input that the container has not taken yet.
    pub input: Vec<u8>,
    /// Close standard input when `input` is empty.
    pub input_ends: bool,
    log: Option<Log>,
}

impl Container {
    /// A container whose creator has just been started.
    pub fn new(start: Start, spawned: Spawned, log: Option<Log>, client: u64, request: u32) -> Self {
        let deadline = sys::now() + u64::from(start.timeout_ms) * 1_000_000;
        let (out, err) = spawned.outputs.map_or((None, None), |(out, err)| (Some(out), Some(err)));
        let (creator, control) = (spawned.pid, spawned.control);
        let phase = Phase::Creating { creator, control, client, request, deadline, creator_gone: false };
        Self { start, phase, out, err, stdin: spawned.stdin, input: Vec::new(), input_ends: false, log }
    }

    /// What `List` tells.
    pub fn info(&self) -> ContainerInfo {
        let state = match &self.phase {
            Phase::Creating { .. } => State::Creating,
            Phase::Running { pid, started } => State::Running { pid: *pid as u32, started: *started },
            Phase::Exited(record) => State::Exited(*record),
        };
        ContainerInfo { id: self.start.container.clone(), state }
    }

    /// The descriptor of a stream.
    pub fn output(&self, stream: Stream) -> Option<RawFd> {
        let fd = if stream == Stream::Out { &self.out } else { &self.err };
        fd.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Reads what a stream has, into the log. `None`: nothing there now, or the stream has ended and is closed.
    pub fn pump<'a>(&mut self, stream: Stream, scratch: &'a mut [u8]) -> Option<&'a [u8]> {
        let fd = self.output(stream)?;
        match sys::read(fd, scratch) {
            Ok(n) if n > 0 => {
                if let Some(log) = &mut self.log {
                    log.write(stream, &scratch[..n]);
                }
                Some(&scratch[..n])
            }
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => None,
            // End of the pipe, or EIO of a terminal whose other side is closed.
            _ => {
                if let Some(log) = &mut self.log {
                    log.finish(stream);
                }
                if stream == Stream::Out {
                    self.out = None
                } else {
                    self.err = None
                }
                None
            }
        }
    }

    /// The descriptor that takes input, if any does.
    pub fn input_fd(&self) -> Option<RawFd> {
        if self.start.tty { self.output(Stream::Out) } else { self.stdin.as_ref().map(AsRawFd::as_raw_fd) }
    }

    /// Writes waiting input as far as the container takes it.
    pub fn feed(&mut self) {
        let Some(fd) = self.input_fd() else {
            self.input = Vec::new();
            return;
        };
        while !self.input.is_empty() {
            match sys::write(fd, &self.input) {
                Ok(n) => drop(self.input.drain(..n)),
                Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => return,
                Err(_) => {
                    // Nobody reads any more.
                    self.input = Vec::new();
                    self.stdin = None;
                }
            }
        }
        self.input = Vec::new();
        if self.input_ends {
            self.stdin = None;
        }
    }

    /// Ends the first process and everything else in the container's cgroup.
    pub fn kill_all(&self) {
        if let Phase::Running { pid, .. } = self.phase {
            let _ = sys::kill(pid, libc::SIGKILL);
        }
        self.kill_cgroup();
    }

    /// Ends what is in the container's cgroup; for use when the first process has been reaped and its pid may be
    /// another's.
    pub fn kill_cgroup(&self) {
        // A process may fork between reading and killing; what is left after some rounds the runtime ends.
        for _ in 0..10 {
            let Ok(text) = std::fs::read_to_string(&self.start.cgroup_procs) else { return };
            let mut any = false;
            for pid in text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|pid| *pid > 1) {
                any = true;
                let _ = sys::kill(pid, libc::SIGKILL);
            }
            if !any {
                return;
            }
        }
    }

    /// Whether the kernel killed something in the container for want of memory.
    fn oom_killed(&self) -> bool {
        let Ok(text) = std::fs::read_to_string(&self.start.oom_file) else { return false };
        text.lines().filter_map(|l| l.strip_prefix("oom_kill ")).any(|n| n.trim() != "0")
    }

    /// The first process has ended with a wait status: writes the record and returns it.
    pub fn exited(&mut self, status: i32, started: u64) -> ExitRecord {
        let signal = if libc::WIFSIGNALED(status) { libc::WTERMSIG(status) } else { 0 };
        let code = if signal != 0 { 128 + signal } else { libc::WEXITSTATUS(status) };
        let record = ExitRecord { code, signal, oom: self.oom_killed(), started, finished: sys::now() };
        let path = format!("{}/{EXIT_FILE}", self.start.bundle);
        let temporary = format!("{path}.tmp");
        // A record that cannot be written is still told to everyone who is connected.
        if std::fs::write(&temporary, record.to_text())
            .and_then(|()| std::fs::rename(&temporary, &path))
            .is_err()
        {
            eprintln!("writing {path} failed");
        }
        self.phase = Phase::Exited(record);
        self.input = Vec::new();
        self.stdin = None;
        record
    }
}
