//! What a container's process finds, and what is told of its end.

use std::time::Duration;

use super::{Bench, until};
use crate::{ContainerState, Error, Mount};

/// Exit codes and fatal signals are told as they are.
pub async fn exit_codes(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let cases = [("exit 0", 0, None), ("exit 7", 7, None), ("exit 255", 255, None)];
    for (n, (script, code, signal)) in cases.into_iter().enumerate() {
        let (status, _) = bench.script_output(&sandbox, bench.script(&format!("c-{n}"), script)).await;
        assert_eq!((status.code, status.signal), (code, signal), "{script}");
        assert!(status.finished >= status.started);
    }
}

/// A process that handles SIGTERM ends as it likes, one that does not is killed.
pub async fn term_then_kill(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let polite = bench.script("polite-0", "trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done");
    let log = polite.log_path.clone();
    let id = bench.start(&sandbox, polite).await;
    until("the handler", async || super::logs::content(&log).contains("up")).await;
    bench.runtime().signal(&sandbox, &id, 15).await.unwrap();
    assert_eq!(bench.exited(&sandbox, &id).await.code, 3);
    // Process 1 of a PID namespace does not die of a signal that it does not handle.
    let id = bench.start(&sandbox, bench.spec("deaf-0", &["sleep", "1000000"])).await;
    bench.runtime().signal(&sandbox, &id, 15).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(matches!(bench.container(&sandbox, &id).await.unwrap().state, ContainerState::Running { .. }));
    bench.runtime().signal(&sandbox, &id, 9).await.unwrap();
    let status = bench.exited(&sandbox, &id).await;
    assert_eq!((status.code, status.signal), (137, Some(9)));
}

/// Environment in its order, working directory (made if need be), user and groups.
pub async fn environment_directory_and_user(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let mut spec =
        bench.script("app-0", "pwd; id -u; id -g; id -G; echo $GREETING; echo x > /dev/stderr; umask");
    spec.env.push(("GREETING".into(), "hello = you".into()));
    spec.cwd = "/work/deep".into();
    (spec.uid, spec.gid, spec.additional_gids) = (1000, 1001, vec![7, 8]);
    let (status, text) = bench.script_output(&sandbox, spec).await;
    let mut lines: Vec<&str> = text.lines().collect();
    // The order between the two streams is not promised.
    let at = lines.iter().position(|l| *l == "x").expect("a user may write to /dev/stderr");
    lines.remove(at);
    assert_eq!(lines, ["/work/deep", "1000", "1001", "1001 7 8", "hello = you", "0022"]);
    assert_eq!(status.code, 0);
    // Programs expect broken pipes to end them.
    let spec = bench.spec("signals-0", &["grep", "-E", "SigIgn|SigBlk", "/proc/self/status"]);
    let (_, text) = bench.script_output(&sandbox, spec).await;
    let masks = text.lines().filter_map(|line| u64::from_str_radix(line.split_once('\t')?.1, 16).ok());
    // Those above 31 are the C library's.
    assert!(masks.map(|mask| mask & 0x7fff_ffff).eq([0, 0]), "{text}");
}

/// Why a command cannot be executed is told precisely, and nothing is left of the container.
pub async fn missing_commands(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let cases: [(&[&str], &str); 5] = [
        (&["no-such-command"], "executable file not found in $PATH"),
        (&["/bin/none"], "no such file or directory in the image"),
        (&["/etc/passwd"], "permission denied"),
        (&["/bin"], "permission denied"),
        (&["/bin/script-without-interpreter"], "interpreter"),
    ];
    for (args, expected) in cases {
        let error = bench.runtime().start_container(&sandbox, bench.spec("app-0", args)).await.unwrap_err();
        match error {
            Error::Command { command, reason } => {
                assert_eq!(command, args[0]);
                assert!(reason.contains(expected), "{args:?}: {reason}");
            }
            other => panic!("{args:?}: {other:?}"),
        }
    }
    assert_eq!(bench.runtime().sandbox(&sandbox).await.unwrap().containers, []);
    bench.start(&sandbox, bench.spec("app-0", &["true"])).await;
}

/// What cannot be run is refused with the field's name.
pub async fn wrong_specifications(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let runtime = bench.runtime();
    let base = || bench.spec("app-0", &["true"]);
    let files = if base().image.is_some() { "image" } else { "layers" };
    let mount = |source: &str, target: &str| Mount {
        source: source.into(),
        target: target.into(),
        read_only: false,
        propagation: None,
    };
    let cases = [
        ("args", {
            let mut s = base();
            s.args.clear();
            s
        }),
        ("id", {
            let mut s = base();
            s.id.0 = "../up".into();
            s
        }),
        (files, {
            let mut s = base();
            s.layers.clear();
            s.image = None;
            s
        }),
        ("cwd", {
            let mut s = base();
            s.cwd = "here".into();
            s
        }),
        ("mounts[0]", {
            let mut s = base();
            s.mounts.push(mount("/no/such/source", "/x"));
            s
        }),
        ("mounts[0]", {
            let mut s = base();
            s.mounts.push(mount("tmpfs:none", "/x"));
            s
        }),
        ("mounts[0]", {
            let mut s = base();
            s.mounts.push(mount("/tmp", "x"));
            s
        }),
        ("capabilities", {
            let mut s = base();
            s.capabilities.push("CAP_FLY".into());
            s
        }),
    ];
    for (expected, spec) in cases {
        let error = runtime.start_container(&sandbox, spec).await.unwrap_err();
        assert!(matches!(&error, Error::Spec { field, .. } if field == expected), "{expected}: {error:?}");
    }
    let mut spec = bench.sandbox_spec();
    spec.id.0 = "../../up".into();
    let error = runtime.create_sandbox(spec).await.unwrap_err();
    assert!(matches!(error, Error::Spec { .. }), "{error:?}");
    let mut spec = bench.sandbox_spec();
    spec.sysctls.insert("vm.swappiness".into(), "1".into());
    let error = runtime.create_sandbox(spec).await.unwrap_err();
    assert!(matches!(error, Error::Spec { .. }), "{error:?}");
}

/// Host name, kernel settings, loopback; the same network and IPC for all containers, own processes for each.
pub async fn hostname_and_namespaces(bench: &mut Bench<'_>) {
    let mut spec = bench.sandbox_spec();
    spec.sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "77".into());
    let sandbox = spec.id.clone();
    let status = bench.runtime().create_sandbox(spec).await.unwrap();
    let script = "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; readlink /proc/self/ns/net; \
                  readlink /proc/self/ns/ipc; echo $$; grep -c lo: /proc/net/dev; ip link show lo | grep -c ,UP";
    let mut texts = Vec::new();
    for name in ["a-0", "b-0"] {
        texts.push(bench.script_output(&sandbox, bench.script(name, script)).await.1);
    }
    assert_eq!(texts[0], texts[1]);
    let lines: Vec<&str> = texts[0].lines().collect();
    assert_eq!((lines[0], lines[1], lines[4], lines[5], lines[6]), ("contract", "77", "1", "1", "1"));
    let path = status.network_namespace.expect("it has a network of its own");
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    assert_eq!(format!("net:[{inode}]"), lines[2]);
    assert_ne!(std::fs::read_link("/proc/self/ns/net").unwrap().to_str(), Some(lines[2]));
}

/// With a shared process namespace containers see each other; the first process's end ends the rest of its container.
pub async fn shared_processes(bench: &mut Bench<'_>) {
    let mut spec = bench.sandbox_spec();
    spec.share_process_namespace = true;
    let sandbox = spec.id.clone();
    bench.runtime().create_sandbox(spec).await.unwrap();
    bench.start(&sandbox, bench.spec("a-0", &["sleep", "111111"])).await;
    let (_, text) =
        bench.script_output(&sandbox, bench.script("b-0", "ps -o pid,args; sleep 222222 & exit 5")).await;
    assert!(text.contains("sleep 111111"), "{text}");
    // Process 1 is the runtime's, not a container's.
    let first = text.lines().find(|l| l.trim_start().starts_with("1 ")).unwrap_or_default();
    assert!(!first.contains("sleep") && !first.contains("sh -c"), "{text}");
    let script = "ps -o args | grep -c '^sleep 222222' ";
    let mut n = 0;
    until("the end of the rest", async || {
        n += 1;
        bench.script_output(&sandbox, bench.script(&format!("look-{n}"), script)).await.1.trim() == "0"
    })
    .await;
}

/// A memory volume is one file system in all containers, and its size holds.
pub async fn memory_volumes_are_shared(bench: &mut Bench<'_>) {
    let mut spec = bench.sandbox_spec();
    spec.memory_volumes.insert("cache".into(), 1 << 20);
    let sandbox = spec.id.clone();
    bench.runtime().create_sandbox(spec).await.unwrap();
    let with_volume = |mut spec: crate::ContainerSpec, read_only| {
        spec.mounts.push(Mount {
            source: "tmpfs:cache".into(),
            target: "/cache".into(),
            read_only,
            propagation: None,
        });
        spec
    };
    let write =
        "echo shared > /cache/file; dd if=/dev/zero of=/cache/big bs=64k count=64 2>/dev/null; echo $?";
    let (_, text) = bench.script_output(&sandbox, with_volume(bench.script("a-0", write), false)).await;
    assert_eq!(text, "1\n", "two megabytes do not fit into one");
    let read = "cat /cache/file; touch /cache/new 2>/dev/null || echo read-only";
    let (_, text) = bench.script_output(&sandbox, with_volume(bench.script("b-0", read), true)).await;
    assert_eq!(text, "shared\nread-only\n");
}

/// Host directories and files are mounted, and what shall not be written cannot be.
pub async fn mounts_and_read_only(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let outside = bench.factory.logs().join("outside");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("hosts"), "from the host\n").unwrap();
    let script = "cat /etc/hosts; echo back > /data/out; touch /etc/hosts 2>/dev/null || echo ro-file; \
                  touch /x 2>/dev/null || echo ro-root; echo 1 2>/dev/null > /proc/sys/kernel/panic || echo ro-sys";
    let mut spec = bench.script("app-0", script);
    spec.read_only_rootfs = true;
    let mount = |source: std::path::PathBuf, target: &str, read_only| Mount {
        source: source.to_str().unwrap().into(),
        target: target.into(),
        read_only,
        propagation: Some("rslave".into()),
    };
    spec.mounts.push(mount(outside.join("hosts"), "/etc/hosts", true));
    spec.mounts.push(mount(outside.clone(), "/data", false));
    let (_, text) = bench.script_output(&sandbox, spec).await;
    assert_eq!(text, "from the host\nro-file\nro-root\nro-sys\n");
    assert_eq!(std::fs::read_to_string(outside.join("out")).unwrap(), "back\n");
}

/// Capabilities are those asked for; the filter refuses what it should, with and without no-new-privileges.
pub async fn capabilities_and_filter(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let script = "grep -E '^(CapEff|CapBnd|CapPrm|NoNewPrivs|Seccomp):' /proc/self/status; \
                  unshare -m true 2>/dev/null || echo refused";
    for (name, uid, no_new_privileges) in [("a-0", 0, false), ("b-0", 0, true), ("c-0", 1000, false)] {
        let mut spec = bench.script(name, script);
        spec.capabilities = vec!["CAP_CHOWN".into(), "CAP_NET_BIND_SERVICE".into()];
        (spec.uid, spec.no_new_privileges) = (uid, no_new_privileges);
        let (_, text) = bench.script_output(&sandbox, spec).await;
        let own = if uid == 0 { "0000000000000401" } else { "0000000000000000" };
        let flag = u8::from(no_new_privileges);
        let expected = format!(
            "CapPrm:\t{own}\nCapEff:\t{own}\nCapBnd:\t0000000000000401\nNoNewPrivs:\t{flag}\nSeccomp:\t2\nrefused\n"
        );
        assert_eq!(text, expected, "{name}");
    }
    let mut spec = bench.script("d-0", "grep Seccomp: /proc/self/status; unshare -m true && echo allowed");
    spec.privileged = true;
    let (_, text) = bench.script_output(&sandbox, spec).await;
    assert_eq!(text, "Seccomp:\t0\nallowed\n");
}

/// A device that was asked for is there and can be opened; others cannot even if a node is made.
pub async fn devices(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let script = "dd if=/dev/ours bs=4 count=1 2>/dev/null | od -An -tx1; head -c1 /dev/zero | od -An -tx1; \
                  mknod /tmp/kmsg c 1 11 && head -c1 /tmp/kmsg >/dev/null 2>&1 || echo refused";
    let mut spec = bench.script("app-0", script);
    spec.capabilities.push("CAP_MKNOD".into());
    spec.devices.push(("/dev/zero".into(), "/dev/ours".into(), "r".into()));
    let (_, text) = bench.script_output(&sandbox, spec).await;
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["00", "00", "00", "00", "00", "refused"], "{text}");
    let mut spec = bench.script("b-0", "true");
    spec.devices.push(("/etc/hostname".into(), "/dev/ours".into(), "r".into()));
    let error = bench.runtime().start_container(&sandbox, spec).await.unwrap_err();
    assert!(matches!(error, Error::Spec { .. }), "{error:?}");
}

/// More layers than fit into a page of mount options, the upper ones winning.
pub async fn many_layers(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let mut spec = bench.script("app-0", "cat /winner; ls /layers | wc -l");
    for n in 0..100 {
        let layer =
            bench.factory.logs().join(format!("a-layer-with-quite-a-long-name-as-digests-are-{n:04}"));
        std::fs::create_dir_all(layer.join("layers")).unwrap();
        std::fs::write(layer.join("layers").join(n.to_string()), "").unwrap();
        std::fs::write(layer.join("winner"), format!("{n}\n")).unwrap();
        spec.layers.push(layer);
    }
    let (_, text) = bench.script_output(&sandbox, spec).await;
    assert_eq!(text, "99\n100\n");
}

/// A container ends while no agent is there: its exit and its log are complete afterwards.
pub async fn an_exit_while_nobody_listens(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let spec =
        bench.script("app-0", "echo first; while [ ! -e /go ]; do sleep 0.02; done; echo last; exit 9");
    let log = spec.log_path.clone();
    let id = bench.start(&sandbox, spec).await;
    let Some(ContainerState::Running { pid, .. }) = bench.container(&sandbox, &id).await.map(|c| c.state)
    else {
        panic!("not running")
    };
    let root = format!("/proc/{pid}/root/go");
    // Closing is done by reopening: between the two nobody is connected.
    let waiter = tokio::spawn(async move { std::fs::write(root, "") });
    bench.reopen().await;
    waiter.await.unwrap().unwrap();
    assert_eq!(bench.exited(&sandbox, &id).await.code, 9);
    assert_eq!(super::logs::content(&log), "first\nlast\n");
}

/// `/dev/shm` is the pod's: shared by its containers, writable by all.
pub async fn the_shared_memory_is_the_pods(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let mut spec = bench.script("a-0", "echo there > /dev/shm/x");
    spec.uid = 1000;
    bench.script_output(&sandbox, spec).await;
    let (_, text) =
        bench.script_output(&sandbox, bench.script("b-0", "cat /dev/shm/x; ls /dev/mqueue | wc -l")).await;
    assert_eq!(text, "there\n0\n");
}
