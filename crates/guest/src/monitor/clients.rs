//! Those who run more processes in the guest: each has a connection, and its process a number.

use std::collections::HashMap;
use std::io::Result;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;

use dunlin_guest::{Message, SOCKET};
use dunlin_shim::message::Failure;

use crate::port::Port;
use crate::sys;

/// More execs at once than probes and people make; a bound against somebody who leaks them.
const MOST: usize = 256;
/// The listener's number among the clients.
const LISTENER: u32 = 0;

/// A client.
struct Client {
    port: Port,
    /// Its process was asked for.
    begun: bool,
    /// Its process has ended: it goes when it has been told.
    over: bool,
}

/// All clients.
pub struct Clients {
    listener: UnixListener,
    all: HashMap<u32, Client>,
    next: u32,
}

impl Clients {
    /// Listens in the current directory.
    pub fn listen() -> Result<Self> {
        let listener = UnixListener::bind(SOCKET)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, all: HashMap::new(), next: LISTENER + 1 })
    }

    /// What to poll for, and for whom.
    pub fn interests(&self, mut add: impl FnMut(RawFd, i16, u32)) {
        add(self.listener.as_raw_fd(), libc::POLLIN, LISTENER);
        for (id, client) in &self.all {
            add(client.port.fd(), client.port.events(), *id);
        }
    }

    /// Deals with a connection; `refusal` if no process can be started now.
    pub fn serve(&mut self, id: u32, guest: &mut Port, refusal: Option<(Failure, &str)>) {
        if id == LISTENER {
            return self.accept();
        }
        let Some(client) = self.all.get_mut(&id) else { return };
        client.port.flush();
        let messages = client.port.receive();
        let gone = messages.is_none();
        for (_, message) in messages.unwrap_or_default() {
            match (&message, client.begun) {
                (Message::Exec { .. }, false) => match refusal {
                    Some((failure, text)) => {
                        client.port.send(0, &Message::Failed { failure, text: text.to_owned() });
                        client.over = true;
                    }
                    None => {
                        client.begun = true;
                        guest.send(id, &message);
                    }
                },
                (
                    Message::Input(_)
                    | Message::EndInput
                    | Message::Resize { .. }
                    | Message::Signal(_)
                    | Message::Taken(_),
                    true,
                ) => guest.send(id, &message),
                _ => {}
            }
        }
        if gone && client.begun && !client.over {
            guest.send(id, &Message::Signal(libc::SIGKILL));
        }
        if gone || (client.over && client.port.is_flushed()) {
            self.all.remove(&id);
        }
    }

    /// The guest says something of a client's process.
    pub fn told(&mut self, id: u32, message: Message, guest: &mut Port) {
        let Some(client) = self.all.get_mut(&id) else {
            // Nobody reads what a process writes whose client has gone, and it must end all the same.
            if let Message::Out(bytes) | Message::Err(bytes) = message {
                guest.send(id, &Message::Taken(bytes.len() as u32));
            }
            return;
        };
        client.over |= matches!(message, Message::Exited { .. } | Message::Failed { .. });
        client.port.send(0, &message);
        if client.port.is_overfull() || (client.over && client.port.is_flushed()) {
            self.all.remove(&id);
        }
    }

    /// Gives clients a moment to take what they have been told before the machine ends.
    pub fn finish(&mut self) {
        for client in self.all.values_mut().filter(|c| !c.port.is_flushed()) {
            let mut fds = [libc::pollfd { fd: client.port.fd(), events: libc::POLLOUT, revents: 0 }];
            sys::poll(&mut fds, 100);
            client.port.flush();
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let Ok(port) = Port::new(stream.into()) else { continue };
            if self.all.len() < MOST {
                self.all.insert(self.next, Client { port, begun: false, over: false });
                self.next = self.next.wrapping_add(1).max(LISTENER + 1);
            }
        }
    }
}
