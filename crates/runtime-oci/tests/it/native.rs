//! Native processes: what of the contract does not speak of a container's own files and process ids, and what they share
//! with the host and what not.

use std::fs;

use dunlin_runtime::contract::{self, Bench as Contract, logs};
use dunlin_runtime::{ContainerState, Error, Mount};

use dunlin_runtime_oci::Kind;

use crate::bench::Bench;

// Left out is what needs an image or a namespace of process ids: files at `/` that tests make or layers bring, working
// directories that are made, layers, devices, process 1 and `shareProcessNamespace`.
mod contract_of_processes {
    use super::*;

    dunlin_runtime::contract_tests!(Bench::new(Kind::Process); life);
    dunlin_runtime::contract_tests!(Bench::new(Kind::Process);
        process: exit_codes, capabilities_and_filter;
        logs: format, long_lines, rotation, the_last_words_are_there, a_terminal_logs;
        exec: output_and_code, input, terminal, missing_commands_and_containers, dropping_kills, user_and_environment,
            many_at_once, a_slow_client_gets_everything;
        attach: output_goes_to_log_and_client, input_goes_in, closing_once, terminal, an_absent_client_stops_nothing;
        limits: memory_limit_kills, pids_limit_holds, cpu_limit_slows, stats_count, pod_limit_holds;
        hostile: much_output, fork_bomb, deaf_to_signals, a_broken_start_leaves_nothing, orphans_end);
}

fn link(path: &str) -> String {
    fs::read_link(path).unwrap().display().to_string()
}

/// The host's files, devices and process ids, and the pod's network, host name and IPC.
#[tokio::test]
async fn what_it_shares_with_the_host() {
    contract::run(&Bench::new(Kind::Process), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        let file = bench.factory.logs().join("of-the-host");
        fs::create_dir_all(bench.factory.logs()).unwrap();
        fs::write(&file, "known\n").unwrap();
        let names = ["pid", "net", "uts", "ipc", "mnt"];
        let script = format!(
            "cat {}; test -c /dev/null && echo device; for n in {}; do readlink /proc/self/ns/$n; done; hostname",
            file.display(),
            names.join(" ")
        );
        let (status, text) = bench.script_output(&sandbox, bench.script("a-0", &script)).await;
        assert_eq!(status.code, 0, "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[1], lines[7]), ("known", "device", "contract"));
        for (n, name) in names.iter().enumerate() {
            let same = lines[2 + n] == link(&format!("/proc/self/ns/{name}"));
            assert_eq!(same, *name == "pid", "{name}: {text}");
        }
    })
    .await;
}

/// With the host's network and IPC it is in no other namespaces than the host's, but for its mounts.
#[tokio::test]
async fn a_pod_of_the_host() {
    contract::run(&Bench::new(Kind::Process), async |bench: &mut Contract<'_>| {
        let mut spec = bench.sandbox_spec();
        (spec.host_network, spec.host_ipc) = (true, true);
        let sandbox = spec.id.clone();
        bench.runtime().create_sandbox(spec).await.unwrap();
        let script = "for n in net uts ipc; do readlink /proc/self/ns/$n; done";
        let (_, text) = bench.script_output(&sandbox, bench.script("a-0", script)).await;
        let expected = ["net", "uts", "ipc"].map(|n| link(&format!("/proc/self/ns/{n}")) + "\n").concat();
        assert_eq!(text, expected);
    })
    .await;
}

/// Volumes lie over the host's files for the process and what is executed beside it, and for nobody else.
#[tokio::test]
async fn volumes_are_its_own() {
    contract::run(&Bench::new(Kind::Process), async |bench: &mut Contract<'_>| {
        let mut spec = bench.sandbox_spec();
        spec.memory_volumes.insert("cache".into(), 1 << 20);
        let sandbox = spec.id.clone();
        bench.runtime().create_sandbox(spec).await.unwrap();
        let here = bench.factory.logs().join("place");
        let there = bench.factory.logs().join("volume");
        for folder in [&here, &there] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(here.join("file"), "the host's").unwrap();
        fs::write(there.join("file"), "the volume's").unwrap();
        let (place, made) = (here.display(), bench.factory.logs().join("made/by/the/mount"));
        let script = format!(
            "cat {place}/file; touch {place}/new 2>/dev/null || echo ' read-only'; echo x > {0}/out && cat {0}/out; \
             {{ touch /.native && rm /.native; }} 2>/dev/null || echo read-only; sleep 1000000",
            made.display(),
        );
        let mut spec = bench.script("a-0", &script);
        let mount = |source: String, target: &std::path::Path, read_only| Mount {
            source,
            target: target.to_owned(),
            read_only,
            propagation: None,
        };
        spec.mounts.push(mount(there.display().to_string(), &here, true));
        spec.mounts.push(mount("tmpfs:cache".into(), &made, false));
        spec.read_only_rootfs = true;
        let log = spec.log_path.clone();
        let id = bench.start(&sandbox, spec).await;
        contract::until("its words", async || logs::content(&log).contains("x\nread-only\n")).await;
        assert_eq!(logs::content(&log), "the volume's read-only\nx\nread-only\n");
        assert_eq!(fs::read_to_string(here.join("file")).unwrap(), "the host's");
        assert_eq!(fs::read_dir(&made).unwrap().count(), 0, "the host sees the place and not the volume");
        let command = dunlin_runtime::ExecSpec {
            args: vec!["cat".into(), format!("{place}/file")],
            ..dunlin_runtime::ExecSpec::default()
        };
        let mut session = bench.runtime().exec(&sandbox, &id, command).await.unwrap();
        assert_eq!(contract::listen(&mut session).await.out, "the volume's");
    })
    .await;
}

/// It ends while nobody listens, and its exit and its log are complete afterwards.
#[tokio::test]
async fn an_end_while_nobody_listens() {
    contract::run(&Bench::new(Kind::Process), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        let go = bench.factory.logs().join("go");
        let script =
            format!("echo first; while [ ! -e {} ]; do sleep 0.02; done; echo last; exit 9", go.display());
        let spec = bench.script("app-0", &script);
        let log = spec.log_path.clone();
        let id = bench.start(&sandbox, spec).await;
        let waiter = tokio::spawn(async move { fs::write(go, "") });
        bench.reopen().await;
        waiter.await.unwrap().unwrap();
        assert_eq!(bench.exited(&sandbox, &id).await.code, 9);
        assert_eq!(logs::content(&log), "first\nlast\n");
    })
    .await;
}

/// What cannot be done is told, and nothing is left.
#[tokio::test]
async fn what_is_refused() {
    contract::run(&Bench::new(Kind::Process), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        let runtime = bench.runtime();
        let error = runtime.start_container(&sandbox, bench.spec("a-0", &["/no/such/program"])).await;
        assert!(matches!(&error, Err(Error::Command { .. })), "{error:?}");
        let mut spec = bench.spec("a-0", &["true"]);
        spec.cwd = "/no/such/folder".into();
        let error = runtime.start_container(&sandbox, spec).await;
        assert!(
            matches!(&error, Err(Error::Spec { reason, .. }) if reason.contains("/no/such/folder")),
            "{error:?}"
        );
        let mut spec = bench.spec("a-0", &["true"]);
        spec.devices.push(("/dev/zero".into(), "/dev/ours".into(), "r".into()));
        let error = runtime.start_container(&sandbox, spec).await;
        assert!(matches!(&error, Err(Error::Spec { field, .. }) if field == "devices"), "{error:?}");
        let id = bench.start(&sandbox, bench.spec("a-0", &["sleep", "1000000"])).await;
        let state = bench.container(&sandbox, &id).await.unwrap().state;
        assert!(matches!(state, ContainerState::Running { .. }));
    })
    .await;
}
