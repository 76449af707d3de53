//! What happens to links: cuts, silence, replacement, refusals.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dunlin_base::task::Task;
use dunlin_tunnel::accept::Event;
use dunlin_tunnel::dial::{Link, Options};
use dunlin_tunnel::{Settings, dial};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::{PATIENCE, event, node, quick, request, server, text, whole};

/// A link that can be cut, and that can go silent: it takes bytes and loses them.
struct Relay {
    address: SocketAddr,
    silent: Arc<AtomicBool>,
    cut: watch::Sender<()>,
    _task: Task,
}

async fn relay(to: SocketAddr) -> Relay {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = Arc::new(AtomicBool::new(false));
    let (cut, cuts) = watch::channel(());
    let quiet = silent.clone();
    let task = Task::spawn("relay", async move {
        let mut open = Vec::new();
        loop {
            let (down, _) = listener.accept().await.unwrap();
            let (mut cuts, quiet) = (cuts.clone(), quiet.clone());
            cuts.mark_unchanged();
            open.push(Task::spawn("relayed", async move {
                let up = TcpStream::connect(to).await.unwrap();
                let ((down_read, down_write), (up_read, up_write)) = (down.into_split(), up.into_split());
                tokio::select! {
                    () = pump(down_read, up_write, &quiet) => {}
                    () = pump(up_read, down_write, &quiet) => {}
                    _ = cuts.changed() => {}
                }
            }));
        }
    });
    Relay { address, silent, cut, _task: task }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    silent: &AtomicBool,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut bytes = [0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        if !silent.load(Ordering::Relaxed) && to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}

async fn until(link: &mut watch::Receiver<Link>, wanted: Link) {
    tokio::time::timeout(PATIENCE, link.wait_for(|l| *l == wanted))
        .await
        .expect("the link must change")
        .unwrap();
}

#[tokio::test]
async fn comes_back_after_every_cut() {
    let server = server(Settings::default()).await;
    let relay = relay(server.address).await;
    let mut events = server.tunnels.events();
    let (told, mut link) = watch::channel(Link::Down);
    let options = Options { link: Some(told), ..quick() };
    let _node =
        Task::spawn("node", dial::run_with(server.target("a", relay.address), service_fn(node), options));
    for _ in 0..3 {
        assert_eq!(event(&mut events).await, Event::Connected("a".to_owned()));
        until(&mut link, Link::Up).await;
        assert_eq!(text(&server.tunnels, "a", "/here").await, "/here");
        let pending = server.tunnels.call("a", request("/hang", whole(Bytes::new())));
        let cut = async {
            tokio::task::yield_now().await;
            relay.cut.send_replace(());
        };
        let (pending, ()) = tokio::join!(tokio::time::timeout(PATIENCE, pending), cut);
        assert!(pending.expect("a call ends with its link").is_err());
        assert_eq!(event(&mut events).await, Event::Disconnected("a".to_owned()));
        until(&mut link, Link::Down).await;
    }
}

/// Lets a link go silent after it has been idle for a while; the side whose times are short must notice.
async fn goes_silent(settings: Settings, silence: Duration) {
    let server = server(settings).await;
    let relay = relay(server.address).await;
    let mut events = server.tunnels.events();
    let (told, mut link) = watch::channel(Link::Down);
    let options = Options { link: Some(told), silence, ..quick() };
    let _node =
        Task::spawn("node", dial::run_with(server.target("a", relay.address), service_fn(node), options));
    assert_eq!(event(&mut events).await, Event::Connected("a".to_owned()));
    until(&mut link, Link::Up).await;
    // Pings alone keep it open for several times the silence that would end it.
    let kept = tokio::time::timeout(Duration::from_secs(2), events.recv()).await;
    assert!(kept.is_err(), "an idle link stays open: {kept:?}");

    relay.silent.store(true, Ordering::Relaxed);
    assert_eq!(event(&mut events).await, Event::Disconnected("a".to_owned()));
    until(&mut link, Link::Down).await;
    relay.silent.store(false, Ordering::Relaxed);
    assert_eq!(event(&mut events).await, Event::Connected("a".to_owned()));
}

#[tokio::test]
async fn the_dialled_side_notices_silence() {
    let settings = Settings { ping: Duration::from_millis(200), timeout: Duration::from_millis(300) };
    goes_silent(settings, Duration::from_secs(3600)).await;
}

#[tokio::test]
async fn the_dialling_side_notices_silence() {
    let hour = Duration::from_secs(3600);
    goes_silent(Settings { ping: hour, timeout: hour }, Duration::from_millis(400)).await;
}

#[tokio::test]
async fn a_replaced_tunnel_is_closed_with_its_streams() {
    let server = server(Settings::default()).await;
    let mut events = server.tunnels.events();
    let (told, mut link) = watch::channel(Link::Down);
    // After the replacement this one must not come back during the test.
    let hour = Duration::from_secs(3600);
    let options = Options { link: Some(told), first_delay: hour, longest_delay: hour, ..Options::default() };
    let target = server.target("a", server.address);
    let _old = Task::spawn("old", dial::run_with(target.clone(), service_fn(node), options));
    event(&mut events).await;
    until(&mut link, Link::Up).await;
    let mut flood =
        server.tunnels.call("a", request("/flood", whole(Bytes::new()))).await.unwrap().into_body();
    flood.frame().await.unwrap().unwrap();

    let _new = Task::spawn("new", dial::run_with(target, service_fn(node), quick()));
    assert_eq!(event(&mut events).await, Event::Connected("a".to_owned()));
    let drained = async { while let Some(Ok(_)) = flood.frame().await {} };
    tokio::time::timeout(PATIENCE, drained).await.expect("a stream of the old tunnel ends");
    until(&mut link, Link::Down).await;
    assert_eq!(text(&server.tunnels, "a", "/new").await, "/new");
    assert!(events.try_recv().is_err(), "the old one's end is no disconnection");

    server.tunnels.disconnect("a");
    assert_eq!(event(&mut events).await, Event::Disconnected("a".to_owned()));
}

#[tokio::test]
async fn a_node_that_is_stuck_is_not_taken_for_alive() {
    let settings = Settings { ping: Duration::from_millis(100), timeout: Duration::from_millis(500) };
    let server = server(settings).await;
    let mut events = server.tunnels.events();
    let alive = Arc::new(AtomicBool::new(true));
    let asked = alive.clone();
    let options = Options { alive: Some(Arc::new(move || asked.load(Ordering::Relaxed))), ..quick() };
    let target = server.target("a", server.address);
    let _node = Task::spawn("node", dial::run_with(target, service_fn(node), options));
    assert_eq!(event(&mut events).await, Event::Connected("a".to_owned()));
    alive.store(false, Ordering::Relaxed);
    assert_eq!(event(&mut events).await, Event::Disconnected("a".to_owned()));
    let quiet = tokio::time::timeout(Duration::from_millis(800), events.recv()).await;
    assert!(quiet.is_err(), "it does not come back while it is stuck: {quiet:?}");
    alive.store(true, Ordering::Relaxed);
    assert_eq!(event(&mut events).await, Event::Connected("a".to_owned()));
}

#[tokio::test]
async fn an_api_server_without_tunnels_is_told_from_one_with() {
    let place = server(Settings::default()).await;
    // This one speaks TLS with the right CA, and knows no tunnel protocol.
    let identity = place.authority.issue_server(&["127.0.0.1".to_owned()], dunlin_pki::LIFE).unwrap();
    let config = dunlin_pki::tls::server_config(place.authority.ca_pem(), &identity, &[]).unwrap();
    let acceptor: tokio_rustls::TlsAcceptor = Arc::new(config).into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = place.target("a", listener.local_addr().unwrap());
    let accept = async { acceptor.accept(listener.accept().await.unwrap().0).await };
    let options = quick();
    let (_, refused) = tokio::join!(accept, dial::connect(&target, &options));
    assert!(matches!(refused, Err(dial::Error::Protocol { .. })), "{:?}", refused.err());
}
