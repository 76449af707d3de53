//! One connection of an agent: what it sent, what waits to be sent to it.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use dunlin_shim::message::Reply;
use dunlin_shim::wire::{Decoder, put_frame};

use crate::sys;

/// Beyond this much unsent output the container that produces it is not read any more.
pub const FULL: usize = 64 * 1024;
/// Beyond this much a connection is given up; replies alone cannot reach it unless the peer never reads.
const TOO_MUCH: usize = 2 * 1024 * 1024;
/// How long a peer may take nothing before it is given up, so that a stuck client cannot stop a container for ever.
const PATIENCE: u64 = 10_000_000_000;

/// A connection.
pub struct Client {
    /// Never used twice, unlike its place in the list.
    pub serial: u64,
    /// Whether the version was agreed.
    pub greeted: bool,
    /// Whether it wants to be told of exits.
    pub events: bool,
    /// The container whose streams it joined.
    pub attached: Option<String>,
    /// To be closed when everything is sent.
    pub closing: bool,
    /// The socket.
    pub stream: UnixStream,
    decoder: Decoder,
    unsent: Vec<u8>,
    stuck_since: u64,
}

impl Client {
    /// A fresh connection.
    pub fn new(stream: UnixStream, serial: u64) -> Self {
        Self {
            serial,
            greeted: false,
            events: false,
            attached: None,
            closing: false,
            stream,
            decoder: Decoder::default(),
            unsent: Vec::new(),
            stuck_since: 0,
        }
    }

    /// Reads what the peer sent. `false`: the peer is gone.
    pub fn fill(&mut self, scratch: &mut [u8]) -> bool {
        match self.stream.read(scratch) {
            Ok(0) => false,
            Ok(n) => {
                self.decoder.push(&scratch[..n]);
                true
            }
            Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// What was sent, cut into frames.
    pub fn decoder(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    /// Queues an answer and sends what can be sent.
    pub fn send(&mut self, id: u32, reply: &Reply) {
        let (kind, payload) = reply.encode();
        put_frame(&mut self.unsent, kind, id, &payload);
        self.flush();
    }

    /// Sends what can be sent.
    pub fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(n) if n > 0 => {
                    self.unsent.drain(..n);
                    self.stuck_since = 0;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if self.stuck_since == 0 {
                        self.stuck_since = sys::now();
                    }
                    return;
                }
                _ => {
                    self.unsent.clear();
                    self.closing = true;
                }
            }
        }
        self.unsent = Vec::new();
    }

    /// How much waits to be sent.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Whether the connection is over: all sent and closing, or a peer that takes nothing.
    pub fn over(&self, now: u64) -> bool {
        self.unsent.len() > TOO_MUCH
            || (self.closing && self.unsent.is_empty())
            || (self.stuck_since != 0 && now.saturating_sub(self.stuck_since) > PATIENCE)
    }
}
