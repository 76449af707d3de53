//! The loop: wait for something, deal with it.

use std::os::fd::{AsRawFd, RawFd};

use dunlin_shim::message::{Failure, Reply, Report};

use crate::client::{Client, FULL};
use crate::container::{Container, Phase};
use crate::log::Stream;
use crate::setup::Ready;
use crate::sys;

/// More connections than an agent with every client attached needs; a bound against one that leaks them.
const MAX_CLIENTS: usize = 256;
/// One read of a stream; two log lines of the greatest length.
const SCRATCH: usize = 32 * 1024;
/// After the first process's end its pipe is read once more, but not for ever if others still write into it.
const LAST_WORDS: usize = 16;

/// Everything the shim knows.
pub struct Shim {
    pub(crate) ready: Ready,
    pub(crate) clients: Vec<Client>,
    pub(crate) containers: Vec<Container>,
    /// Connection and request that wait for the end, and when the wait ends.
    pub(crate) shutdown: Option<(u64, u32, u64)>,
    /// Counts removed containers: the places in a turn's list are valid only while it stands still.
    pub(crate) removed: u64,
    serial: u64,
}

enum Source {
    Listener,
    Signals,
    Client(usize),
    Control(usize),
    Output(usize, Stream),
    Input(usize),
}

/// Runs until a shutdown is asked for.
pub fn run(ready: Ready) -> ! {
    let mut shim =
        Shim { ready, clients: Vec::new(), containers: Vec::new(), shutdown: None, removed: 0, serial: 0 };
    loop {
        shim.turn();
    }
}

impl Shim {
    fn turn(&mut self) {
        let (mut fds, sources) = self.interests();
        sys::poll(&mut fds, self.timeout());
        // On the stack for the time of a turn: pages that an idle shim does not keep dirty twice.
        let mut scratch = [0u8; SCRATCH];
        let mut children = false;
        let removed = self.removed;
        for (fd, source) in fds.iter().zip(&sources) {
            if fd.revents == 0 {
                continue;
            }
            if self.removed != removed {
                // What is left is reported again by the next poll.
                break;
            }
            match *source {
                Source::Listener => self.accept(),
                Source::Signals => children = true,
                Source::Client(n) => self.client_ready(n, fd.revents, &mut scratch),
                Source::Control(n) => self.creator_reports(n),
                Source::Output(n, stream) => drop(self.pump(n, stream, &mut scratch)),
                Source::Input(n) => self.containers[n].feed(),
            }
        }
        if children {
            self.reap(&mut scratch);
        }
        self.tidy();
    }

    fn interests(&self) -> (Vec<libc::pollfd>, Vec<Source>) {
        let mut fds = Vec::with_capacity(2 + self.clients.len() + 4 * self.containers.len());
        let mut sources = Vec::with_capacity(fds.capacity());
        let mut add = |fd: RawFd, events: i16, source: Source| {
            fds.push(libc::pollfd { fd, events, revents: 0 });
            sources.push(source);
        };
        add(self.ready.listener.as_raw_fd(), libc::POLLIN, Source::Listener);
        add(self.ready.signals.as_raw_fd(), libc::POLLIN, Source::Signals);
        for (n, client) in self.clients.iter().enumerate() {
            let mut events = 0;
            if client.unsent() > 0 {
                events |= libc::POLLOUT;
            }
            // A client whose input the container does not take has to wait, and so has one that reads no answers.
            let waiting = client.attached.as_ref().and_then(|id| self.find(id)).map_or(0, |c| c.input.len());
            if waiting < FULL && client.unsent() < FULL {
                events |= libc::POLLIN;
            }
            add(client.stream.as_raw_fd(), events, Source::Client(n));
        }
        for (n, container) in self.containers.iter().enumerate() {
            if let Phase::Creating { control, .. } = &container.phase {
                add(control.as_raw_fd(), libc::POLLIN, Source::Control(n));
            }
            if !self.held_back(&container.start.container) {
                for stream in [Stream::Out, Stream::Err] {
                    if let Some(fd) = container.output(stream) {
                        add(fd, libc::POLLIN, Source::Output(n, stream));
                    }
                }
            }
            if !container.input.is_empty()
                && let Some(fd) = container.input_fd()
            {
                add(fd, libc::POLLOUT, Source::Input(n));
            }
        }
        (fds, sources)
    }

    /// For ever, unless something has a deadline.
    fn timeout(&self) -> i32 {
        let creating = self.containers.iter().any(|c| matches!(c.phase, Phase::Creating { .. }));
        let unsent = self.clients.iter().any(|c| c.unsent() > 0);
        if self.shutdown.is_some() {
            50
        } else if creating || unsent {
            1000
        } else {
            -1
        }
    }

    /// Whether a client that is attached to the container has not taken its output yet.
    fn held_back(&self, id: &str) -> bool {
        self.clients.iter().any(|c| c.unsent() >= FULL && c.attached.as_deref() == Some(id))
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.start.container == id)
    }

    pub(crate) fn reply(&mut self, serial: u64, id: u32, reply: &Reply) {
        if let Some(client) = self.clients.iter_mut().find(|c| c.serial == serial) {
            client.send(id, reply);
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.ready.listener.accept() {
            let allowed =
                sys::peer_uid(stream.as_raw_fd()).is_ok_and(|uid| uid == 0 || uid == sys::own_uid());
            if !allowed || self.clients.len() >= MAX_CLIENTS || stream.set_nonblocking(true).is_err() {
                continue;
            }
            self.serial += 1;
            self.clients.push(Client::new(stream, self.serial));
        }
    }

    fn client_ready(&mut self, n: usize, events: i16, scratch: &mut [u8]) {
        let client = &mut self.clients[n];
        client.flush();
        if events & libc::POLLIN != 0 {
            if !client.fill(scratch) {
                client.closing = true;
            }
            self.serve(n);
        } else if events & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 {
            client.closing = true;
        }
        let client = &mut self.clients[n];
        if client.closing && events & (libc::POLLHUP | libc::POLLERR) != 0 {
            // Nobody is there to take what is unsent.
            let _ = client.stream.shutdown(std::net::Shutdown::Both);
            client.flush();
        }
    }

    /// Moves what a stream has into the log and to attached clients; returns whether there was something.
    fn pump(&mut self, n: usize, stream: Stream, scratch: &mut [u8]) -> bool {
        let Some(bytes) = self.containers[n].pump(stream, scratch) else { return false };
        let id = &self.containers[n].start.container;
        let mut clients = self.clients.iter_mut().filter(|c| c.attached.as_deref() == Some(id)).peekable();
        if clients.peek().is_some() {
            let reply = if stream == Stream::Out {
                Reply::Stdout(bytes.to_vec())
            } else {
                Reply::Stderr(bytes.to_vec())
            };
            clients.for_each(|c| c.send(0, &reply));
        }
        true
    }

    /// The creator of container `n` has said something, or has gone.
    pub(crate) fn creator_reports(&mut self, n: usize) {
        let Phase::Creating { control, client, request, creator_gone, .. } = &mut self.containers[n].phase
        else {
            return;
        };
        let (client, request) = (*client, *request);
        let mut datagram = [0u8; 4096];
        let (length, descriptor) = match sys::receive(control.as_raw_fd(), &mut datagram) {
            Ok(received) => received,
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) && !*creator_gone => {
                return;
            }
            Err(_) => (0, None),
        };
        let report = match Report::decode(&datagram[..length]) {
            Ok(report) => report,
            Err(_) => {
                Report::Failed { failure: Failure::Create, text: "the creator ended without a word".into() }
            }
        };
        match report {
            Report::Started { pid } => {
                let started = sys::now();
                let container = &mut self.containers[n];
                if container.start.tty
                    && let Some(master) = descriptor
                    && sys::nonblocking(master.as_raw_fd()).is_ok()
                {
                    container.out = Some(master);
                }
                container.phase = Phase::Running { pid: pid as i32, started };
                self.reply(client, request, &Reply::Started { pid, started });
            }
            Report::Failed { failure, text } => self.creation_failed(n, failure, text),
            Report::Exited { .. } => {
                self.creation_failed(n, Failure::Create, "the creator spoke nonsense".into())
            }
        }
    }

    fn creation_failed(&mut self, n: usize, failure: Failure, text: String) {
        let container = self.containers.remove(n);
        self.removed += 1;
        if let Phase::Creating { creator, client, request, creator_gone, .. } = container.phase {
            if !creator_gone {
                let _ = sys::kill(creator, libc::SIGKILL);
            }
            container.kill_cgroup();
            self.reply(client, request, &Reply::Failed { failure, text });
        }
    }

    /// Collects ended children.
    fn reap(&mut self, scratch: &mut [u8]) {
        // The content of the notices does not matter, only that they are taken.
        while sys::read(self.ready.signals.as_raw_fd(), scratch).is_ok_and(|n| n > 0) {}
        while let Some((pid, status)) = sys::reap() {
            let running = |c: &Container| matches!(c.phase, Phase::Running { pid: p, .. } if p == pid);
            if !self.containers.iter().any(running) {
                // A container can end before its creator's report was read; the report was sent before both ended.
                self.creator_ended(pid);
            }
            if let Some(n) = self.containers.iter().position(running) {
                self.container_ended(n, status, scratch);
            }
        }
    }

    fn creator_ended(&mut self, pid: i32) {
        let mut n = 0;
        while n < self.containers.len() {
            let before = self.containers.len();
            if let Phase::Creating { creator, creator_gone, .. } = &mut self.containers[n].phase {
                *creator_gone |= *creator == pid;
                self.creator_reports(n);
            }
            if self.containers.len() == before {
                n += 1;
            }
        }
    }

    fn container_ended(&mut self, n: usize, status: i32, scratch: &mut [u8]) {
        let Phase::Running { started, .. } = self.containers[n].phase else { return };
        self.containers[n].kill_cgroup();
        for stream in [Stream::Out, Stream::Err] {
            let mut rounds = 0;
            while rounds < LAST_WORDS && self.pump(n, stream, scratch) {
                rounds += 1;
            }
        }
        let record = self.containers[n].exited(status, started);
        let container = self.containers[n].start.container.clone();
        for client in &mut self.clients {
            let attached = client.attached.as_deref() == Some(&container);
            if client.events || attached {
                client.send(0, &Reply::Exited { container: container.clone(), record });
                client.closing |= attached;
            }
        }
    }

    /// Ends what is over: connections, late creators, the shim itself.
    fn tidy(&mut self) {
        let now = sys::now();
        let late = |c: &Container| matches!(c.phase, Phase::Creating { deadline, .. } if now > deadline);
        while let Some(n) = self.containers.iter().position(late) {
            self.creation_failed(n, Failure::Create, "the creator took too long".into());
        }
        let mut n = 0;
        while n < self.clients.len() {
            if self.clients[n].over(now) {
                let gone = self.clients.swap_remove(n);
                self.client_left(&gone);
            } else {
                n += 1;
            }
        }
        if let Some((client, request, deadline)) = self.shutdown {
            let alive = self.containers.iter().any(|c| !matches!(c.phase, Phase::Exited(_)));
            if !alive || now > deadline {
                self.reply(client, request, &Reply::Done);
                std::process::exit(0);
            }
        }
    }

    fn client_left(&mut self, client: &Client) {
        let Some(id) = &client.attached else { return };
        if let Some(container) = self.containers.iter_mut().find(|c| &c.start.container == id)
            && container.start.stdin_once
        {
            container.input_ends = true;
            container.feed();
        }
    }
}
