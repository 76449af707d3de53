//! Calls and their bodies.

use bytes::Bytes;
use dunlin_base::task::Task;
use dunlin_tunnel::accept::Event;
use dunlin_tunnel::{Settings, dial};
use http_body_util::BodyExt;
use hyper::service::service_fn;

use crate::support::{PATIENCE, event, node, quick, request, server, streaming, text, whole};

#[tokio::test]
async fn calls_and_streams_both_ways_over_tls() {
    let server = server(Settings::default()).await;
    let mut events = server.tunnels.events();
    let target = server.target("a", server.address);
    let _node = Task::spawn("node", dial::run_with(target, service_fn(node), quick()));
    assert_eq!(event(&mut events).await, Event::Connected("a".to_owned()));
    assert_eq!(server.tunnels.connected(), ["a"]);
    assert_eq!(text(&server.tunnels, "a", "/v1/pods?x=y").await, "/v1/pods");
    assert!(server.tunnels.call("b", request("/", whole(Bytes::new()))).await.is_err());

    // A conversation: each side waits for the other, so both bodies must flow at once.
    let (sender, body) = streaming();
    let mut answer = server.tunnels.call("a", request("/echo", body)).await.unwrap().into_body();
    for n in 0..20 {
        let line = Bytes::from(format!("line {n}"));
        sender.send(line.clone()).await.unwrap();
        let frame = tokio::time::timeout(PATIENCE, answer.frame()).await.expect("an echo").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), line);
    }
    drop(sender);
    let rest =
        tokio::time::timeout(PATIENCE, answer.collect()).await.expect("the end comes back too").unwrap();
    assert_eq!(rest.to_bytes(), "", "and nothing before it");
}

#[tokio::test]
async fn a_slow_reader_stops_the_sender_and_nobody_else() {
    let server = server(Settings::default()).await;
    let mut events = server.tunnels.events();
    let target = server.target("a", server.address);
    let _node = Task::spawn("node", dial::run_with(target, service_fn(node), quick()));
    event(&mut events).await;

    // Nobody reads the answer of this one, so the echo stops taking, and so must we.
    let (sender, body) = streaming();
    let unread = server.tunnels.call("a", request("/echo", body)).await.unwrap();
    let mut taken = 0usize;
    let fill = async {
        loop {
            sender.send(Bytes::from(vec![7; 16 * 1024])).await.unwrap();
            taken += 16 * 1024;
        }
    };
    // Ends when nothing was taken for a while; a sender that is never stopped takes gigabytes in this time.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), fill).await;
    assert!((64 * 1024..2 * 1024 * 1024).contains(&taken), "{taken} bytes are on their way");

    // A flood that is not read either.
    let flood = server.tunnels.call("a", request("/flood", whole(Bytes::new()))).await.unwrap();
    assert_eq!(text(&server.tunnels, "a", "/still").await, "/still", "other streams go on");

    // What was held back arrives whole once it is read.
    drop(sender);
    let all =
        tokio::time::timeout(PATIENCE, unread.into_body().collect()).await.expect("it must end").unwrap();
    assert!(all.to_bytes().len() >= taken);
    drop(flood);
    let large = Bytes::from(vec![3; 8 << 20]);
    let echoed = server.tunnels.call("a", request("/echo", whole(large.clone()))).await.unwrap();
    assert!(echoed.into_body().collect().await.unwrap().to_bytes() == large);
}

#[tokio::test]
async fn many_streams_at_once() {
    let server = server(Settings::default()).await;
    let mut events = server.tunnels.events();
    let target = server.target("a", server.address);
    let _node = Task::spawn("node", dial::run_with(target, service_fn(node), quick()));
    event(&mut events).await;
    // More than HTTP/2's usual hundred: logs that are followed, and all of them stay open.
    let mut open = Vec::new();
    for n in 0..400 {
        let (sender, body) = streaming();
        let mut answer = server.tunnels.call("a", request("/echo", body)).await.unwrap().into_body();
        let line = Bytes::from(n.to_string());
        sender.send(line.clone()).await.unwrap();
        let frame = tokio::time::timeout(PATIENCE, answer.frame()).await.expect("an echo").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), line);
        open.push((sender, answer));
    }
}
