//! A session on the daemon's streaming server: SPDY/3.1, in the client's role.
//!
//! Daemons speak WebSockets as well, but those of today cannot end the standard input there (that came with the fifth
//! version of the protocol), and SPDY all of them have.

use bytes::Bytes;
use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_runtime::{SessionInput, SessionOutput};
use dunlin_streams::spdy::{Decoder, Encoder, Frame, Headers};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// The version of Kubernetes' protocol in which a command's exit code is told.
const PROTOCOL: &str = "v4.channel.k8s.io";
/// The longest refusal, and the longest status, that is read, bytes.
const LONGEST: usize = 64 << 10;
/// Bytes that are read at once.
const PIECE: usize = 32 << 10;
/// Answers to pings that may wait to be written.
const UNSENT: usize = 8;

/// The numbers of our streams.
mod stream {
    pub const ERROR: u32 = 1;
    pub const STDIN: u32 = 3;
    pub const STDOUT: u32 = 5;
    pub const STDERR: u32 = 7;
    pub const RESIZE: u32 = 9;
}

/// Which streams there are.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    pub stdin: bool,
    pub tty: bool,
}

/// How a session ended.
#[derive(Debug, PartialEq)]
pub enum End {
    /// The command has ended with this code; of an attach: the daemon says that it is over.
    Code(i32),
    /// The daemon says why not.
    Refused(String),
    /// Nothing more came.
    Broken(String),
    /// Whoever listened is gone.
    Unheard,
}

/// Reaches the streaming server at the URL that the daemon gave.
///
/// # Errors
/// In words, when it cannot be reached or does not take the session.
pub async fn connect(url: &str) -> Result<TokioIo<Upgraded>, String> {
    let uri: http::Uri = url.parse().map_err(|_| format!("{url:?} is no URL"))?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
    let authority = authority
        .ok_or_else(|| format!("{url:?} is not plain HTTP: switch TLS of its streaming server off"))?;
    let at = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let tcp =
        TcpStream::connect(&at).await.map_err(|e| format!("its streaming server {at}: {}", chain(&e)))?;
    let told = |e: hyper::Error| format!("its streaming server {at}: {}", chain(&e));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.map_err(told)?;
    let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, authority.as_str())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "SPDY/3.1")
        .header("X-Stream-Protocol-Version", PROTOCOL)
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    // It carries the answer, and ends when the connection is handed over.
    let _carrier = Task::spawn("cri stream", async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(error = chain(&error), "a connection to a streaming server ended");
        }
    });
    let answer = sender.send_request(request).await.map_err(told)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        return Err(format!("its streaming server says {status}: {}", String::from_utf8_lossy(&body).trim()));
    }
    hyper::upgrade::on(answer).await.map(TokioIo::new).map_err(told)
}

/// Runs a session until it is over or nobody listens.
pub async fn run(
    io: TokioIo<Upgraded>,
    streams: Streams,
    input: &mut mpsc::Receiver<SessionInput>,
    output: &mpsc::Sender<SessionOutput>,
) -> End {
    let (reading, writing) = tokio::io::split(io);
    let (pongs, unsent) = mpsc::channel(UNSENT);
    tokio::select! {
        end = read(reading, output, pongs) => end,
        why = write(writing, streams, input, unsent) => End::Broken(why),
        () = output.closed() => End::Unheard,
    }
}

/// Writes what the client says; ends only when the connection does.
async fn write(
    mut io: WriteHalf<TokioIo<Upgraded>>,
    streams: Streams,
    input: &mut mpsc::Receiver<SessionInput>,
    mut pongs: mpsc::Receiver<u32>,
) -> String {
    let mut encoder = Encoder::new();
    let mut out = Vec::new();
    let kinds = [
        (stream::ERROR, "error", true),
        (stream::STDIN, "stdin", streams.stdin),
        (stream::STDOUT, "stdout", true),
        (stream::STDERR, "stderr", !streams.tty),
        (stream::RESIZE, "resize", streams.tty),
    ];
    for (stream, kind, _) in kinds.into_iter().filter(|(_, _, wanted)| *wanted) {
        let headers = Headers(vec![("streamtype".to_owned(), kind.to_owned())]);
        let (associated, priority, fin, unidirectional) = (0, 0, false, false);
        let open = Frame::SynStream { stream, associated, priority, fin, unidirectional, headers };
        encoder.encode(&open, &mut out);
    }
    let (mut listening, mut open) = (true, streams.stdin);
    loop {
        if let Err(error) = io.write_all(&out).await {
            return chain(&error);
        }
        out.clear();
        let said = tokio::select! {
            said = input.recv(), if listening => said,
            Some(id) = pongs.recv() => {
                encoder.encode(&Frame::Ping(id), &mut out);
                continue;
            }
        };
        let frame = match said {
            // A client that has nothing more to say may still listen.
            None => {
                listening = false;
                continue;
            }
            Some(SessionInput::Stdin(payload)) if open => {
                Frame::Data { stream: stream::STDIN, fin: false, payload }
            }
            Some(SessionInput::CloseStdin) if open => {
                open = false;
                Frame::Data { stream: stream::STDIN, fin: true, payload: Bytes::new() }
            }
            Some(SessionInput::Resize(size)) if streams.tty => {
                let payload = serde_json::to_vec(&size).unwrap_or_default().into();
                Frame::Data { stream: stream::RESIZE, fin: false, payload }
            }
            Some(_) => continue,
        };
        encoder.encode(&frame, &mut out);
    }
}

/// Reads until the daemon has said how it ended.
async fn read(
    mut io: ReadHalf<TokioIo<Upgraded>>,
    output: &mpsc::Sender<SessionOutput>,
    pongs: mpsc::Sender<u32>,
) -> End {
    let mut decoder = Decoder::new();
    let mut piece = vec![0; PIECE];
    let mut status = Vec::new();
    loop {
        match io.read(&mut piece).await {
            Ok(0) => return End::Broken("the daemon closed the session without a word".to_owned()),
            Ok(length) => decoder.push(&piece[..length]),
            Err(error) => return End::Broken(chain(&error)),
        }
        loop {
            let (stream, payload) = match decoder.next_frame() {
                Ok(None) => break,
                Ok(Some(Frame::Data { stream, payload, .. })) => (stream, payload),
                // Answers to pings of ours would have odd numbers.
                Ok(Some(Frame::Ping(id))) if id % 2 == 0 => {
                    let _ = pongs.send(id).await;
                    continue;
                }
                Ok(Some(_)) => continue,
                Err(error) => return End::Broken(chain(&error)),
            };
            let said = match stream {
                _ if payload.is_empty() => continue,
                stream::STDOUT => SessionOutput::Stdout(payload),
                stream::STDERR => SessionOutput::Stderr(payload),
                stream::ERROR => {
                    status.extend_from_slice(&payload);
                    match verdict(&status) {
                        Some(end) => return end,
                        None if status.len() > LONGEST => {
                            return End::Broken("its status has no end".to_owned());
                        }
                        None => continue,
                    }
                }
                _ => continue,
            };
            if output.send(said).await.is_err() {
                return End::Unheard;
            }
        }
    }
}

/// What a status says; `None` as long as it is not whole.
fn verdict(status: &[u8]) -> Option<End> {
    let status: serde_json::Value = serde_json::from_slice(status).ok()?;
    if status["status"] == "Success" {
        return Some(End::Code(0));
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let code = causes
        .filter(|cause| cause["reason"] == "ExitCode")
        .find_map(|cause| cause["message"].as_str()?.parse().ok());
    Some(match code {
        Some(code) => End::Code(code),
        None => End::Refused(status["message"].as_str().unwrap_or("no reason was given").to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_code_or_a_reason() {
        assert_eq!(verdict(br#"{"status":"Succ"#), None);
        assert_eq!(verdict(br#"{"metadata":{},"status":"Success"}"#), Some(End::Code(0)));
        let code = br#"{"status":"Failure","message":"no","reason":"NonZeroExitCode",
            "details":{"causes":[{"reason":"Other","message":"1"},{"reason":"ExitCode","message":"4"}]}}"#;
        assert_eq!(verdict(code), Some(End::Code(4)));
        let refused = br#"{"status":"Failure","message":"no such container","reason":"InternalError"}"#;
        assert_eq!(verdict(refused), Some(End::Refused("no such container".to_owned())));
    }

    #[tokio::test]
    async fn what_is_no_streaming_server_is_named() {
        for (url, expected) in [
            ("https://127.0.0.1:1/x", "not plain HTTP"),
            ("::", "no URL"),
            ("http://127.0.0.1:1/x", "127.0.0.1:1"),
        ] {
            let error = connect(url).await.map(|_| ()).unwrap_err();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }
}
