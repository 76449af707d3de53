//! What is particular to shims: their death, hostile bytes on their socket, their size, and how fast containers start.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use dunlin_runtime::contract::{self, Bench, Factory, PATIENCE, until};
use dunlin_runtime::{ContainerId, ContainerState, Event, Runtime, SandboxId};

use dunlin_runtime_oci::Kind;

use crate::bench;

fn shim_pid(bench: &Bench<'_>, status: &dunlin_runtime::SandboxStatus) -> i32 {
    let path = bench.runtime().network_namespace(status).unwrap();
    path.components().nth(2).unwrap().as_os_str().to_str().unwrap().parse().unwrap()
}

async fn sandbox_with_sleeper(bench: &Bench<'_>) -> (SandboxId, ContainerId, i32) {
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, bench.spec("app-0", &["sleep", "1000000"])).await;
    let status = bench.runtime().sandbox(&sandbox).await.unwrap();
    let pid = shim_pid(bench, &status);
    (sandbox, id, pid)
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// A shim that dies is told of; its sandbox is dead and can be removed with everything in it.
#[tokio::test]
async fn a_lost_shim_is_told_and_cleaned_up() {
    contract::run(&bench::Bench::new(Kind::Oci), async |bench: &mut Bench<'_>| {
        let mut events = bench.runtime().events();
        let (sandbox, id, pid) = sandbox_with_sleeper(bench).await;
        kill(pid);
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        assert!(matches!(&event, Event::SandboxLost { sandbox: s } if *s == sandbox), "{event:?}");
        let status = bench.runtime().sandbox(&sandbox).await.unwrap();
        assert!(!status.alive && status.network_namespace.is_none());
        assert!(matches!(&status.containers[0].state, ContainerState::Exited(e) if e.code == 137));
        assert!(bench.runtime().start_container(&sandbox, bench.spec("b-0", &["true"])).await.is_err());
        bench.runtime().signal(&sandbox, &id, 15).await.unwrap();
        // A runtime opened later sees the same.
        bench.reopen().await;
        assert!(!bench.runtime().sandbox(&sandbox).await.unwrap().alive);
        bench.runtime().remove_sandbox(&sandbox).await.unwrap();
    })
    .await;
}

/// A shim that hangs does not hang the runtime: the sandbox can be removed.
#[tokio::test]
async fn a_hanging_shim_is_removed() {
    contract::run(&bench::Bench::new(Kind::Oci), async |bench: &mut Bench<'_>| {
        let (sandbox, _, pid) = sandbox_with_sleeper(bench).await;
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        bench.runtime().remove_sandbox(&sandbox).await.unwrap();
        until("the shim's end", async || rustix::process::test_kill_process(pid).is_err()).await;
    })
    .await;
}

/// Garbage, huge lengths, half frames and many connections change nothing for others.
#[tokio::test]
async fn hostile_bytes_on_the_socket() {
    let oci = bench::Bench::new(Kind::Oci);
    contract::run(&oci, async |bench: &mut Bench<'_>| {
        let (sandbox, id, _) = sandbox_with_sleeper(bench).await;
        let directory = fs::File::open(oci.path().join("run/sandboxes").join(&sandbox.0)).unwrap();
        let path = format!("/proc/self/fd/{}/shim.sock", directory.as_raw_fd());
        let hello = [8, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0];
        let attacks: [&[u8]; 7] = [
            b"GET / HTTP/1.1\r\n\r\n",
            &[0xff; 64],
            &[0, 0, 0, 0],
            &[8, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 9],
            &[5, 0, 0, 0, 3, 1, 0, 0, 0],
            &[0, 0, 4, 0, 7],
            &[],
        ];
        let mut held = Vec::new();
        for round in 0..40 {
            for (n, attack) in attacks.iter().enumerate() {
                let mut stream = UnixStream::connect(&path).unwrap();
                if (n + round) % 2 == 0 {
                    let _ = stream.write_all(&hello);
                }
                let _ = stream.write_all(attack);
                if round % 8 == 0 {
                    held.push(stream);
                }
            }
        }
        assert!(matches!(
            bench.container(&sandbox, &id).await.unwrap().state,
            ContainerState::Running { .. }
        ));
        // An impossible frame ends its own connection.
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(&[0xff; 8]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_)));
    })
    .await;
}

/// A path longer than a socket's name may be.
#[tokio::test]
async fn long_paths() {
    let oci = bench::Bench::new(Kind::Oci);
    let mut config = oci.config();
    let deep = "a-directory-name-that-is-rather-long/".repeat(5);
    config.run_dir = oci.path().join("run").join(&deep);
    let runtime = dunlin_runtime_oci::OciRuntime::open(config).await.unwrap();
    let bench_spec = {
        let mut spec = None;
        contract::run(&oci, async |bench: &mut Bench<'_>| {
            spec = Some((bench.sandbox_spec(), bench.spec("app-0", &["sh"])));
        })
        .await;
        spec
    };
    let Some((sandbox, mut container)) = bench_spec else { panic!("no specification") };
    container.tty = true;
    runtime.create_sandbox(sandbox.clone()).await.unwrap();
    runtime.start_container(&sandbox.id, container).await.unwrap();
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

/// What an idle shim costs, and how long a start and an exec take. Prints the figures.
#[tokio::test]
async fn figures() {
    let oci = bench::Bench::new(Kind::Oci);
    contract::run(&oci, async |bench: &mut Bench<'_>| {
        let mut starts = Vec::new();
        let mut sandboxes = Vec::new();
        let mut pids = Vec::new();
        let mut alone = None;
        for _ in 0..20 {
            let begin = Instant::now();
            let sandbox = bench.sandbox().await;
            sandboxes.push(begin.elapsed());
            let begin = Instant::now();
            bench.start(&sandbox, bench.spec("app-0", &["sleep", "1000000"])).await;
            starts.push(begin.elapsed());
            pids.push(shim_pid(bench, &bench.runtime().sandbox(&sandbox).await.unwrap()));
            alone.get_or_insert_with(|| pss(pids[0]));
        }
        let sandbox = bench.sandbox().await;
        let id = bench.start(&sandbox, bench.spec("app-0", &["sleep", "1000000"])).await;
        let mut execs = Vec::new();
        for _ in 0..20 {
            let begin = Instant::now();
            let exec = dunlin_runtime::ExecSpec { args: vec!["true".into()], ..Default::default() };
            let mut session = bench.runtime().exec(&sandbox, &id, exec).await.unwrap();
            contract::listen(&mut session).await;
            execs.push(begin.elapsed());
        }
        let pss: Vec<u64> = pids.iter().map(|pid| pss(*pid)).collect();
        let most = *pss.iter().max().unwrap();
        println!(
            "median of 20: sandbox {:?}, container {:?}, exec {:?}; shim PSS {} KiB alone, {} to {most} with 20",
            median(&mut sandboxes),
            median(&mut starts),
            median(&mut execs),
            alone.unwrap_or_default(),
            pss.iter().min().unwrap(),
        );
        assert!(most < 600, "a shim has {most} KiB");
    })
    .await;
    let _ = oci.layers();
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn pss(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("Pss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
