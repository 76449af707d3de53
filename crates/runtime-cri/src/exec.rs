//! Sessions: one more process in a container, and the streams of its first.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dunlin_grpc::wire::Message;
use dunlin_runtime::{
    ContainerId, ContainerState, Error, ExecSpec, ExitStatus, SandboxId, Session, SessionInput, SessionOutput,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::call::{self, Call};
use crate::message::{self, Container};
use crate::runtime::Shared;
use crate::spdy::{self, End, Streams};
use crate::{container, plan};

/// Messages that may wait in a session, either way.
const WAITING: usize = 16;
/// How long reaching the streaming server may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a container may take to be dead after its streams have ended.
const BURIED: Duration = Duration::from_secs(10);

/// Runs a command in a container. The future carries the session, and ends with it.
pub async fn exec(
    shared: &Arc<Shared>,
    id: &SandboxId,
    name: &ContainerId,
    spec: ExecSpec,
) -> Result<(Session, impl Future<Output = ()> + use<>), Error> {
    if spec.args.first().is_none_or(String::is_empty) {
        return Err(Error::Spec { field: "args".into(), reason: "the command is empty".into() });
    }
    let container = container::running(shared, id, name).await?;
    let streams = Streams { stdin: spec.stdin, tty: spec.tty };
    let request = Message::default()
        .text(1, &container.id)
        .texts(2, &spec.args)
        .int(3, spec.tty.into())
        .int(4, spec.stdin.into())
        .int(5, 1)
        .int(6, i64::from(!spec.tty));
    begin(shared, call::EXEC, request, streams, async |end| match end {
        End::Code(code) => SessionOutput::Exited(ended(code)),
        End::Refused(why) | End::Broken(why) => SessionOutput::Failed(why),
        End::Unheard => SessionOutput::Failed(String::new()),
    })
    .await
}

/// Joins a container's streams.
pub async fn attach(
    shared: &Arc<Shared>,
    id: &SandboxId,
    name: &ContainerId,
) -> Result<(Session, impl Future<Output = ()> + use<>), Error> {
    let container = container::running(shared, id, name).await?;
    let notes = plan::notes_of(&container.annotations);
    let (stdin, tty) = notes.map_or((false, false), |notes| (notes.stdin, notes.tty));
    let request = Message::default()
        .text(1, &container.id)
        .int(2, stdin.into())
        .int(3, tty.into())
        .int(4, 1)
        .int(5, i64::from(!tty));
    let asked = shared.clone();
    begin(shared, call::ATTACH, request, Streams { stdin, tty }, async move |end| {
        let why = match end {
            End::Code(_) | End::Unheard => "the session ended and the container did not".to_owned(),
            End::Refused(why) | End::Broken(why) => why,
        };
        match buried(&asked, &container).await {
            Some(status) => SessionOutput::Exited(status),
            None => SessionOutput::Failed(why),
        }
    })
    .await
}

async fn begin<F>(
    shared: &Arc<Shared>,
    call: Call,
    request: Message,
    streams: Streams,
    last: F,
) -> Result<(Session, impl Future<Output = ()> + use<F>), Error>
where
    F: AsyncFnOnce(End) -> SessionOutput,
{
    let url = shared.link.ask(call, request, |answer| message::text(answer, 1)).await?;
    let connected = tokio::time::timeout(CONNECT, spdy::connect(&url)).await;
    let connected = connected.unwrap_or_else(|_| {
        Err(format!("its streaming server did not answer within {} s", CONNECT.as_secs()))
    });
    let io = connected.map_err(|why| shared.link.failed(call, why))?;
    let (input, mut from_client) = mpsc::channel::<SessionInput>(WAITING);
    let (to_client, output) = mpsc::channel(WAITING);
    let pump = async move {
        let end = spdy::run(io, streams, &mut from_client, &to_client).await;
        if end != End::Unheard {
            let last = last(end).await;
            // A client that is gone needs no last word.
            let _ = to_client.send(last).await;
        }
    };
    Ok((Session { input, output }, pump))
}

/// How a container whose streams have ended did end; `None` if it lives on.
async fn buried(shared: &Shared, container: &Container) -> Option<ExitStatus> {
    let deadline = Instant::now() + BURIED;
    while Instant::now() < deadline {
        match container::status(shared, container).await.ok()?.map(|status| status.state) {
            Some(ContainerState::Exited(status)) => return Some(status),
            Some(ContainerState::Running { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
            None => return None,
        }
    }
    None
}

fn ended(code: i32) -> ExitStatus {
    let now = SystemTime::now();
    ExitStatus { code, signal: container::signal_of(code), oom_killed: false, started: now, finished: now }
}
