//! Containers that mean harm, and calls that break off.

use std::time::Duration;

use super::{Bench, until};
use crate::ContainerState;

/// Endless output fills neither the disk nor memory, and can be stopped.
pub async fn much_output(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let mut spec =
        bench.spec("app-0", &["yes", "a line that is written again and again until the disk is full"]);
    (spec.log_max_size, spec.log_max_files) = (1 << 20, 2);
    let log = spec.log_path.clone();
    let id = bench.start(&sandbox, spec).await;
    until("two rotations", async || log.with_file_name("app-0.log.2").exists()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let size =
        |n: &str| std::fs::metadata(log.with_file_name(format!("app-0.log{n}"))).map_or(0, |m| m.len());
    assert!(size("") + size(".1") + size(".2") <= 3 * (1 << 20) + (1 << 18));
    assert!(!log.with_file_name("app-0.log.3").exists());
    bench.runtime().signal(&sandbox, &id, 9).await.unwrap();
    assert_eq!(bench.exited(&sandbox, &id).await.code, 137);
}

/// A fork bomb within its limit is removed like anything else.
pub async fn fork_bomb(bench: &mut Bench<'_>) {
    for shared in [false, true] {
        let mut spec = bench.sandbox_spec();
        spec.share_process_namespace = shared;
        let sandbox = spec.id.clone();
        bench.runtime().create_sandbox(spec).await.unwrap();
        // A shell ends when it cannot fork, which makes room for the others' children; process 1 does not fork.
        let script = "bomb() { while :; do bomb & sleep 0.01; done; }; bomb 2>/dev/null & exec sleep 1000000";
        let mut spec = bench.script("app-0", script);
        spec.resources.pids_limit = Some(60);
        spec.resources.cpu_limit_milli = Some(500);
        let id = bench.start(&sandbox, spec).await;
        until("the bomb", async || bench.runtime().stats(&sandbox, &id).await.is_ok_and(|s| s.pids >= 55))
            .await;
        bench.runtime().remove_sandbox(&sandbox).await.unwrap();
        assert_eq!(bench.runtime().sandboxes().await.unwrap(), []);
    }
}

/// A process that ignores every signal, and its children, end when the sandbox does.
pub async fn deaf_to_signals(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let script = "trap '' TERM INT HUP QUIT USR1; (trap '' TERM; while :; do sleep 1; done) & while :; do sleep 1; done";
    let id = bench.start(&sandbox, bench.script("app-0", script)).await;
    // Both shells sleep once they are deaf.
    until("the traps", async || bench.runtime().stats(&sandbox, &id).await.is_ok_and(|s| s.pids >= 4)).await;
    for signal in [15, 2, 1, 3, 10] {
        bench.runtime().signal(&sandbox, &id, signal).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(matches!(bench.container(&sandbox, &id).await.unwrap().state, ContainerState::Running { .. }));
    bench.runtime().remove_sandbox(&sandbox).await.unwrap();
}

/// A caller that gives up in the middle of a start finds the container, or starts it, the next time.
pub async fn a_broken_start_leaves_nothing(bench: &mut Bench<'_>) {
    for delay in [0, 1, 3, 7, 12, 20] {
        let spec = bench.sandbox_spec();
        let sandbox = spec.id.clone();
        let early = Duration::from_millis(delay / 2);
        let _ = tokio::time::timeout(early, bench.runtime().create_sandbox(spec.clone())).await;
        bench.runtime().create_sandbox(spec).await.unwrap();
        let container = bench.spec("app-0", &["sleep", "1000000"]);
        let begun = bench.runtime().start_container(&sandbox, container.clone());
        let _ = tokio::time::timeout(Duration::from_millis(delay), begun).await;
        let status = bench.runtime().start_container(&sandbox, container).await.unwrap();
        assert!(matches!(status.state, ContainerState::Running { .. }), "{status:?}");
        assert_eq!(bench.runtime().sandbox(&sandbox).await.unwrap().containers, [status]);
    }
}

/// What a container's first process leaves behind ends with it, daemons included.
pub async fn orphans_end(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let script = "(setsid sh -c 'sleep 555555 & sleep 666666' &) ; sleep 0.1; exit 0";
    let id = bench.start(&sandbox, bench.script("app-0", script)).await;
    assert_eq!(bench.exited(&sandbox, &id).await.code, 0);
    until("an empty cgroup", async || bench.runtime().stats(&sandbox, &id).await.map_or(0, |s| s.pids) == 0)
        .await;
}
