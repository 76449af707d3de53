//! The streams of a session over SPDY: the client opens them one by one, and says in a header what each is.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::exec::pump::Ends;
use crate::stream::{Receiving, Sending, Stream};

/// How long a client may take to open them all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which streams must come, besides the one for the error.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub resize: bool,
}

type Both = Option<(Receiving, Sending)>;

/// Takes the streams until all are there; nothing when they do not come.
pub async fn all(wanted: Wanted, opened: &mut mpsc::Receiver<Stream>) -> Option<Ends> {
    tokio::time::timeout(PATIENCE, take(wanted, opened)).await.ok().flatten()
}

async fn take(wanted: Wanted, opened: &mut mpsc::Receiver<Stream>) -> Option<Ends> {
    let [mut stdin, mut stdout, mut stderr, mut resize, mut error]: [Both; 5] = Default::default();
    loop {
        let complete = (stdin.is_some() || !wanted.stdin)
            && (stdout.is_some() || !wanted.stdout)
            && (stderr.is_some() || !wanted.stderr)
            && (resize.is_some() || !wanted.resize);
        if complete && error.is_some() {
            let (_, error) = error?;
            return Some(Ends {
                stdin: stdin.map(|both| both.0),
                resize: resize.map(|both| both.0),
                stdout: stdout.map(|both| both.1),
                stderr: stderr.map(|both| both.1),
                error,
            });
        }
        let stream = opened.recv().await?;
        let place = match stream.headers.get("streamtype") {
            Some("stdin") => &mut stdin,
            Some("stdout") => &mut stdout,
            Some("stderr") => &mut stderr,
            Some("resize") => &mut resize,
            Some("error") => &mut error,
            _ => {
                stream.refuse().await;
                continue;
            }
        };
        match place {
            None => *place = Some(stream.accept().await),
            Some(_) => stream.refuse().await,
        }
    }
}
