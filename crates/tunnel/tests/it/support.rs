//! A server that accepts tunnels, and nodes that dial it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_base::task::Task;
use dunlin_pki::{Authority, tls};
use dunlin_tunnel::accept::{Body, Event, Tunnels};
use dunlin_tunnel::dial::{Options, Target};
use dunlin_tunnel::{ALPN, Settings};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    pub tunnels: Arc<Tunnels>,
    pub address: SocketAddr,
    pub authority: Authority,
    _folder: tempfile::TempDir,
    _listen: Task,
}

pub async fn server(settings: Settings) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(folder.path(), "test").unwrap();
    let identity = authority.issue_server(&["127.0.0.1".to_owned()], dunlin_pki::LIFE).unwrap();
    let acceptor: TlsAcceptor =
        Arc::new(tls::server_config(authority.ca_pem(), &identity, &[b"h2", ALPN]).unwrap()).into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tunnels = Arc::new(Tunnels::new(settings));
    let accepted = tunnels.clone();
    let listen = Task::spawn("listen", async move {
        let mut open = Vec::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, tunnels) = (acceptor.clone(), accepted.clone());
            open.push(Task::spawn("adopt", async move {
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                let connection = stream.get_ref().1;
                assert_eq!(connection.alpn_protocol(), Some(ALPN));
                let name =
                    dunlin_pki::peer_subject(&connection.peer_certificates().unwrap()[0]).unwrap().user;
                tunnels.adopt(name, stream).await;
            }));
        }
    });
    Server { tunnels, address, authority, _folder: folder, _listen: listen }
}

impl Server {
    pub fn target(&self, name: &str, address: SocketAddr) -> Target {
        let identity = self.authority.issue_client(name, &[], Duration::from_secs(3600)).unwrap();
        let tls = tls::client_config(self.authority.ca_pem(), Some(&identity), &[ALPN]).unwrap();
        Target { host: address.ip().to_string(), port: address.port(), tls: Arc::new(tls) }
    }
}

/// Times short enough for a test.
pub fn quick() -> Options {
    Options {
        first_delay: Duration::from_millis(20),
        longest_delay: Duration::from_millis(200),
        lived: Duration::from_millis(100),
        ..Options::default()
    }
}

pub async fn event(events: &mut tokio::sync::broadcast::Receiver<Event>) -> Event {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("an event must come").unwrap()
}

type Answer = http::Response<UnsyncBoxBody<Bytes, hyper::Error>>;

/// A node: `/echo` gives back the body as it comes, `/flood` never stops, `/hang` never answers, anything else gives
/// back its path.
pub async fn node(request: http::Request<Incoming>) -> Result<Answer, Infallible> {
    let body = match request.uri().path() {
        "/echo" => request.into_body().boxed_unsync(),
        "/hang" => std::future::pending().await,
        "/flood" => {
            let (sender, body) = channel();
            tokio::spawn(async move { while sender.send(Bytes::from(vec![1; 16 * 1024])).await.is_ok() {} });
            body
        }
        path => Full::new(Bytes::from(path.to_owned())).map_err(|never| match never {}).boxed_unsync(),
    };
    Ok(http::Response::new(body))
}

fn channel() -> (mpsc::Sender<Bytes>, UnsyncBoxBody<Bytes, hyper::Error>) {
    let (sender, receiver) = mpsc::channel(1);
    let stream = futures_util::stream::unfold(receiver, |mut r| async {
        r.recv().await.map(|b| (Ok(Frame::data(b)), r))
    });
    (sender, StreamBody::new(stream).boxed_unsync())
}

pub fn streaming() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, body) = channel();
    (sender, body.map_err(Into::into).boxed_unsync())
}

pub fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

pub fn request(path: &str, body: Body) -> http::Request<Body> {
    http::Request::post(path).body(body).unwrap()
}

pub async fn text(tunnels: &Tunnels, name: &str, path: &str) -> Bytes {
    let response = tunnels.call(name, request(path, whole(Bytes::new()))).await.unwrap();
    response.into_body().collect().await.unwrap().to_bytes()
}
