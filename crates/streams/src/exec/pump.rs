//! A session between the streams of a client and the frames of a node.

use bytes::Bytes;
use dunlin_api::status::Status;
use dunlin_api::stream::{Channel, Decoder, Frame, encode, encode_close};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::body::BoxBody;
use crate::exec::resize::Sizes;
use crate::stream::{Gone, Piece, Receiving, Sending};

/// The client's ends; those that it did not ask for are not there.
#[derive(Debug)]
pub struct Ends {
    pub stdin: Option<Receiving>,
    pub resize: Option<Receiving>,
    pub stdout: Option<Sending>,
    pub stderr: Option<Sending>,
    pub error: Sending,
}

/// A session that a node has begun.
pub struct Session {
    pub to_node: mpsc::Sender<Bytes>,
    pub from_node: BoxBody,
    pub node: String,
    /// Whether the end is told as a `metav1.Status`, else as text for people, and only if it is bad.
    pub status: bool,
}

impl Session {
    /// Runs it until the node has said how it ended, or the client is gone.
    pub async fn run(self, ends: Ends) {
        let Ends { stdin, resize, stdout, stderr, error } = ends;
        let output = Output { stdout, stderr, error, last: None };
        tokio::select! {
            () = input(stdin, resize, self.to_node) => {}
            // A client that is gone ends the session elsewhere, by what can be read of it.
            _ = output.run(self.from_node, &self.node, self.status) => {}
        }
    }
}

/// Passes on what the client sends; never ends by itself, as the process may still have something to say.
async fn input(stdin: Option<Receiving>, resize: Option<Receiving>, to_node: mpsc::Sender<Bytes>) {
    let to_stdin = async {
        let Some(mut stdin) = stdin else { return };
        let mut open = true;
        while open {
            let mut out = Vec::new();
            match stdin.recv().await {
                Some(Piece::Data(bytes)) => encode(Channel::Stdin, &bytes, &mut out),
                Some(Piece::Fin) | None => {
                    encode_close(Channel::Stdin, &mut out);
                    open = false;
                }
            }
            if to_node.send(Bytes::from(out)).await.is_err() {
                return;
            }
        }
    };
    let to_terminal = async {
        let Some(mut resize) = resize else { return };
        let mut sizes = Sizes::default();
        while let Some(Piece::Data(bytes)) = resize.recv().await {
            let Some(size) = sizes.push(&bytes) else { continue };
            let mut out = Vec::new();
            encode(Channel::Resize, &size, &mut out);
            if to_node.send(Bytes::from(out)).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(to_stdin, to_terminal);
    std::future::pending::<()>().await;
}

struct Output {
    stdout: Option<Sending>,
    stderr: Option<Sending>,
    error: Sending,
    last: Option<Bytes>,
}

impl Output {
    async fn run(mut self, mut from_node: BoxBody, node: &str, as_status: bool) -> Result<(), Gone> {
        let mut decoder = Decoder::new();
        while let Some(Ok(piece)) = from_node.frame().await {
            let Ok(data) = piece.into_data() else { continue };
            decoder.push(&data);
            while let Ok(Some(frame)) = decoder.next_frame() {
                self.pass(frame).await?;
            }
        }
        let status = self.last.take().unwrap_or_else(|| {
            // Without it the client would take the silence for success.
            let text = format!("the connection to node {node:?} was lost before the session had ended");
            Bytes::from(serde_json::to_vec(&Status::internal(text)).unwrap_or_default())
        });
        let status = if as_status { Some(status) } else { text(&status) };
        if let Some(status) = status {
            self.error.data(status).await?;
        }
        for stream in [self.stdout, self.stderr, Some(self.error)].into_iter().flatten() {
            stream.finish().await;
        }
        Ok(())
    }

    async fn pass(&mut self, frame: Frame) -> Result<(), Gone> {
        let stream = match frame.channel {
            Channel::Stdout => &self.stdout,
            Channel::Stderr => &self.stderr,
            Channel::Status => {
                self.last = Some(Bytes::from(frame.payload));
                return Ok(());
            }
            _ => return Ok(()),
        };
        match stream {
            Some(stream) if !frame.payload.is_empty() => stream.data(Bytes::from(frame.payload)).await,
            _ => Ok(()),
        }
    }
}

/// A status as text; nothing for a success.
fn text(status: &[u8]) -> Option<Bytes> {
    let status: serde_json::Value = serde_json::from_slice(status).ok()?;
    let message = status["message"].as_str().unwrap_or("the session failed");
    (status["status"] != "Success").then(|| Bytes::from(message.to_owned()))
}
