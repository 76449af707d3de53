//! What each request does.

use dunlin_shim::VERSION;
use dunlin_shim::message::{Failure, Reply, Request, Start};

use crate::container::{Container, Phase};
use crate::log::Log;
use crate::server::Shim;
use crate::{spawn, sys};

/// More containers than a pod ever has, restarts that were not removed included.
const MAX_CONTAINERS: usize = 512;
/// How long a shutdown waits for killed processes to be gone.
const SHUTDOWN: u64 = 3_000_000_000;

impl Shim {
    /// Deals with every whole frame that connection `n` has sent.
    pub(crate) fn serve(&mut self, n: usize) {
        loop {
            let client = &mut self.clients[n];
            let frame = match client.decoder().next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(_) => {
                    client.closing = true;
                    return;
                }
            };
            let (serial, greeted) = (client.serial, client.greeted);
            let request = match Request::decode(frame.kind, &frame.payload) {
                Ok(request) => request,
                Err(error) => {
                    let text = format!("reading the request: {error}");
                    client.send(frame.id, &Reply::Failed { failure: Failure::Refused, text });
                    continue;
                }
            };
            let hello = matches!(request, Request::Hello { .. });
            if hello == greeted {
                client.closing = true;
                return;
            }
            if let Some(reply) = self.handle(n, frame.id, request) {
                self.reply(serial, frame.id, &reply);
            }
        }
    }

    /// The answer, or `None` if it comes later or never.
    fn handle(&mut self, n: usize, id: u32, request: Request) -> Option<Reply> {
        match request {
            Request::Hello { version, events } => Some(self.hello(n, version, events)),
            Request::Start(start) => self.start(n, id, *start).err(),
            Request::List => Some(Reply::Containers(self.containers.iter().map(Container::info).collect())),
            Request::Signal { container, signal } => Some(self.signal(&container, signal)),
            Request::Remove { container } => Some(self.remove(&container)),
            Request::Attach { container } => Some(self.attach(n, container)),
            Request::Stdin(bytes) => {
                self.stdin(n, &bytes);
                None
            }
            Request::CloseStdin => {
                self.close_stdin(n);
                None
            }
            Request::Resize { width, height } => {
                if let Some(fd) = self.attached(n).filter(|c| c.start.tty).and_then(|c| c.input_fd()) {
                    let _ = sys::resize(fd, width, height);
                }
                None
            }
            Request::Shutdown => {
                for container in &self.containers {
                    if let Phase::Creating { creator, creator_gone: false, .. } = container.phase {
                        let _ = sys::kill(creator, libc::SIGKILL);
                    }
                    container.kill_all();
                }
                self.shutdown = Some((self.clients[n].serial, id, sys::now() + SHUTDOWN));
                None
            }
        }
    }

    fn hello(&mut self, n: usize, version: u16, events: bool) -> Reply {
        let client = &mut self.clients[n];
        client.greeted = true;
        client.events = events;
        // With another version the peer still learns ours, and decides.
        client.closing = version < VERSION;
        Reply::Hello { version: VERSION, pid: std::process::id(), reaper: self.ready.reaper as u32 }
    }

    fn start(&mut self, n: usize, id: u32, start: Start) -> Result<(), Reply> {
        if self.shutdown.is_some()
            || self.containers.len() >= MAX_CONTAINERS
            || self.find(&start.container).is_some()
        {
            let text = format!("container {} exists, or the sandbox is full or ends", start.container);
            return Err(failed(Failure::Refused, text));
        }
        let log = match start.log_path.as_str() {
            "" => None,
            path => match Log::open(path, start.log_max_size, start.log_max_files) {
                Ok(log) => Some(log),
                Err(error) => {
                    return Err(failed(Failure::Create, format!("opening the log {path}: {error}")));
                }
            },
        };
        let spawned = spawn::spawn(&start)
            .map_err(|e| failed(Failure::Create, format!("starting the creator: {e}")))?;
        let serial = self.clients[n].serial;
        self.containers.push(Container::new(start, spawned, log, serial, id));
        Ok(())
    }

    fn signal(&mut self, id: &str, signal: i32) -> Reply {
        let Some(container) = self.find(id) else { return missing(id) };
        match container.phase {
            Phase::Creating { .. } => failed(Failure::NotRunning, format!("container {id} is being created")),
            Phase::Exited(_) => Reply::Done,
            Phase::Running { .. } if signal == libc::SIGKILL => {
                container.kill_all();
                Reply::Done
            }
            Phase::Running { pid, .. } => match sys::kill(pid, signal) {
                Ok(()) => Reply::Done,
                Err(error) => failed(Failure::Refused, format!("sending signal {signal} to {id}: {error}")),
            },
        }
    }

    fn remove(&mut self, id: &str) -> Reply {
        let Some(n) = self.containers.iter().position(|c| c.start.container == id) else {
            return Reply::Done;
        };
        if !matches!(self.containers[n].phase, Phase::Exited(_)) {
            return failed(Failure::Refused, format!("container {id} is still running"));
        }
        self.containers.remove(n);
        self.removed += 1;
        Reply::Done
    }

    fn attach(&mut self, n: usize, id: String) -> Reply {
        match self.find(&id).map(|c| &c.phase) {
            Some(Phase::Running { .. }) => {
                let client = &mut self.clients[n];
                client.attached = Some(id);
                client.events = false;
                Reply::Done
            }
            Some(_) => failed(Failure::NotRunning, format!("container {id} is not running")),
            None => missing(&id),
        }
    }

    fn attached(&mut self, n: usize) -> Option<&mut Container> {
        let id = self.clients[n].attached.as_deref()?;
        self.containers.iter_mut().find(|c| c.start.container == id)
    }

    fn stdin(&mut self, n: usize, bytes: &[u8]) {
        if let Some(container) = self.attached(n)
            && container.start.stdin
            && !container.input_ends
        {
            container.input.extend_from_slice(bytes);
            container.feed();
        }
    }

    fn close_stdin(&mut self, n: usize) {
        if let Some(container) = self.attached(n)
            && container.start.stdin_once
            && !container.start.tty
        {
            container.input_ends = true;
            container.feed();
        }
    }
}

fn failed(failure: Failure, text: String) -> Reply {
    Reply::Failed { failure, text }
}

fn missing(id: &str) -> Reply {
    failed(Failure::NoContainer, format!("container {id} does not exist"))
}
