//! An exec's process on the host: its streams and its end are those of a process in the guest.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use dunlin_guest::{Message, SOCKET};
use dunlin_shim::message::Failure;

use crate::local::Local;
use crate::outcome::Outcome;
use crate::port::Port;
use crate::sys;

/// Runs a command in the guest whose monitor listens in `bundle`.
pub fn run(bundle: &str, tty: bool, command: &[&str]) -> ! {
    let outcome = Outcome::take();
    // A socket's path may be shorter than a bundle's, so it is entered.
    let connected = std::env::set_current_dir(bundle).and_then(|()| UnixStream::connect(SOCKET));
    let port = connected.and_then(|socket| Port::new(socket.into()));
    let ready = port.and_then(|port| {
        let signals = sys::signals([libc::SIGWINCH, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])?;
        Ok((port, signals, Local::new(tty)?))
    });
    let (mut port, signals, local) = match ready {
        Ok(ready) => ready,
        Err(error) => outcome.failed(Failure::NotRunning, &format!("the virtual machine has ended: {error}")),
    };
    let args = command.iter().map(|word| (*word).to_owned()).collect();
    port.send(0, &Message::Exec { args, tty });
    let mut client = Client { port, local, outcome };
    loop {
        let reading = !client.outcome.is_open();
        let mut fds = vec![
            libc::pollfd { fd: client.port.fd(), events: client.port.events(), revents: 0 },
            libc::pollfd { fd: signals.as_raw_fd(), events: libc::POLLIN, revents: 0 },
        ];
        client.local.interests(reading, |fd, events| fds.push(libc::pollfd { fd, events, revents: 0 }));
        sys::poll(&mut fds, -1);
        client.port.flush();
        if fds[0].revents & !libc::POLLOUT != 0 {
            client = client.listen();
        }
        while let Some(signal) = sys::next_signal(signals.as_raw_fd()) {
            let size = client.local.size().filter(|_| signal == libc::SIGWINCH);
            client.port.send(0, &size.unwrap_or(Message::Signal(signal)));
        }
        let port = &mut client.port;
        client.local.serve(reading, |message| port.send(0, &message));
    }
}

struct Client {
    port: Port,
    local: Local,
    outcome: Outcome,
}

impl Client {
    fn listen(mut self) -> Self {
        let Some(messages) = self.port.receive() else {
            if self.outcome.is_open() {
                self.outcome.failed(Failure::NotRunning, "the virtual machine has ended");
            }
            self.local.finish();
            sys::end_as(137, libc::SIGKILL);
        };
        for (_, message) in messages {
            match message {
                Message::Started => {
                    self.outcome.started();
                    if let Some(size) = self.local.size() {
                        self.port.send(0, &size);
                    }
                }
                Message::Failed { failure, text } => self.outcome.failed(failure, &text),
                Message::Exited { code, signal, .. } => {
                    self.local.finish();
                    sys::end_as(code, signal);
                }
                message => {
                    if !self.local.told(&message) {
                        // The guest sends more than it may.
                        sys::end_as(137, libc::SIGKILL);
                    }
                }
            }
        }
        self
    }
}
