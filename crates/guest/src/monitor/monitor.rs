//! A virtual machine as a process of the host: it has the streams of the guest's first process, gets its signals, and ends
//! as that one ends. It starts QEMU and the server of the guest's files, which die with it.
//!
//! What comes over the port comes from a guest that nobody trusts: a message out of place, or output beyond the window,
//! ends the machine.

#[path = "clients.rs"]
mod clients;
#[path = "launch.rs"]
mod launch;
#[path = "network.rs"]
mod network;
#[path = "probe.rs"]
mod probe;

use std::os::fd::{AsRawFd, OwnedFd};

use dunlin_guest::{MACHINE, Machine, Message, OOM_FILE};
use dunlin_shim::message::Failure;

use crate::local::Local;
use crate::outcome::Outcome;
use crate::sys;
use clients::Clients;
use launch::Running;
pub use probe::probe;

/// A machine's plan has a command and an environment, which are bounded themselves.
const MAX_PLAN: u64 = 1 << 20;
/// How much of the console is kept to say why a machine ended.
const TAIL: usize = 4096;
/// How many of its last lines are told.
const LINES: usize = 12;

/// Runs the machine of a bundle.
pub fn run(bundle: &str) -> ! {
    let outcome = Outcome::take();
    match Monitor::new(bundle) {
        Ok((monitor, signals)) => monitor.run(outcome, signals),
        Err(error) => outcome.failed(Failure::Create, &format!("starting the virtual machine: {error}")),
    }
}

/// Reads a plan.
fn read(file: &str) -> std::io::Result<Machine> {
    if std::fs::metadata(file)?.len() > MAX_PLAN {
        return Err(std::io::Error::other("the machine's plan is too long"));
    }
    Machine::decode(&std::fs::read(file)?).map_err(std::io::Error::other)
}

struct Monitor {
    machine: Machine,
    running: Running,
    local: Local,
    clients: Clients,
    /// The last words of the console.
    tail: Vec<u8>,
    /// Signals that came before the guest listened.
    early: Vec<i32>,
    listening: bool,
    /// How many bytes QEMU and the server of files have complained.
    complaints: usize,
}

enum Source {
    Port,
    Console,
    Errors,
    Signals,
    Clients(u32),
    Local,
}

impl Monitor {
    fn new(bundle: &str) -> std::io::Result<(Self, OwnedFd)> {
        std::env::set_current_dir(bundle)?;
        let mut machine = read(MACHINE)?;
        // What ends a process by its own fault is not passed on.
        let faults = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];
        let signals = sys::signals((1..=64).filter(|n| !faults.contains(n)))?;
        let local = Local::new(machine.setup.process.tty)?;
        let clients = Clients::listen()?;
        let running = launch::launch(&mut machine)?;
        let (tail, early) = (Vec::new(), Vec::new());
        let monitor = Self { machine, running, local, clients, tail, early, listening: false, complaints: 0 };
        Ok((monitor, signals))
    }

    fn run(mut self, mut outcome: Outcome, signals: OwnedFd) -> ! {
        if self.machine.console {
            // Such a guest cannot say when it runs.
            outcome.started();
        }
        loop {
            let mut fds = Vec::new();
            let mut sources = Vec::new();
            let mut add = |fd, events, source| {
                fds.push(libc::pollfd { fd, events, revents: 0 });
                sources.push(source);
            };
            add(self.running.port.fd(), self.running.port.events(), Source::Port);
            if !self.is_held_back() {
                add(self.running.console.as_raw_fd(), libc::POLLIN, Source::Console);
            }
            add(self.running.errors.as_raw_fd(), libc::POLLIN, Source::Errors);
            add(signals.as_raw_fd(), libc::POLLIN, Source::Signals);
            self.clients.interests(|fd, events, id| add(fd, events, Source::Clients(id)));
            let reading = !outcome.is_open() && !self.machine.console;
            self.local.interests(reading, |fd, events| add(fd, events, Source::Local));
            sys::poll(&mut fds, -1);
            self.running.port.flush();
            let mut children = false;
            for (fd, source) in fds.iter().zip(&sources).filter(|(fd, _)| fd.revents != 0) {
                match source {
                    Source::Port if fd.revents & !libc::POLLOUT != 0 => outcome = self.listen(outcome),
                    Source::Port | Source::Local => {}
                    Source::Console => drop(self.console()),
                    Source::Errors => drop(self.errors()),
                    Source::Signals => children |= self.signalled(signals.as_raw_fd()),
                    Source::Clients(id) => {
                        let refusal = self.refusal(outcome.is_open());
                        self.clients.serve(*id, &mut self.running.port, refusal);
                    }
                }
            }
            if children {
                outcome = self.reap(outcome);
            }
            let port = &mut self.running.port;
            self.local.serve(reading, |message| port.send(0, &message));
        }
    }

    /// Takes what the guest says.
    fn listen(&mut self, mut outcome: Outcome) -> Outcome {
        // An end of the port is QEMU's, which is seen as that of a child.
        let Some(messages) = self.running.port.receive() else {
            self.running.kill();
            return outcome;
        };
        for (id, message) in messages {
            match message {
                message if id != 0 => self.clients.told(id, message, &mut self.running.port),
                Message::Ready if !self.listening => self.begin(),
                Message::Started => {
                    outcome.started();
                    if let Some(size) = self.local.size() {
                        self.running.port.send(0, &size);
                    }
                }
                Message::Failed { failure, text } if outcome.is_open() => {
                    self.running.kill();
                    outcome.failed(failure, &text);
                }
                Message::Exited { code, signal, oom } => self.finish(code, signal, oom),
                message => {
                    if !self.local.told(&message) {
                        self.running.kill();
                    }
                }
            }
        }
        outcome
    }

    fn begin(&mut self) {
        self.listening = true;
        let setup = dunlin_guest::Setup { now: sys::now(), ..self.machine.setup.clone() };
        self.running.port.send(0, &Message::Begin(Box::new(setup)));
        for signal in self.early.drain(..) {
            self.running.port.send(0, &Message::Signal(signal));
        }
    }

    /// Why no exec is possible now.
    fn refusal(&self, starting: bool) -> Option<(Failure, &'static str)> {
        if self.machine.console {
            Some((Failure::Create, "a unikernel is one program: nothing can be executed in it"))
        } else {
            starting.then_some((Failure::NotRunning, "the first process does not run yet"))
        }
    }

    /// A guest whose output nobody takes has to wait, as a process at a full pipe.
    fn is_held_back(&self) -> bool {
        self.machine.console && self.local.is_full()
    }

    /// Takes what the console says; whether it said something.
    fn console(&mut self) -> bool {
        if self.is_held_back() {
            return false;
        }
        let mut buffer = [0u8; 4096];
        let n = sys::read(self.running.console.as_raw_fd(), &mut buffer).unwrap_or(0);
        self.note(&buffer[..n]);
        if self.machine.console && n > 0 && !self.local.told(&Message::Out(buffer[..n].to_vec())) {
            self.running.kill();
        }
        n > 0
    }

    /// Takes what QEMU or the server of files complains about; whether there was something.
    fn errors(&mut self) -> bool {
        let mut buffer = [0u8; 4096];
        let n = sys::read(self.running.errors.as_raw_fd(), &mut buffer).unwrap_or(0);
        self.note(&buffer[..n]);
        self.complaints += n;
        n > 0
    }

    fn note(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }

    /// Passes signals on; whether one of them tells of children.
    fn signalled(&mut self, signals: i32) -> bool {
        let mut children = false;
        while let Some(signal) = sys::next_signal(signals) {
            match signal {
                libc::SIGCHLD => children = true,
                libc::SIGWINCH => {
                    if let Some(size) = self.local.size().filter(|_| self.listening) {
                        self.running.port.send(0, &size);
                    }
                }
                // A guest that is no Linux of ours hears no signals, so what asks it to end ends it.
                libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP if self.machine.console => {
                    self.finish(128 + signal, signal, false);
                }
                signal if self.listening => self.running.port.send(0, &Message::Signal(signal)),
                signal => self.early.push(signal),
            }
        }
        self.early.truncate(64);
        children
    }

    /// A child has ended: with QEMU or the files the machine is over.
    fn reap(&mut self, mut outcome: Outcome) -> Outcome {
        while let Some((pid, status)) = sys::reap() {
            if !self.running.is(pid) {
                continue;
            }
            // What was said last may not have been heard yet.
            outcome = self.listen(outcome);
            while self.errors() {}
            while self.console() {
                self.local.finish();
            }
            let (code, signal) = sys::ended(status);
            if self.machine.console && signal == 0 && (code != 1 || self.complaints == 0) {
                // isa-debug-exit ends QEMU with an odd code, twice the guest's and one; switching off ends it with 0.
                self.finish(code >> 1, 0, false);
            }
            let last = self.last_words();
            self.running.kill();
            if outcome.is_open() {
                outcome.failed(
                    Failure::Create,
                    &format!("the virtual machine ended before its process ran: {last}"),
                );
            }
            let text = format!("dunlin: the virtual machine ended: {last}\n");
            if signal == 0 && self.local.told(&Message::Err(text.into_bytes())) {
                self.finish(255, 0, false);
            }
            self.finish(137, libc::SIGKILL, false);
        }
        outcome
    }

    /// The last lines of console and complaints. They go to people's terminals, so nothing in them may steer one.
    fn last_words(&self) -> String {
        let text = String::from_utf8_lossy(&self.tail).replace('\r', "");
        let text: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Ends as the guest's process did.
    fn finish(&mut self, code: i32, signal: i32, oom: bool) -> ! {
        self.clients.finish();
        self.local.finish();
        self.running.kill();
        let killed = std::fs::read_to_string(&self.machine.oom_file).unwrap_or_default();
        let killed = killed.lines().filter_map(|l| l.strip_prefix("oom_kill ")).any(|n| n.trim() != "0");
        if oom || killed {
            // Without the file, all that is lost is the reason.
            let _ = std::fs::write(OOM_FILE, "oom_kill 1\n");
        }
        sys::end_as(code, signal)
    }
}
