//! Sessions over a request and a response body: frames in, frames out (`dunlin_api::stream`), and raw bytes for ports.
//!
//! Each direction is a task that ends with its session, its client, or its connection; both are held by the response
//! body's channel, so that a client that goes away ends the session.

use bytes::Bytes;
use dunlin_api::status::Status;
use dunlin_api::stream::{Channel, Decoder, decode_resize, encode, encode_close, encode_status};
use dunlin_base::task::Task;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::backend::{Connection, ExecOptions, Input, Output, Session};
use crate::body::{self, BoxBody};

/// Pieces that may wait for a slow client: with pieces of at most 32 KiB this bounds a session's memory.
const WAITING: usize = 4;

/// Serves a session: input from `request`, output into the returned body.
pub fn session(session: Session, options: ExecOptions, request: BoxBody) -> BoxBody {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let Session { input, output } = session;
        let _reader = Task::spawn("session-input", read_frames(request, input));
        write_frames(output, &options, &sender).await;
    });
    body::channel(receiver)
}

async fn read_frames(mut request: BoxBody, input: mpsc::Sender<Input>) {
    let mut decoder = Decoder::new();
    while let Some(Ok(frame)) = request.frame().await {
        let Ok(bytes) = frame.into_data() else { continue };
        decoder.push(&bytes);
        loop {
            let frame = match decoder.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "a session's input cannot be read");
                    return;
                }
            };
            let message = match frame.channel {
                Channel::Stdin => Input::Stdin(Bytes::from(frame.payload)),
                Channel::Close if frame.closes() == Some(Channel::Stdin) => Input::CloseStdin,
                Channel::Resize => match decode_resize(&frame.payload) {
                    Some((columns, rows)) => Input::Resize(columns, rows),
                    None => continue,
                },
                _ => continue,
            };
            if input.send(message).await.is_err() {
                return;
            }
        }
    }
    // The end of the body is the end of standard input; the session itself goes on.
    let _ = input.send(Input::CloseStdin).await;
    // Holding the sender until the session ends: dropping it could mean the client's death to the backend.
    input.closed().await;
}

async fn write_frames(
    mut output: mpsc::Receiver<Output>,
    options: &ExecOptions,
    sender: &mpsc::Sender<Bytes>,
) {
    loop {
        let message = tokio::select! {
            message = output.recv() => message,
            () = sender.closed() => return,
        };
        let mut out = Vec::new();
        let mut last = false;
        match message {
            Some(Output::Stdout(bytes)) if options.stdout => encode(Channel::Stdout, &bytes, &mut out),
            Some(Output::Stderr(bytes)) if options.stderr => encode(Channel::Stderr, &bytes, &mut out),
            Some(Output::Stdout(_) | Output::Stderr(_)) => {}
            Some(Output::Exited(code)) => {
                finish(&exit_status(code), &mut out);
                last = true;
            }
            Some(Output::Failed(reason)) => {
                finish(&Status::internal(reason), &mut out);
                last = true;
            }
            None => {
                finish(&Status::internal("the session ended without an exit status"), &mut out);
                last = true;
            }
        }
        if !out.is_empty() && sender.send(Bytes::from(out)).await.is_err() {
            return;
        }
        if last {
            return;
        }
    }
}

fn finish(status: &Status, out: &mut Vec<u8>) {
    encode_close(Channel::Stdout, out);
    encode_close(Channel::Stderr, out);
    encode_status(status, out);
}

fn exit_status(code: i32) -> Status {
    if code == 0 {
        return Status::success();
    }
    Status::failure(500, "NonZeroExitCode", format!("command terminated with non-zero exit code: {code}"))
        .cause("ExitCode", code.to_string(), "")
}

/// Serves a connection: raw bytes both ways.
pub fn connection(connection: Connection, mut request: BoxBody) -> BoxBody {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(connection);
        let mut writer = Task::spawn("port-input", async move {
            while let Some(Ok(frame)) = request.frame().await {
                let Ok(bytes) = frame.into_data() else { continue };
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            let _ = write.shutdown().await;
        });
        let mut buffer = vec![0u8; 16 * 1024];
        loop {
            let read = tokio::select! {
                read = read.read(&mut buffer) => read,
                () = sender.closed() => return,
            };
            match read {
                Ok(0) => break,
                Err(_) => return,
                Ok(n) => {
                    if sender.send(Bytes::copy_from_slice(&buffer[..n])).await.is_err() {
                        return;
                    }
                }
            }
        }
        // The pod has said everything, but may still read: the client ends its direction itself, or goes away.
        drop(sender);
        writer.finished().await;
    });
    body::channel(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_ends_one_direction_at_a_time() {
        let (near, mut pod) = tokio::io::duplex(64);
        let (client, request) = mpsc::channel(1);
        let response = connection(Box::new(near), body::channel(request));
        pod.write_all(b"from the pod").await.expect("written");
        let (mut reading, mut writing) = tokio::io::split(pod);
        writing.shutdown().await.expect("ended");
        let all = response.collect().await.expect("the response ends with the pod's direction").to_bytes();
        assert_eq!(all, "from the pod");
        client.send(Bytes::from_static(b"from the client")).await.expect("the pod still reads");
        drop(client);
        let mut got = String::new();
        reading.read_to_string(&mut got).await.expect("the client's direction ends, too");
        assert_eq!(got, "from the client");
    }
}
