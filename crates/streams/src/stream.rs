//! The streams of one session, whatever carries them: SPDY streams or the channels of a WebSocket.
//!
//! A handler gets [`Stream`]s (or makes them of channels), reads [`Piece`]s and sends; a transport (`spdy`, `websocket`)
//! puts what is sent into its own words. Both ends are bounded: who does not read stops who writes.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::spdy::Headers;

/// Pieces that may wait in one stream, of at most 32 KiB each. When they do, the whole connection waits, as no client
/// keeps SPDY's windows and a WebSocket has none.
pub const WAITING: usize = 4;
/// Things that may wait to be written to the client.
pub const UNSENT: usize = 16;
/// How long a client may take to close once everything was said. Closing at once would reset the connection while the
/// client still sends, and a reset discards what the client has not read yet.
const LINGER: Duration = Duration::from_secs(10);

/// What comes from the client on one stream. When nothing more comes without a `Fin`, the stream was reset or the
/// client is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes, at least one.
    Data(Bytes),
    /// Nothing more will come; the other direction goes on.
    Fin,
}

/// What goes to the client. A transport leaves out what it has no words for.
#[derive(Debug)]
pub enum Sent {
    /// The stream is taken.
    Accept(u32),
    /// Bytes on the stream.
    Data(u32, Bytes),
    /// Nothing more will come on the stream.
    Fin(u32),
    /// The stream was not begun.
    Refuse(u32),
    /// The answer to a ping.
    Pong(u32),
    /// The session is over, or broken.
    Close {
        /// Whether the client broke the protocol.
        broken: bool,
    },
}

/// The client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct Gone;

/// The direction from the client.
pub type Receiving = mpsc::Receiver<Piece>;

/// The direction to the client.
#[derive(Debug)]
pub struct Sending {
    id: u32,
    out: mpsc::Sender<Sent>,
    /// Counts the stream for as long as its handler holds it.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Sending {
    /// The direction to the client of the channel `id`.
    pub fn new(id: u32, out: mpsc::Sender<Sent>) -> Self {
        Self { id, out, _permit: None }
    }

    /// Sends bytes; waits for a client that is slow.
    pub async fn data(&self, bytes: Bytes) -> Result<(), Gone> {
        self.out.send(Sent::Data(self.id, bytes)).await.map_err(|_| Gone)
    }

    /// Ends this direction; to be called once, after the last data.
    pub async fn finish(&self) {
        // A client that is gone needs no end.
        let _ = self.out.send(Sent::Fin(self.id)).await;
    }
}

/// A stream that the client wants to open, neither taken nor refused yet.
#[derive(Debug)]
pub struct Stream {
    /// Its number, odd and rising.
    pub id: u32,
    /// What it is for.
    pub headers: Headers,
    input: Receiving,
    out: mpsc::Sender<Sent>,
    permit: OwnedSemaphorePermit,
}

impl Stream {
    pub fn new(
        id: u32,
        headers: Headers,
        input: Receiving,
        out: mpsc::Sender<Sent>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { id, headers, input, out, permit }
    }

    /// Takes it.
    pub async fn accept(self) -> (Receiving, Sending) {
        // A client that is gone is noticed by whoever uses the stream.
        let _ = self.out.send(Sent::Accept(self.id)).await;
        (self.input, Sending { id: self.id, out: self.out, _permit: Some(self.permit) })
    }

    /// Refuses it.
    pub async fn refuse(self) {
        let _ = self.out.send(Sent::Refuse(self.id)).await;
    }
}

/// Runs a session: until the client is gone, or until the handler is done and the client has heard it.
pub async fn run(
    reading: impl Future<Output = ()>,
    writing: impl Future<Output = ()>,
    handler: impl Future<Output = ()>,
) {
    let mut handler = Box::pin(handler);
    let (mut reading, mut writing) = (std::pin::pin!(reading), std::pin::pin!(writing));
    let written = tokio::select! {
        () = &mut reading => return,
        // Everything was said before the handler came to its end, or nothing more can be.
        () = &mut writing => true,
        () = &mut handler => false,
    };
    // Its ends of the streams go with it, which tells a transport that nothing more will come.
    drop(handler);
    let ended = async {
        if written {
            reading.await;
        } else {
            tokio::join!(reading, writing);
        }
    };
    let _ = tokio::time::timeout(LINGER, ended).await;
}
