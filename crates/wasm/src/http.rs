//! Components that serve HTTP: an instance for each request, so that no request sees what another has left.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::context::{Place, State};
use crate::ticker::Ticker;

/// Where a guest serves that names no port.
const PORT: u16 = 8080;
/// Connections at once; others wait to be accepted.
const CONNECTIONS: usize = 1024;
/// Requests that are answered at once; others wait. Each has an instance with memory of its own.
const REQUESTS: usize = 64;
/// How long a client may take for its header.
const HEADER: Duration = Duration::from_secs(30);
/// How long open connections may take once the guest is told to end; its pod's grace ends it before.
const DRAIN: Duration = Duration::from_secs(3600);

/// Listens where a guest serves; where it names no port, there is one that all expect.
///
/// # Errors
/// When a port cannot be had.
pub fn listen(ports: &[u16]) -> Result<Vec<std::net::TcpListener>, String> {
    let ports = if ports.is_empty() { &[PORT] } else { ports };
    let listen = |port: &u16| {
        // On all addresses of both families, or of the one that this machine has.
        let listener = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port))
            .or_else(|_| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)));
        listener.map_err(|error| format!("listening on port {port}: {error}"))
    };
    ports.iter().map(listen).collect()
}

async fn accept(listener: TcpListener, server: Arc<Server>, mut stopped: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let (server, stopped) = (server.clone(), stopped.clone());
                connections.spawn(async move {
                    let _held = permit;
                    connection(stream, server, stopped).await;
                });
            }
            // Out of descriptors, or a client that is gone already.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    drop(listener);
    connections.join_all().await;
}

async fn connection(stream: TcpStream, server: Arc<Server>, mut stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        _ = connection.as_mut() => true,
        _ = stopped.wait_for(|stopped| *stopped) => false,
    };
    if !ended {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// A component that is ready to serve.
pub struct Server {
    engine: Engine,
    prepared: ProxyPre<State>,
    place: Place,
    room: Arc<Semaphore>,
    ticker: Ticker,
}

impl Server {
    /// Of a component in a place.
    pub fn new(
        engine: &Engine,
        component: &Component,
        place: &Place,
        ticker: &Ticker,
    ) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        Ok(Self {
            engine: engine.clone(),
            prepared: ProxyPre::new(linker.instantiate_pre(component)?)?,
            place: place.clone(),
            room: Arc::new(Semaphore::new(REQUESTS)),
            ticker: ticker.clone(),
        })
    }

    /// Serves until it is told to stop, then lets open requests finish.
    pub async fn serve(
        self,
        listeners: Vec<std::net::TcpListener>,
        mut stopped: watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        let server = Arc::new(self);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            accepting.spawn(accept(TcpListener::from_std(listener)?, server.clone(), stopped.clone()));
        }
        // An error means that nobody can tell any more, which does not happen while somebody could want it.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        let _ = tokio::time::timeout(DRAIN, accepting.join_all()).await;
        Ok(())
    }

    /// What the guest answers, or why it did not.
    async fn answer(&self, request: Request<Incoming>) -> Response<HyperOutgoingBody> {
        self.ask(request).await.unwrap_or_else(|error| {
            self.place.complain(format_args!("a request failed: {error:#}"));
            let body = Full::new(Bytes::from_static(b"the component failed\n"));
            let body = body.map_err(|never| match never {}).boxed_unsync();
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }

    async fn ask(&self, request: Request<Incoming>) -> wasmtime::Result<Response<HyperOutgoingBody>> {
        let permit = self.room.clone().acquire_owned().await?;
        self.place.wait().await;
        let running = self.ticker.running();
        let wasi = self.place.surroundings()?.build();
        let mut store = self.place.store(&self.engine, State::new(wasi, self.place.guest.host_network));
        let (sender, receiver) = oneshot::channel();
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
        let out = store.data_mut().http().new_response_outparam(sender)?;
        let (prepared, place) = (self.prepared.clone(), self.place.clone());
        // The guest goes on after it has begun its answer; if the client is gone before that, it ends.
        let mut task = Asked(Some(tokio::spawn(async move {
            let _held = (permit, running);
            let proxy = prepared.instantiate_async(&mut store).await?;
            let ended = proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await;
            drop(store);
            place.tell();
            ended
        })));
        let error = match receiver.await {
            Ok(Ok(response)) => {
                task.let_go();
                return Ok(response);
            }
            Ok(Err(code)) => wasmtime::format_err!("the component refused to answer: {code:?}"),
            Err(_) => match task.end().await {
                Ok(()) => wasmtime::format_err!("the component has not answered"),
                Err(error) => error,
            },
        };
        Err(error)
    }
}

/// A guest's task, which ends with this unless it is let go.
struct Asked(Option<JoinHandle<wasmtime::Result<()>>>);

impl Asked {
    fn let_go(&mut self) {
        self.0 = None;
    }

    async fn end(&mut self) -> wasmtime::Result<()> {
        match &mut self.0 {
            Some(task) => task.await?,
            None => Ok(()),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
