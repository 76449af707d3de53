//! What comes in on a SPDY connection, on its way to the streams.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{Semaphore, mpsc};

use crate::spdy::{Decoder, Error, Frame, Headers};
use crate::stream::{Piece, Sent, Stream, WAITING};

/// Streams that one connection may have at once: 128 connections of a port-forward. With what waits in each, this
/// bounds the memory of a session.
pub const STREAMS: usize = 256;

/// Reads a connection until it ends or breaks the protocol.
pub async fn read<I, E>(input: I, opened: mpsc::Sender<Stream>, out: mpsc::Sender<Sent>)
where
    I: futures_util::Stream<Item = std::result::Result<Bytes, E>>,
{
    let mut input = std::pin::pin!(input);
    let mut decoder = Decoder::new();
    let mut connection = Incoming {
        opened,
        out: out.clone(),
        streams: HashMap::new(),
        last: 0,
        places: Arc::new(Semaphore::new(STREAMS)),
    };
    while let Some(Ok(bytes)) = input.next().await {
        decoder.push(&bytes);
        loop {
            let result = match decoder.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => connection.take(frame).await,
                Err(error) => Err(Broken::Codec(error)),
            };
            if let Err(error) = result {
                tracing::debug!(%error, "a client broke the streaming protocol");
                let _ = out.send(Sent::Close { broken: true }).await;
                // The writer ends the session, once it has told the client.
                out.closed().await;
                return;
            }
        }
    }
}

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Codec(#[from] Error),
    #[error("stream {0} is even, or not above those before it")]
    Number(u32),
    #[error("data came for stream {0}, which was never opened")]
    Unopened(u32),
    #[error("the client is gone")]
    Gone,
}

/// What has come in on a connection.
struct Incoming {
    opened: mpsc::Sender<Stream>,
    out: mpsc::Sender<Sent>,
    /// Those on which more may come.
    streams: HashMap<u32, mpsc::Sender<Piece>>,
    last: u32,
    places: Arc<Semaphore>,
}

impl Incoming {
    async fn take(&mut self, frame: Frame) -> std::result::Result<(), Broken> {
        match frame {
            Frame::SynStream { stream, fin, headers, .. } => self.open(stream, fin, headers).await,
            Frame::Data { stream, .. } if stream > self.last => Err(Broken::Unopened(stream)),
            Frame::Data { stream, fin, payload } => {
                if !payload.is_empty() {
                    self.pass(stream, Piece::Data(payload)).await;
                }
                if fin {
                    self.fin(stream).await;
                }
                Ok(())
            }
            Frame::Headers { stream, fin: true, .. } => {
                self.fin(stream).await;
                Ok(())
            }
            Frame::RstStream { stream, .. } => {
                self.streams.remove(&stream);
                Ok(())
            }
            // An even one would be the answer to a ping of ours, and we send none.
            Frame::Ping(id) if id % 2 == 1 => self.out.send(Sent::Pong(id)).await.map_err(|_| Broken::Gone),
            // We open no streams; a client that goes away closes the connection; for windows see `crate::spdy`.
            Frame::SynReply { .. }
            | Frame::Headers { .. }
            | Frame::Ping(_)
            | Frame::GoAway { .. }
            | Frame::Settings(_)
            | Frame::WindowUpdate { .. } => Ok(()),
        }
    }

    async fn open(&mut self, id: u32, fin: bool, headers: Headers) -> std::result::Result<(), Broken> {
        if id.is_multiple_of(2) || id <= self.last {
            return Err(Broken::Number(id));
        }
        self.last = id;
        let Ok(permit) = self.places.clone().try_acquire_owned() else {
            return self.out.send(Sent::Refuse(id)).await.map_err(|_| Broken::Gone);
        };
        let (pieces, input) = mpsc::channel(WAITING);
        self.streams.insert(id, pieces);
        if fin {
            self.fin(id).await;
        }
        let stream = Stream::new(id, headers, input, self.out.clone(), permit);
        if let Err(mpsc::error::SendError(stream)) = self.opened.send(stream).await {
            self.streams.remove(&id);
            stream.refuse().await;
        }
        Ok(())
    }

    async fn fin(&mut self, id: u32) {
        self.pass(id, Piece::Fin).await;
        self.streams.remove(&id);
    }

    /// Passes on what came, if anybody still wants it.
    async fn pass(&mut self, id: u32, piece: Piece) {
        if let Some(stream) = self.streams.get(&id)
            && stream.send(piece).await.is_err()
        {
            self.streams.remove(&id);
        }
    }
}
