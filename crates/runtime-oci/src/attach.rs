//! Joining the streams of a running container: a connection to its shim, turned into a session.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use dunlin_runtime::{Error, ExitStatus, Session, SessionInput, SessionOutput};
use dunlin_shim::ExitRecord;
use dunlin_shim::message::{Reply, Request};
use dunlin_shim::wire::put_frame;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::connection::{Raw, next_frame};

/// Pieces under way in each direction of a session; with pieces of up to 32 KiB a slow client holds 256 KiB.
pub const PIECES: usize = 8;
/// The shim takes no greater frames.
const PIECE: usize = 32 * 1024;

/// A record as the trait tells it.
pub fn exit_status(record: &ExitRecord) -> ExitStatus {
    ExitStatus {
        code: record.code,
        signal: (record.signal != 0).then_some(record.signal),
        oom_killed: record.oom,
        started: UNIX_EPOCH + Duration::from_nanos(record.started),
        finished: UNIX_EPOCH + Duration::from_nanos(record.finished),
    }
}

/// Asks to be attached. Returns the session and the future that moves its bytes, which its owner must run.
pub async fn attach(
    mut raw: Raw,
    container: &str,
    refused: impl Fn(Reply) -> Error,
    broken: impl Fn(String) -> Error,
) -> Result<(Session, impl Future<Output = ()> + Send + 'static), Error> {
    let request = Request::Attach { container: container.to_owned() };
    raw.send(&request).await.map_err(|e| broken(e.to_string()))?;
    match raw.reply().await {
        Ok(Reply::Done) => {}
        Ok(reply) => return Err(refused(reply)),
        Err(error) => return Err(broken(error.to_string())),
    }
    let (input, from_client) = mpsc::channel(PIECES);
    let (to_client, output) = mpsc::channel(PIECES);
    Ok((Session { input, output }, pump(raw, from_client, to_client)))
}

async fn pump(
    raw: Raw,
    mut from_client: mpsc::Receiver<SessionInput>,
    to_client: mpsc::Sender<SessionOutput>,
) {
    let Raw { mut read, mut write, mut decoder, .. } = raw;
    let outputs = async {
        loop {
            let output = match next_frame(&mut read, &mut decoder).await {
                Err(error) => SessionOutput::Failed(format!("the shim ended the session: {error}")),
                Ok(frame) => match Reply::decode(frame.kind, &frame.payload) {
                    Ok(Reply::Stdout(bytes)) => SessionOutput::Stdout(Bytes::from(bytes)),
                    Ok(Reply::Stderr(bytes)) => SessionOutput::Stderr(Bytes::from(bytes)),
                    Ok(Reply::Exited { record, .. }) => SessionOutput::Exited(exit_status(&record)),
                    Ok(_) => continue,
                    Err(error) => SessionOutput::Failed(format!("the shim spoke nonsense: {error}")),
                },
            };
            let last = matches!(output, SessionOutput::Exited(_) | SessionOutput::Failed(_));
            if to_client.send(output).await.is_err() || last {
                return;
            }
        }
    };
    let inputs = async {
        while let Some(input) = from_client.recv().await {
            let mut bytes = Vec::new();
            let mut put = |request: Request| {
                let (kind, payload) = request.encode();
                put_frame(&mut bytes, kind, 0, &payload);
            };
            match input {
                SessionInput::Stdin(data) => {
                    data.chunks(PIECE).for_each(|part| put(Request::Stdin(part.to_vec())))
                }
                SessionInput::CloseStdin => put(Request::CloseStdin),
                SessionInput::Resize(size) => put(Request::Resize { width: size.width, height: size.height }),
            }
            if write.write_all(&bytes).await.is_err() {
                break;
            }
        }
        // A client that only listens goes on listening.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = outputs => {}
        () = inputs => {}
        () = to_client.closed() => {}
    }
}
