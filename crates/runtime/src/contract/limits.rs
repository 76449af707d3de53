//! Limits hold, and use is counted.

use std::time::{Duration, Instant};

use super::{Bench, until};

const HOG: &str = "dd if=/dev/zero of=/dev/null bs=128M count=1";

/// A container over its memory limit is killed, and that is told.
pub async fn memory_limit_kills(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let mut spec = bench.script("app-0", &format!("exec {HOG}"));
    spec.resources.memory_limit = Some(32 << 20);
    let (status, _) = bench.script_output(&sandbox, spec).await;
    assert!(status.oom_killed && status.code == 137, "{status:?}");
    // A child's death is told as well, and with cgroup v2 the first process does not live on: a container ends as a whole.
    let mut spec = bench.script("b-0", &format!("{HOG} ; exit 3"));
    spec.resources.memory_limit = Some(32 << 20);
    let (status, _) = bench.script_output(&sandbox, spec).await;
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let (code, signal) = if unified { (137, Some(9)) } else { (3, None) };
    assert_eq!((status.oom_killed, status.code, status.signal), (true, code, signal));
    let (status, _) = bench.script_output(&sandbox, bench.script("c-0", "exit 137")).await;
    assert!(!status.oom_killed);
}

/// No more processes than allowed.
pub async fn pids_limit_holds(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    // A shell ends when it cannot fork; the outer one stays.
    let script =
        "sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100000 & done' 2>/dev/null; sleep 100000; true";
    let mut spec = bench.script("app-0", script);
    spec.resources.pids_limit = Some(5);
    let id = bench.start(&sandbox, spec).await;
    let mut most = 0;
    let end = Instant::now() + Duration::from_millis(500);
    until("the limit", async || {
        let now = bench.runtime().stats(&sandbox, &id).await.unwrap().pids;
        most = most.max(now);
        assert!(now <= 5, "{now} processes");
        most == 5 && Instant::now() > end
    })
    .await;
}

/// A limit of a tenth of a core is about kept.
pub async fn cpu_limit_slows(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let mut spec = bench.script("app-0", "while :; do :; done");
    spec.resources.cpu_limit_milli = Some(100);
    spec.resources.cpu_shares = Some(102);
    let id = bench.start(&sandbox, spec).await;
    let begin = Instant::now();
    let before = bench.runtime().stats(&sandbox, &id).await.unwrap().cpu_nanoseconds;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = bench.runtime().stats(&sandbox, &id).await.unwrap().cpu_nanoseconds - before;
    let share = used as f64 / begin.elapsed().as_nanos() as f64;
    assert!(share < 0.25, "used {share} of a core");
}

/// Stats count memory, processor and processes.
pub async fn stats_count(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let mut spec = bench.script(
        "app-0",
        "head -c 20000000 /dev/zero > /dev/shm/x; while [ ! -e /stop ]; do :; done; sleep 100000",
    );
    spec.resources.memory_limit = Some(256 << 20);
    let id = bench.start(&sandbox, spec).await;
    until("use", async || {
        let stats = bench.runtime().stats(&sandbox, &id).await.unwrap();
        stats.memory_usage > 19_000_000
            && stats.memory_working_set > 19_000_000
            && stats.memory_working_set <= stats.memory_usage
            && stats.cpu_nanoseconds > 50_000_000
            && stats.pids >= 1
    })
    .await;
}

/// The pod's limit holds for its containers together, and the one that is killed tells why.
pub async fn pod_limit_holds(bench: &mut Bench<'_>) {
    let mut spec = bench.sandbox_spec();
    spec.resources.memory_limit = Some(48 << 20);
    let sandbox = spec.id.clone();
    bench.runtime().create_sandbox(spec).await.unwrap();
    let (status, _) = bench.script_output(&sandbox, bench.script("app-0", &format!("exec {HOG}"))).await;
    assert!(status.oom_killed && status.code == 137, "{status:?}");
}
