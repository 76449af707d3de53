//! Virtual machines: what of the contract can hold for them, and what is particular to them. Every container boots a
//! kernel, so of cases that show the same only one is here.

use std::fs;
use std::path::Path;
use std::time::Instant;

use dunlin_runtime::contract::{self, Bench as Contract, listen, logs, until};
use dunlin_runtime::{ContainerId, ContainerState, Error, ExecSpec, Mount, SandboxId};
use dunlin_runtime_oci::Kind;

use crate::bench::Bench;

// Left out is what needs the host's kernel or its view of processes: namespaces, the seccomp filter, devices, limits of
// processes and processor as the host counts them, containers beside each other.
mod contract_of_machines {
    use super::*;

    dunlin_runtime::contract_tests!(Bench::of_machines(Kind::Microvm);
        life: kill_is_told, a_dead_container_is_removed_alone;
        process: exit_codes, term_then_kill, environment_directory_and_user, wrong_specifications,
            memory_volumes_are_shared, mounts_and_read_only;
        logs: format, the_last_words_are_there, a_terminal_logs;
        exec: output_and_code, input, terminal, missing_commands_and_containers, dropping_kills, many_at_once,
            a_slow_client_gets_everything;
        attach: output_goes_to_log_and_client, input_goes_in, terminal, an_absent_client_stops_nothing;
        limits: memory_limit_kills, pod_limit_holds;
        hostile: much_output, orphans_end);
}

fn exec(script: &str) -> ExecSpec {
    ExecSpec { args: ["sh", "-c", script].map(str::to_owned).to_vec(), ..ExecSpec::default() }
}

/// The numbers of this test's processes with this name.
fn processes(bench: &Bench, name: &str) -> Vec<i32> {
    let all =
        bench.cgroups().into_iter().filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
    let mut all: Vec<i32> =
        all.flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>()).collect();
    all.retain(|pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with(name))
    });
    all.sort_unstable();
    all.dedup();
    all
}

async fn pid(bench: &Contract<'_>, sandbox: &SandboxId, id: &ContainerId) -> i32 {
    match bench.container(sandbox, id).await.map(|c| c.state) {
        Some(ContainerState::Running { pid, .. }) => pid as i32,
        other => panic!("not running: {other:?}"),
    }
}

fn kill(pid: i32) {
    // SAFETY: kill takes plain integers.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
}

/// A kernel of its own, which knows nothing of the host's.
#[tokio::test]
async fn it_has_a_kernel_of_its_own() {
    contract::run(&Bench::of_machines(Kind::Microvm), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        let script = "uname -r; hostname; ls /proc/1/exe >/dev/null && tr '\\0' ' ' < /proc/1/cmdline | head -c 6; echo; \
                      grep -c . /proc/modules | head -c 1 >/dev/null; date +%s; ls /dev | tr '\\n' ' '";
        let mut spec = bench.script("app-0", script);
        spec.capabilities.clear();
        let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let (status, text) = bench.script_output(&sandbox, spec).await;
        assert_eq!(status.code, 0, "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let own = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert!(lines[0] != own.trim() && lines[0].contains("cloud"), "{text}");
        assert_eq!((lines[1], lines[2]), ("contract", "sh -c "));
        let time: u64 = lines[3].parse().unwrap();
        assert!(time >= before && time < before + 120, "its clock says {time}, it was {before}");
        assert_eq!(lines[4].trim(), "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero");
    })
    .await;
}

/// Whoever of the two is killed takes the other along, and the container has been killed.
#[tokio::test]
async fn machine_and_monitor_end_together() {
    let factory = Bench::of_machines(Kind::Microvm);
    contract::run(&factory, async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        for (name, of_machine) in [("a-0", true), ("b-0", false)] {
            let id = bench.start(&sandbox, bench.spec(name, &["sleep", "1000000"])).await;
            let machines = processes(&factory, "qemu");
            assert_eq!((machines.len(), processes(&factory, "virtiofsd").is_empty()), (1, false));
            kill(if of_machine { machines[0] } else { pid(bench, &sandbox, &id).await });
            let status = bench.exited(&sandbox, &id).await;
            assert_eq!((status.code, status.signal, status.oom_killed), (137, Some(9), false));
            until("the end of all", async || {
                ["qemu", "virtiofsd", "dunlin-guest"].iter().all(|name| processes(&factory, name).is_empty())
            })
            .await;
        }
    })
    .await;
}

/// The agent restarts: the machine runs on, can be entered again, and what it did meanwhile is known.
#[tokio::test]
async fn it_runs_on_without_an_agent() {
    contract::run(&Bench::of_machines(Kind::Microvm), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        let way = bench.factory.logs().join("way");
        fs::create_dir_all(&way).unwrap();
        let script = "echo first; while [ ! -e /way/go ]; do sleep 0.1; done; echo last; exit 9";
        let mut spec = bench.script("app-0", script);
        spec.mounts.push(Mount {
            source: way.display().to_string(),
            target: "/way".into(),
            read_only: false,
            propagation: None,
        });
        let log = spec.log_path.clone();
        let id = bench.start(&sandbox, spec).await;
        bench.reopen().await;
        let mut session =
            bench.runtime().exec(&sandbox, &id, exec("touch /way/made; echo in")).await.unwrap();
        assert_eq!(listen(&mut session).await.out, "in\n");
        assert!(way.join("made").exists());
        let (go, waiter) = (way.join("go"), bench.exited(&sandbox, &id));
        fs::write(go, "").unwrap();
        assert_eq!(waiter.await.code, 9);
        bench.reopen().await;
        assert_eq!(bench.exited(&sandbox, &id).await.code, 9);
        assert_eq!(logs::content(&log), "first\nlast\n");
    })
    .await;
}

/// What a pod of machines cannot have is told in time.
#[tokio::test]
async fn what_is_refused() {
    contract::run(&Bench::of_machines(Kind::Microvm), async |bench: &mut Contract<'_>| {
        let mut spec = bench.sandbox_spec();
        spec.host_network = true;
        let error = bench.runtime().create_sandbox(spec).await;
        assert!(matches!(&error, Err(Error::Spec { field, .. }) if field == "hostNetwork"), "{error:?}");
        let sandbox = bench.sandbox().await;
        let mut spec = bench.spec("a-0", &["true"]);
        spec.devices.push(("/dev/zero".into(), "/dev/ours".into(), "r".into()));
        let error = bench.runtime().start_container(&sandbox, spec).await;
        assert!(matches!(&error, Err(Error::Spec { field, .. }) if field == "devices"), "{error:?}");
        let error = bench.runtime().start_container(&sandbox, bench.spec("a-0", &["/bin/none"])).await;
        assert!(
            matches!(&error, Err(Error::Command { command, reason })
                if command == "/bin/none" && reason == "no such file or directory in the image"),
            "{error:?}"
        );
        let id = bench.start(&sandbox, bench.spec("a-0", &["sleep", "1000000"])).await;
        let error = bench.runtime().start_container(&sandbox, bench.spec("b-0", &["true"])).await;
        assert!(
            matches!(&error, Err(Error::Spec { reason, .. }) if reason.contains("one container at a time")),
            "{error:?}"
        );
        assert!(pid(bench, &sandbox, &id).await > 1);
    })
    .await;
}

/// A frame as a script's `printf` writes it.
fn frame(kind: u8, payload: &[u8]) -> String {
    let mut bytes = (payload.len() as u32 + 5).to_le_bytes().to_vec();
    bytes.extend([kind, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes.iter().map(|byte| format!("\\{byte:03o}")).collect()
}

/// A guest that speaks nonsense is ended, and one that claims what cannot be harms nobody.
#[tokio::test]
async fn a_guest_is_not_believed() {
    let (ready, started) = (frame(7, &[]), frame(8, &[]));
    let nonsense = [
        ("no frame", "\\377\\377\\377\\377".to_owned()),
        ("no message", frame(99, b"x")),
        ("a message cut off", frame(12, &[1])),
    ];
    for (what, bytes) in nonsense {
        let script = format!("printf '{ready}{bytes}' >&3; exec sleep 1000");
        contract::run(&Bench::of_impostors(&script), async |bench: &mut Contract<'_>| {
            let sandbox = bench.sandbox().await;
            let error = bench.runtime().start_container(&sandbox, bench.spec("a-0", &["true"])).await;
            let Err(Error::Create { reason, .. }) = error else { panic!("{what}: {error:?}") };
            assert!(reason.contains("ended before its process ran"), "{what}: {reason}");
        })
        .await;
    }
    // No process ends by the signal that stops; and what a guest calls its output is bounded by what is read of it.
    let ended = frame(
        12,
        &[[3, 0, 0, 0], [libc::SIGSTOP as u8, 0, 0, 0]].concat().into_iter().chain([0]).collect::<Vec<_>>(),
    );
    let script = format!("printf '{ready}{started}{}{ended}' >&3; exec sleep 1000", frame(10, b"words\n"));
    contract::run(&Bench::of_impostors(&script), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        let spec = bench.spec("a-0", &["true"]);
        let log = spec.log_path.clone();
        let id = bench.start(&sandbox, spec).await;
        let status = bench.exited(&sandbox, &id).await;
        assert_eq!((status.code, status.signal), (3, None));
        assert_eq!(logs::content(&log), "words\n");
    })
    .await;
}

/// What a machine costs; the numbers are in `docs/adr/0012-microvms.md`.
#[tokio::test]
async fn figures() {
    let factory = Bench::of_machines(Kind::Microvm);
    contract::run(&factory, async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        let mut spec = bench.spec("app-0", &["sleep", "1000000"]);
        spec.resources.memory_limit = Some(64 << 20);
        let begun = Instant::now();
        let id = bench.start(&sandbox, spec).await;
        let started = begun.elapsed();
        let begun = Instant::now();
        let mut session = bench.runtime().exec(&sandbox, &id, exec("grep MemAvailable /proc/meminfo")).await.unwrap();
        let available = listen(&mut session).await.out;
        let entered = begun.elapsed();
        let stats = bench.runtime().stats(&sandbox, &id).await.unwrap();
        let pss = |name: &str| -> u64 { processes(&factory, name).iter().map(|pid| pss(*pid)).sum() };
        println!(
            "started in {started:?}, exec in {entered:?}; guest: {}; host: {} MiB charged, PSS KiB: QEMU {}, files {}, \
             monitor {}",
            available.trim(),
            stats.memory_usage >> 20,
            pss("qemu"),
            pss("virtiofsd"),
            pss("dunlin-guest"),
        );
        // Most of it is the program's text, which monitors share.
        assert!(pss("dunlin-guest") < 2048, "the monitor is small");
    })
    .await;
}

fn pss(pid: i32) -> u64 {
    let text =
        fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}
