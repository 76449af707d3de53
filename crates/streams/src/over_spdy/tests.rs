//! A client of the codec's own words against a served connection.

use futures_util::SinkExt;
use http::HeaderMap;
use tokio::task::JoinHandle;

use super::incoming::STREAMS;
use super::*;
use crate::spdy::{Decoder, Error};
use crate::stream::Piece;

/// The other side of a connection.
struct Client {
    encoder: Encoder,
    decoder: Decoder,
    to_server: mpsc::Sender<Result<Bytes, Error>>,
    from_server: mpsc::Receiver<Bytes>,
    serving: JoinHandle<()>,
}

impl Client {
    fn new<F>(handler: impl FnOnce(mpsc::Receiver<Stream>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (to_server, input) = mpsc::channel(4);
        let (output, from_server) = mpsc::channel(4);
        let input = futures_util::stream::unfold(input, |mut input| async move {
            input.recv().await.map(|bytes| (bytes, input))
        });
        let output = Box::pin(futures_util::sink::unfold(output, async |output, bytes: Bytes| {
            output.send(bytes).await.map(|()| output)
        }));
        let serving = tokio::spawn(serve(input, output.sink_map_err(drop), handler));
        Self { encoder: Encoder::new(), decoder: Decoder::new(), to_server, from_server, serving }
    }

    async fn send(&mut self, frame: Frame) {
        let mut out = Vec::new();
        self.encoder.encode(&frame, &mut out);
        self.to_server.send(Ok(Bytes::from(out))).await.unwrap();
    }

    async fn open(&mut self, stream: u32, fin: bool) {
        let headers = Headers(vec![("streamtype".to_owned(), "data".to_owned())]);
        let (associated, priority, unidirectional) = (0, 0, false);
        self.send(Frame::SynStream { stream, associated, priority, fin, unidirectional, headers }).await;
    }

    async fn data(&mut self, stream: u32, payload: &'static [u8], fin: bool) {
        self.send(Frame::Data { stream, fin, payload: Bytes::from_static(payload) }).await;
    }

    /// The next frame; nothing at the end of the connection.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            self.decoder.push(&self.from_server.recv().await?);
        }
    }
}

fn reply(stream: u32) -> Option<Frame> {
    Some(Frame::SynReply { stream, fin: false, headers: Headers::default() })
}

fn data(stream: u32, payload: &'static [u8], fin: bool) -> Option<Frame> {
    Some(Frame::Data { stream, fin, payload: Bytes::from_static(payload) })
}

/// Takes every stream and sends back what comes, and its end.
async fn echo(mut opened: mpsc::Receiver<Stream>) {
    let mut echoes = tokio::task::JoinSet::new();
    while let Some(stream) = opened.recv().await {
        let (mut input, sending) = stream.accept().await;
        echoes.spawn(async move {
            loop {
                match input.recv().await {
                    Some(Piece::Data(bytes)) => sending.data(bytes).await.unwrap(),
                    Some(Piece::Fin) => return sending.finish().await,
                    None => return sending.data(Bytes::from_static(b"reset")).await.unwrap(),
                }
            }
        });
    }
}

#[tokio::test]
async fn streams_are_apart_and_half_closed_one_by_one() {
    let mut client = Client::new(echo);
    client.open(1, false).await;
    client.open(3, false).await;
    assert_eq!((client.next().await, client.next().await), (reply(1), reply(3)));
    client.data(3, b"three", true).await;
    assert_eq!((client.next().await, client.next().await), (data(3, b"three", false), data(3, b"", true)));
    client.data(1, b"one", false).await;
    assert_eq!(client.next().await, data(1, b"one", false));
    client.send(Frame::RstStream { stream: 1, status: 5 }).await;
    assert_eq!(client.next().await, data(1, b"reset", false));
    client.open(5, true).await;
    assert_eq!((client.next().await, client.next().await), (reply(5), data(5, b"", true)));
    client.send(Frame::Ping(9)).await;
    client.send(Frame::Ping(2)).await;
    client.send(Frame::WindowUpdate { stream: 1, delta: 1 }).await;
    client.send(Frame::Ping(11)).await;
    assert_eq!((client.next().await, client.next().await), (Some(Frame::Ping(9)), Some(Frame::Ping(11))));
    // Late data of a stream that is over is nobody's.
    client.data(1, b"late", false).await;
    client.data(5, b"late", false).await;
    client.open(7, true).await;
    assert_eq!(client.next().await, reply(7));
}

#[tokio::test]
async fn a_connection_ends_with_its_client_and_its_handler_with_it() {
    let (alive, mut dead) = mpsc::channel::<()>(1);
    let mut client = Client::new(async move |mut opened| {
        let _alive = alive;
        let stream = opened.recv().await;
        std::future::pending::<()>().await;
        drop(stream);
    });
    client.open(1, false).await;
    let Client { to_server, serving, .. } = client;
    drop(to_server);
    serving.await.unwrap();
    assert_eq!(dead.recv().await, None);
}

#[tokio::test]
async fn a_handler_that_is_done_says_goodbye_and_leaves_the_client_to_close() {
    let mut client = Client::new(async |mut opened: mpsc::Receiver<Stream>| {
        let (_input, sending) = opened.recv().await.unwrap().accept().await;
        sending.data(Bytes::from_static(b"bye")).await.unwrap();
        sending.finish().await;
    });
    client.open(1, false).await;
    assert_eq!(client.next().await, reply(1));
    assert_eq!((client.next().await, client.next().await), (data(1, b"bye", false), data(1, b"", true)));
    assert_eq!(client.next().await, Some(Frame::GoAway { last: 1, status: 0 }));
    // Whatever the client was still saying is taken, and a new stream is refused.
    client.data(1, b"nobody listens", true).await;
    client.open(3, false).await;
    assert_eq!(client.next().await, Some(Frame::RstStream { stream: 3, status: 3 }));
    assert!(!client.serving.is_finished());
    drop(client.to_server);
    client.serving.await.unwrap();
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_and_left() {
    for (name, frame) in [
        (
            "even",
            Frame::SynStream {
                stream: 2,
                associated: 0,
                priority: 0,
                fin: false,
                unidirectional: false,
                headers: Headers::default(),
            },
        ),
        ("unopened", Frame::Data { stream: 9, fin: false, payload: Bytes::from_static(b"x") }),
    ] {
        let mut client = Client::new(echo);
        client.open(1, false).await;
        assert_eq!(client.next().await, reply(1));
        client.send(frame).await;
        assert_eq!(client.next().await, Some(Frame::GoAway { last: 1, status: 1 }), "{name}");
        assert_eq!(client.next().await, None, "{name}");
        client.serving.await.unwrap();
    }
    let mut client = Client::new(echo);
    client.to_server.send(Ok(Bytes::from_static(b"\x80\x02 nonsense"))).await.unwrap();
    assert_eq!(client.next().await, Some(Frame::GoAway { last: 0, status: 1 }));
    assert_eq!(client.next().await, None);
}

#[tokio::test]
async fn too_many_streams_are_refused_until_some_have_ended() {
    let mut client = Client::new(echo);
    let ids: Vec<u32> = (0..STREAMS as u32).map(|i| i * 2 + 1).collect();
    for id in &ids {
        client.open(*id, false).await;
        assert_eq!(client.next().await, reply(*id));
    }
    let next = STREAMS as u32 * 2 + 1;
    client.open(next, false).await;
    assert_eq!(client.next().await, Some(Frame::RstStream { stream: next, status: 3 }));
    client.data(1, b"", true).await;
    assert_eq!(client.next().await, data(1, b"", true));
    client.open(next + 2, false).await;
    assert_eq!(client.next().await, reply(next + 2));
}

#[test]
fn protocols_are_negotiated_by_the_clients_order() {
    const OURS: &[&str] = &["v4.channel.k8s.io", "v3.channel.k8s.io"];
    let mut headers = HeaderMap::new();
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    assert!(!wanted(&headers));
    headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
    assert!(wanted(&headers));
    assert_eq!(accept(&headers, OURS).unwrap_err().code, 400);
    for offer in ["v9.channel.k8s.io, v3.channel.k8s.io", "v4.channel.k8s.io"] {
        headers.append(VERSION, HeaderValue::from_static(offer));
    }
    let (reply, chosen) = accept(&headers, OURS).unwrap();
    assert_eq!((reply.status(), chosen), (StatusCode::SWITCHING_PROTOCOLS, "v3.channel.k8s.io"));
    assert_eq!(reply.headers()[VERSION], "v3.channel.k8s.io");
    let refusal = accept(&headers, &["v1"]).unwrap_err();
    let mut told = HeaderMap::new();
    refusal.mark(&mut told);
    assert_eq!(refusal.code, 403);
    assert_eq!(told["X-Accepted-Stream-Protocol-Versions"], "v1");
}
