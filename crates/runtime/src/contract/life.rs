//! Sandboxes and containers come, are found again, and go. Needs nothing but a runtime.

use std::time::Instant;

use super::{Bench, PATIENCE, pause, until};
use crate::{ContainerId, ContainerState, Error, Event, ExecSpec, SandboxId};

const SLEEP: [&str; 2] = ["sleep", "1000000"];

/// A sandbox that exists is returned, not made again.
pub async fn creation_is_idempotent(bench: &mut Bench<'_>) {
    let spec = bench.sandbox_spec();
    let first = bench.runtime().create_sandbox(spec.clone()).await.unwrap();
    let second = bench.runtime().create_sandbox(spec.clone()).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(bench.runtime().sandboxes().await.unwrap(), [second]);
    // Several at once make one.
    let spec = bench.sandbox_spec();
    let runtime = bench.runtime();
    let many = (0..4).map(|_| runtime.create_sandbox(spec.clone()));
    let all = futures_util::future::try_join_all(many).await.unwrap();
    assert!(all.windows(2).all(|w| w[0] == w[1]));
    assert_eq!(bench.runtime().sandboxes().await.unwrap().len(), 2);
}

/// A container that exists is returned, alive or dead.
pub async fn starting_is_idempotent(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let spec = bench.spec("app-0", &SLEEP);
    let runtime = bench.runtime();
    let first = runtime.start_container(&sandbox, spec.clone()).await.unwrap();
    let again = (0..3).map(|_| runtime.start_container(&sandbox, spec.clone()));
    let again = futures_util::future::try_join_all(again).await.unwrap();
    assert!(again.iter().all(|status| *status == first));
    assert!(matches!(first.state, ContainerState::Running { .. }));
    runtime.signal(&sandbox, &spec.id, 9).await.unwrap();
    let status = bench.exited(&sandbox, &spec.id).await;
    let dead = runtime.start_container(&sandbox, spec).await.unwrap();
    assert_eq!(dead.state, ContainerState::Exited(status));
}

/// Every call names what is not there.
pub async fn what_is_absent_is_named(bench: &mut Bench<'_>) {
    let runtime = bench.runtime();
    let nobody = SandboxId("nobody".into());
    let none = ContainerId("none".into());
    let spec = bench.spec("app-0", &SLEEP);
    let exec = || ExecSpec { args: vec!["true".into()], ..ExecSpec::default() };
    let no_sandbox = |error: Option<Error>| assert!(matches!(error, Some(Error::NoSandbox(_))), "{error:?}");
    no_sandbox(runtime.sandbox(&nobody).await.err());
    no_sandbox(runtime.start_container(&nobody, spec).await.err());
    no_sandbox(runtime.signal(&nobody, &none, 15).await.err());
    no_sandbox(runtime.exec(&nobody, &none, exec()).await.err());
    no_sandbox(runtime.attach(&nobody, &none).await.err());
    no_sandbox(runtime.stats(&nobody, &none).await.err());
    let sandbox = bench.sandbox().await;
    let no_container =
        |error: Option<Error>| assert!(matches!(error, Some(Error::NoContainer(..))), "{error:?}");
    no_container(runtime.signal(&sandbox, &none, 15).await.err());
    no_container(runtime.exec(&sandbox, &none, exec()).await.err());
    no_container(runtime.attach(&sandbox, &none).await.err());
    no_container(runtime.stats(&sandbox, &none).await.err());
}

/// SIGKILL ends a container, and the event tells so when the status can be read.
pub async fn kill_is_told(bench: &mut Bench<'_>) {
    let mut events = bench.runtime().events();
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, bench.spec("app-0", &SLEEP)).await;
    let before = std::time::SystemTime::now();
    bench.runtime().signal(&sandbox, &id, 9).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert!(
        matches!(&event, Event::Exited { sandbox: s, container: c } if *s == sandbox && *c == id),
        "{event:?}"
    );
    let Some(ContainerState::Exited(status)) = bench.container(&sandbox, &id).await.map(|c| c.state) else {
        panic!("told of an exit that cannot be read")
    };
    assert_eq!((status.code, status.signal, status.oom_killed), (137, Some(9), false));
    assert!(status.started <= before && status.finished >= before);
    // A signal to the dead is nothing.
    bench.runtime().signal(&sandbox, &id, 15).await.unwrap();
    let exec = ExecSpec { args: vec!["true".into()], ..ExecSpec::default() };
    let error = bench.runtime().exec(&sandbox, &id, exec).await.err();
    assert!(matches!(error, Some(Error::NotRunning(_))), "{error:?}");
    let error = bench.runtime().attach(&sandbox, &id).await.err();
    assert!(matches!(error, Some(Error::NotRunning(_))), "{error:?}");
}

/// What is removed is gone; removing it again is success, and the name can be used anew.
pub async fn removal_is_idempotent(bench: &mut Bench<'_>) {
    let spec = bench.sandbox_spec();
    for _ in 0..2 {
        bench.runtime().create_sandbox(spec.clone()).await.unwrap();
        bench.start(&spec.id, bench.spec("app-0", &SLEEP)).await;
        let runtime = bench.runtime();
        let (one, other) = tokio::join!(runtime.remove_sandbox(&spec.id), runtime.remove_sandbox(&spec.id));
        one.and(other).unwrap();
        runtime.remove_sandbox(&spec.id).await.unwrap();
        runtime.remove_container(&spec.id, &ContainerId("app-0".into())).await.unwrap();
        assert_eq!(runtime.sandboxes().await.unwrap(), []);
    }
}

/// A container that died can be removed and made again; its sandbox stays.
pub async fn a_dead_container_is_removed_alone(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    for _ in 0..2 {
        let id = bench.start(&sandbox, bench.spec("app-0", &SLEEP)).await;
        bench.runtime().signal(&sandbox, &id, 9).await.unwrap();
        bench.exited(&sandbox, &id).await;
        bench.runtime().remove_container(&sandbox, &id).await.unwrap();
        bench.runtime().remove_container(&sandbox, &id).await.unwrap();
        assert_eq!(bench.container(&sandbox, &id).await, None);
    }
    assert!(bench.runtime().sandbox(&sandbox).await.unwrap().alive);
}

/// A container that runs is not removed by mistake.
pub async fn a_running_container_is_not_removed(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, bench.spec("app-0", &SLEEP)).await;
    assert!(bench.runtime().remove_container(&sandbox, &id).await.is_err());
    let state = bench.container(&sandbox, &id).await.unwrap().state;
    assert!(matches!(state, ContainerState::Running { .. }), "{state:?}");
}

/// The agent restarts: containers run on, exits that happened meanwhile are known, events come again.
pub async fn a_new_runtime_finds_everything(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let stays = bench.start(&sandbox, bench.spec("stays-0", &SLEEP)).await;
    let ends = bench.start(&sandbox, bench.spec("ends-0", &SLEEP)).await;
    bench.runtime().signal(&sandbox, &ends, 9).await.unwrap();
    bench.exited(&sandbox, &ends).await;
    let before = bench.runtime().sandbox(&sandbox).await.unwrap();
    bench.reopen().await;
    let after = bench.runtime().sandbox(&sandbox).await.unwrap();
    assert_eq!(before, after);
    let mut events = bench.runtime().events();
    bench.runtime().signal(&sandbox, &stays, 9).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert!(matches!(&event, Event::Exited { container, .. } if *container == stays), "{event:?}");
    until("the end", async || bench.exited(&sandbox, &stays).await.code == 137).await;
}

/// Sandboxes do not get in each other's way.
pub async fn many_sandboxes(bench: &mut Bench<'_>) {
    let runtime = bench.runtime();
    let specs: Vec<_> = (0..8).map(|_| bench.sandbox_spec()).collect();
    let made = specs.iter().map(|spec| async {
        runtime.create_sandbox(spec.clone()).await?;
        runtime.start_container(&spec.id, bench.spec("app-0", &SLEEP)).await
    });
    futures_util::future::try_join_all(made).await.unwrap();
    assert_eq!(runtime.sandboxes().await.unwrap().len(), 8);
    let removed = specs.iter().map(|spec| runtime.remove_sandbox(&spec.id));
    futures_util::future::try_join_all(removed).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !runtime.sandboxes().await.unwrap().is_empty() {
        pause(deadline, "an empty list").await;
    }
}
