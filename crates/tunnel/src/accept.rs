//! The side that was dialled and calls: open tunnels by the name of who opened them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{broadcast, watch};

use crate::tasks::Tasks;
use crate::{CONNECTION_WINDOW, SEND_BUFFER, STREAM_WINDOW, STREAMS, Settings};

/// Any error a body can end with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of a call.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// How many connects and disconnects a slow listener may fall behind; it then looks at [`Tunnels::connected`].
const EVENTS: usize = 256;

/// A tunnel came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The one called so is connected.
    Connected(String),
    /// It is not any more.
    Disconnected(String),
}

/// Why a call could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no tunnel of that name.
    #[error("{0} is not connected")]
    NotConnected(String),
    /// The tunnel broke, or the other side refused the stream.
    #[error("calling {name} through its tunnel")]
    Call {
        /// Who was called.
        name: String,
        /// What happened.
        #[source]
        source: hyper::Error,
    },
}

struct Open {
    sender: SendRequest<Body>,
    /// Ends the connection when a newer one takes its place.
    _replaced: watch::Sender<()>,
    serial: u64,
}

/// All open tunnels.
pub struct Tunnels {
    settings: Settings,
    open: Mutex<(u64, BTreeMap<String, Open>)>,
    events: broadcast::Sender<Event>,
}

impl Tunnels {
    /// None yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, open: Mutex::default(), events: broadcast::channel(EVENTS).0 }
    }

    /// Takes over a connection that `name` has opened and drives it until it ends. A newer connection of the same name
    /// takes the place of an older one, which is closed: whoever dials again has lost the old one.
    pub async fn adopt<S>(&self, name: String, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let tasks = Tasks::default();
        let handshake = http2::Builder::new(tasks.spawner())
            .timer(TokioTimer::new())
            .keep_alive_interval(self.settings.ping)
            .keep_alive_timeout(self.settings.timeout)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(STREAMS as usize)
            .max_send_buf_size(SEND_BUFFER)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = match handshake.await {
            Ok(pair) => pair,
            Err(error) => {
                tracing::debug!(name, error = dunlin_base::error::chain(&error), "tunnel handshake failed");
                return;
            }
        };
        let (replaced, mut replacement) = watch::channel(());
        let serial = {
            let mut open = self.lock();
            open.0 += 1;
            let serial = open.0;
            open.1.insert(name.clone(), Open { sender, _replaced: replaced, serial });
            serial
        };
        // Nobody may be listening.
        let _ = self.events.send(Event::Connected(name.clone()));
        let _guard = Leave { tunnels: self, name: &name, serial };
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(name, error = dunlin_base::error::chain(&error), "tunnel broke");
            },
            // The sender is dropped when a newer connection replaces ours, or nobody wants it any more.
            _ = replacement.changed() => tracing::debug!(name, "tunnel replaced or closed"),
        }
        // Here the tasks end, the connection's own among them, with every stream that is still open.
        drop(tasks);
    }

    /// Sends a request through the tunnel of `name`. Both bodies stream.
    ///
    /// # Errors
    /// When there is no such tunnel, or it breaks.
    pub async fn call(
        &self,
        name: &str,
        request: http::Request<Body>,
    ) -> Result<http::Response<Incoming>, Error> {
        let sender = self.lock().1.get(name).map(|open| open.sender.clone());
        let mut sender = sender.ok_or_else(|| Error::NotConnected(name.to_owned()))?;
        let failed = |source| Error::Call { name: name.to_owned(), source };
        sender.ready().await.map_err(failed)?;
        sender.send_request(request).await.map_err(failed)
    }

    /// Closes the tunnel of `name`, if there is one: its certificate was revoked, or its node deleted.
    pub fn disconnect(&self, name: &str) {
        let closed = self.lock().1.remove(name);
        if closed.is_some() {
            let _ = self.events.send(Event::Disconnected(name.to_owned()));
        }
    }

    /// The names of all open tunnels, sorted.
    pub fn connected(&self) -> Vec<String> {
        self.lock().1.keys().cloned().collect()
    }

    /// Whether `name` is connected.
    pub fn is_connected(&self, name: &str) -> bool {
        self.lock().1.contains_key(name)
    }

    /// Comings and goings from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, BTreeMap<String, Open>)> {
        // The map is whole at every point where a panic could happen.
        self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Takes a connection out of the registry when its task ends, however it ends, unless a newer one stands there.
struct Leave<'a> {
    tunnels: &'a Tunnels,
    name: &'a str,
    serial: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut open = self.tunnels.lock();
        if open.1.get(self.name).is_some_and(|o| o.serial == self.serial) {
            open.1.remove(self.name);
            let _ = self.tunnels.events.send(Event::Disconnected(self.name.to_owned()));
        }
    }
}
