//! Process 1 of the guest: makes it ready, runs a container's processes in it, and switches it off when the first one has
//! ended.
//!
//! The first process is process 1 of a PID namespace of its own, so signals and orphans are to it what they are in a
//! container, and everything ends with it. The agent stays outside and is not seen by it.

#[path = "become.rs"]
mod become_process;
#[path = "process.rs"]
mod process;
#[path = "root.rs"]
mod root;
#[path = "start.rs"]
mod start;

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};

use dunlin_guest::message::PIECE;
use dunlin_guest::{Message, Setup};
use dunlin_shim::message::Failure;

use crate::port::Port;
use crate::sys;
use process::Process;

/// Why there is no process.
#[derive(Debug)]
pub struct Failed {
    /// What kind of failure.
    pub failure: Failure,
    /// In words.
    pub text: String,
}

impl Failed {
    /// Something that has nothing to do with the command.
    pub fn create(what: &str, error: impl std::fmt::Display) -> Self {
        Self { failure: Failure::Create, text: format!("{what}: {error}") }
    }
}

/// Runs until the guest is switched off.
pub fn run() -> ! {
    // What goes wrong is said on the console, whose end the monitor keeps.
    match start::start().and_then(Agent::new) {
        Ok(mut agent) => while agent.turn() {},
        Err(error) => eprintln!("dunlin: the guest cannot start: {error}"),
    }
    root::power_off()
}

/// Everything the agent knows.
struct Agent {
    port: Port,
    signals: OwnedFd,
    setup: Option<Setup>,
    processes: HashMap<u32, Process>,
    /// The first process's number, while it lives.
    first: Option<i32>,
}

enum Source {
    Port,
    Children,
    Process(u32),
}

impl Agent {
    fn new(port: OwnedFd) -> std::io::Result<Self> {
        let signals = sys::signals([libc::SIGCHLD])?;
        let mut port = Port::new(port)?;
        port.send(0, &Message::Ready);
        Ok(Self { port, signals, setup: None, processes: HashMap::new(), first: None })
    }

    /// Waits for something and deals with it; `false` when the guest is done.
    fn turn(&mut self) -> bool {
        let mut fds = Vec::new();
        let mut sources = Vec::new();
        let mut add = |fd, events, source| {
            fds.push(libc::pollfd { fd, events, revents: 0 });
            sources.push(source);
        };
        add(self.port.fd(), self.port.events(), Source::Port);
        add(self.signals.as_raw_fd(), libc::POLLIN, Source::Children);
        for (id, process) in &self.processes {
            process.interests(|fd, events| add(fd, events, Source::Process(*id)));
        }
        sys::poll(&mut fds, -1);
        let mut reaping = false;
        let mut ready = Vec::new();
        for (fd, source) in fds.iter().zip(&sources).filter(|(fd, _)| fd.revents != 0) {
            match source {
                Source::Port => {
                    self.port.flush();
                    if fd.revents & !libc::POLLOUT != 0 && !self.listen() {
                        return false;
                    }
                }
                Source::Children => reaping = true,
                Source::Process(id) => ready.push(*id),
            }
        }
        if reaping {
            self.reap();
        }
        ready.extend(self.processes.iter().filter(|(_, p)| p.has_ended()).map(|(id, _)| *id));
        ready.sort_unstable();
        ready.dedup();
        // The first process last: nothing is said after its end.
        ready.into_iter().rev().all(|id| self.serve(id))
    }

    /// Takes what the monitor says; `false` when it has gone.
    fn listen(&mut self) -> bool {
        let Some(messages) = self.port.receive() else { return false };
        for (id, message) in messages {
            match message {
                Message::Begin(setup) if self.setup.is_none() => self.begin(*setup),
                Message::Exec { args, tty } => self.exec(id, args, tty),
                message => {
                    if let Some(process) = self.processes.get_mut(&id)
                        && let Some(answer) = process.told(message, id == 0)
                    {
                        self.port.send(id, &answer);
                    }
                }
            }
        }
        true
    }

    fn begin(&mut self, setup: Setup) {
        let started = root::prepare(&setup).and_then(|()| Process::first(&setup));
        self.setup = Some(setup);
        match started {
            Ok(process) => {
                self.first = Some(process.pid());
                self.processes.insert(0, process);
            }
            Err(failed) => self.tell_failure(0, failed),
        }
    }

    fn exec(&mut self, id: u32, args: Vec<String>, tty: bool) {
        let gone = Failed { failure: Failure::NotRunning, text: "the first process has ended".into() };
        let started = match (&self.setup, self.first) {
            (Some(setup), Some(first)) if id != 0 && !self.processes.contains_key(&id) => {
                Process::beside(first, setup, args, tty)
            }
            _ => Err(gone),
        };
        match started {
            Ok(process) => drop(self.processes.insert(id, process)),
            Err(failed) => self.tell_failure(id, failed),
        }
    }

    fn tell_failure(&mut self, id: u32, Failed { failure, text }: Failed) {
        self.port.send(id, &Message::Failed { failure, text });
    }

    fn reap(&mut self) {
        while sys::next_signal(self.signals.as_raw_fd()).is_some() {}
        while let Some((pid, status)) = sys::reap() {
            if self.first == Some(pid) {
                self.first = None;
            }
            if let Some(process) = self.processes.values_mut().find(|p| p.pid() == pid) {
                process.ended(status);
            }
        }
    }

    /// Moves what process `id` has; `false` after the first one's end.
    fn serve(&mut self, id: u32) -> bool {
        let Some(process) = self.processes.get_mut(&id) else { return true };
        let mut buffer = [0u8; PIECE];
        let port = &mut self.port;
        let over = process.serve(&mut buffer, |message| port.send(id, &message));
        let Some(last) = over else { return true };
        self.processes.remove(&id);
        if id == 0 {
            root::sync();
        }
        let last = match last {
            Message::Exited { code, signal, .. } => Message::Exited { code, signal, oom: root::oom_killed() },
            other => other,
        };
        self.port.send(id, &last);
        if id == 0 {
            self.say_everything();
        }
        id != 0
    }

    /// Waits until the monitor has been told, or has gone.
    fn say_everything(&mut self) {
        while !self.port.is_flushed() {
            let mut fds = [libc::pollfd { fd: self.port.fd(), events: libc::POLLOUT, revents: 0 }];
            sys::poll(&mut fds, -1);
            self.port.flush();
        }
        // What was written last is in the device's queue until the other side has taken it: it ends the machine.
        let mut fds = [libc::pollfd { fd: self.port.fd(), events: 0, revents: 0 }];
        sys::poll(&mut fds, 5000);
    }
}
