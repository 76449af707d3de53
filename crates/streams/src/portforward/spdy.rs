//! Forwarding over SPDY streams: as many connections as the client opens pairs of streams.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::portforward::connection::{self, Pod};
use crate::portforward::pair::{Kind, Label, Pairs};
use crate::stream::Stream;

/// Serves the streams that a client opens, until it is gone.
pub async fn forward(pod: Arc<Pod>, mut opened: mpsc::Receiver<Stream>) {
    let mut pairs = Pairs::new();
    let mut connections = JoinSet::new();
    loop {
        let deadline = pairs.deadline();
        let too_long = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            stream = opened.recv() => {
                let Some(stream) = stream else { return };
                let label = match Label::read(stream.id, &stream.headers) {
                    Ok(label) => label,
                    Err(error) => {
                        tracing::debug!(%error, "a stream of a port-forward was refused");
                        stream.refuse().await;
                        continue;
                    }
                };
                let both = stream.accept().await;
                match pairs.add(label, both, Instant::now()) {
                    Ok(None) => {}
                    Ok(Some(pair)) => {
                        let (input, data) = pair.data;
                        connections.spawn(connection::run(pod.clone(), pair.port, input, data, pair.error.1));
                    }
                    Err(((_, sending), error)) => {
                        tracing::debug!(%error, "a stream of a port-forward does not fit");
                        sending.finish().await;
                    }
                }
            }
            Some(_) = connections.join_next() => {}
            () = too_long => {
                for (kind, (_, sending)) in pairs.expired(Instant::now()) {
                    if kind == Kind::Error {
                        let _ = sending.data(Bytes::from_static(b"timed out waiting for streams")).await;
                    }
                    sending.finish().await;
                }
            }
        }
    }
}
