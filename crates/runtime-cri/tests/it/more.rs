//! What holds with CRI where the contract cannot, and what only a daemon has: it goes and comes back, it has others' pods, and
//! images of its own.

use std::fs;
use std::time::Duration;

use dunlin_runtime::contract::{self, Bench as Contract, PATIENCE, listen, logs, until};
use dunlin_runtime::image::{Credentials, PullPolicy};
use dunlin_runtime::{ContainerState, Error, Event, ExecSpec, Images, Runtime as _, SessionOutput};
use dunlin_runtime_cri::Handler;
use dunlin_testkit::process::Process;

use crate::bench::{self, Bench, IMAGE};

fn command(args: &[&str]) -> ExecSpec {
    ExecSpec { args: args.iter().map(|a| (*a).to_owned()).collect(), ..ExecSpec::default() }
}

/// A log that has grown too large is set aside, no more are kept than asked for, and the container goes on in a new one.
#[tokio::test]
async fn logs_are_set_aside() {
    contract::run(&Bench::new(), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        let script = "n=0; while :; do n=$((n+1)); echo $n; [ $((n % 200)) != 0 ] || sleep 0.05; done";
        let mut spec = bench.script("app-0", script);
        (spec.log_max_size, spec.log_max_files) = (16 * 1024, 2);
        let log = spec.log_path.clone();
        bench.start(&sandbox, spec).await;
        let file = |n: u32| log.with_file_name(format!("app-0.log.{n}"));
        until("three logs", async || file(2).exists() && fs::metadata(&log).is_ok_and(|meta| meta.len() > 0))
            .await;
        let first = |path: &std::path::Path| logs::lines(path).first().map(|line| line.text.clone());
        let newest = first(&log);
        until("one more turn", async || first(&log) != newest && first(&log).is_some()).await;
        assert!(!file(3).exists());
        // Nothing is lost between a log and the one before it.
        let (before, after) = (file(2), file(1));
        let numbers = |path: &std::path::Path| -> Vec<u64> {
            logs::lines(path).iter().filter_map(|line| line.text.parse().ok()).collect()
        };
        let (last, next) = (numbers(&before).last().copied(), numbers(&after).first().copied());
        assert_eq!(last.map(|n| n + 1), next);
    })
    .await;
}

/// Once a container runs, it cannot have more processes than allowed.
#[tokio::test]
async fn processes_are_limited() {
    contract::run(&Bench::new(), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        let script = "while [ ! -e /go ]; do sleep 0.02; done; \
                      sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100000 & done' 2>/dev/null; sleep 100000; true";
        let mut spec = bench.script("app-0", script);
        spec.resources.pids_limit = Some(5);
        let id = bench.start(&sandbox, spec).await;
        // Not by an exec: what begins one needs processes itself.
        let Some(ContainerState::Running { pid, .. }) = bench.container(&sandbox, &id).await.map(|c| c.state) else {
            panic!("not running")
        };
        fs::write(format!("/proc/{pid}/root/go"), "").unwrap();
        let mut most = 0;
        until("the limit", async || {
            let now = bench.runtime().stats(&sandbox, &id).await.unwrap().pids;
            assert!(now <= 5, "{now} processes");
            most = most.max(now);
            most == 5
        })
        .await;
    })
    .await;
}

/// Why a command cannot be executed is told precisely, and nothing is left of the container.
#[tokio::test]
async fn commands_that_cannot_be() {
    contract::run(&Bench::new(), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        for (word, expected) in [
            ("no-such-command", "executable file not found in $PATH"),
            ("/bin/none", "no such file or directory in the image"),
            ("/etc/passwd", "permission denied"),
            ("/bin", "permission denied"),
        ] {
            let error = bench.runtime().start_container(&sandbox, bench.spec("app-0", &[word])).await;
            assert!(
                matches!(&error, Err(Error::Command { command, reason }) if command == word && reason.contains(expected)),
                "{word}: {error:?}"
            );
        }
        assert_eq!(bench.runtime().sandbox(&sandbox).await.unwrap().containers, []);
        // An interpreter that is missing shows when the process runs, in its exit code and its log.
        let spec = bench.spec("app-0", &["/bin/script-without-interpreter"]);
        let (status, log) = bench.script_output(&sandbox, spec).await;
        assert!(status.code != 0 && log.contains("no such file or directory"), "{status:?} {log}");
    })
    .await;
}

/// What an exec cannot do is told by its session, with the daemon's reason.
#[tokio::test]
async fn an_exec_that_cannot_be() {
    contract::run(&Bench::new(), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        let id = bench.start(&sandbox, bench.spec("app-0", &["sleep", "1000000"])).await;
        for (word, expected) in [
            ("nothing-here", "executable file not found in $PATH"),
            ("/none", "no such file"),
            ("/etc/passwd", "denied"),
        ] {
            let mut session = bench.runtime().exec(&sandbox, &id, command(&[word])).await.unwrap();
            let told = tokio::time::timeout(PATIENCE, session.output.recv()).await.unwrap();
            assert!(matches!(&told, Some(SessionOutput::Failed(why)) if why.contains(expected)), "{told:?}");
        }
        let error = bench.runtime().exec(&sandbox, &id, command(&[])).await.err();
        assert!(matches!(error, Some(Error::Spec { .. })), "{error:?}");
        // One whose client comes late has all of its output.
        let seq = command(&["sh", "-c", "seq 1 100000; echo end >&2"]);
        let mut session = bench.runtime().exec(&sandbox, &id, seq).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1000)).await;
        let heard = listen(&mut session).await;
        assert_eq!((heard.out.lines().last(), heard.err.as_str()), (Some("100000"), "end\n"));
    })
    .await;
}

/// Signals that CRI has no word for are refused, and SIGTERM leaves alive who does not heed it.
#[tokio::test]
async fn signals() {
    contract::run(&Bench::new(), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        let script = "trap '' TERM; touch /deaf; while :; do sleep 0.1; done";
        let id = bench.start(&sandbox, bench.script("app-0", script)).await;
        let look = command(&["sh", "-c", "while [ ! -e /deaf ]; do sleep 0.02; done"]);
        listen(&mut bench.runtime().exec(&sandbox, &id, look).await.unwrap()).await;
        let error = bench.runtime().signal(&sandbox, &id, 1).await.err();
        assert!(matches!(error, Some(Error::Unsupported { .. })), "{error:?}");
        bench.runtime().signal(&sandbox, &id, 15).await.unwrap();
        // The agent ends, and with it the call that waits for the container's end.
        bench.reopen().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let state = bench.container(&sandbox, &id).await.unwrap().state;
        assert!(matches!(state, ContainerState::Running { .. }), "{state:?}");
        bench.runtime().signal(&sandbox, &id, 9).await.unwrap();
        assert_eq!(bench.exited(&sandbox, &id).await.code, 137);
    })
    .await;
}

/// Several nodes, and several runtimes of one, share a daemon without seeing each other.
#[tokio::test]
async fn others_are_not_touched() {
    let other = Bench::new();
    contract::run(&Bench::new(), async |bench: &mut Contract<'_>| {
        let runtime = other.runtime().await;
        let mut spec = bench.sandbox_spec();
        spec.id.0.push_str("-other");
        let theirs = spec.id.clone();
        runtime.create_sandbox(spec).await.unwrap();
        assert_eq!(bench.runtime().sandboxes().await.unwrap(), []);
        let error = bench.runtime().sandbox(&theirs).await.err();
        assert!(matches!(error, Some(Error::NoSandbox(_))), "{error:?}");
        bench.runtime().remove_sandbox(&theirs).await.unwrap();
        assert!(runtime.sandbox(&theirs).await.unwrap().alive);
        runtime.remove_sandbox(&theirs).await.unwrap();
    })
    .await;
}

/// A daemon that is gone is named, and found again without anybody's help: containers run on, exits are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_daemon_that_goes_and_comes_back() {
    let mut daemon = bench::containerd();
    let bench = Bench::on(&daemon, Handler::default_one());
    let runtime = bench.runtime().await;
    assert!(*runtime.ready().unwrap().borrow());
    let contract = Contract::of(&bench);
    let spec = contract.sandbox_spec();
    let sandbox = spec.id.clone();
    runtime.create_sandbox(spec.clone()).await.unwrap();
    let status =
        runtime.start_container(&sandbox, contract.spec("app-0", &["sleep", "1000000"])).await.unwrap();

    daemon.kill();
    let error = runtime.create_sandbox(spec.clone()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Daemon { daemon, reason, .. } if daemon.ends_with(".sock") && reason.contains("running")),
        "{error:?}"
    );
    let error = runtime.sandbox(&sandbox).await.unwrap_err();
    assert!(matches!(error, Error::Daemon { .. }), "{error:?}");
    let mut ready = runtime.ready().unwrap();
    tokio::time::timeout(PATIENCE, ready.wait_for(|ready| !ready)).await.unwrap().unwrap();
    // An agent that starts now starts all the same.
    let second = bench.runtime().await;
    assert!(!*second.ready().unwrap().borrow());
    drop(second);

    tokio::task::block_in_place(|| daemon.run()).unwrap();
    tokio::time::timeout(PATIENCE, ready.wait_for(|ready| *ready)).await.unwrap().unwrap();
    let found = runtime.sandbox(&sandbox).await.unwrap();
    assert!(found.alive && found.containers == [status], "{found:?}");
    let mut events = runtime.events();
    runtime.signal(&sandbox, &found.containers[0].id, 9).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert!(matches!(&event, Event::Exited { sandbox: s, .. } if *s == sandbox), "{event:?}");
    runtime.remove_sandbox(&sandbox).await.unwrap();
}

/// A handler that the daemon does not have: the node does not offer it, and says which there are.
#[tokio::test]
async fn a_handler_that_is_not_there() {
    let bench = Bench::on(bench::shared(), Handler::called("kata").unwrap());
    let runtime = bench.runtime().await;
    assert_eq!(runtime.name(), "cri-kata");
    assert!(!*runtime.ready().unwrap().borrow());
    let error = runtime.create_sandbox(Contract::of(&bench).sandbox_spec()).await.unwrap_err();
    assert!(matches!(&error, Error::Daemon { reason, .. } if reason.contains("kata")), "{error:?}");
}

/// The daemon's images are found with their configuration, and what cannot be pulled says why.
#[tokio::test]
async fn images() {
    let runtime = Bench::new().runtime().await;
    let Images::Own(images) = runtime.images() else { panic!("it has images of its own") };
    let found = images.get("busybox:contract").await.unwrap().expect("it was imported");
    assert_eq!(found.reference, IMAGE);
    assert_eq!(found.config.entrypoint, ["/bin/sh"]);
    assert!(found.id.starts_with("sha256:") && found.layers.is_empty() && found.size > 0, "{found:?}");
    let again = images.ensure("busybox:contract", PullPolicy::IfNotPresent, None).await.unwrap();
    assert_eq!(again.id, found.id);
    assert!(images.get("nothing:here").await.unwrap().is_none());
    let error = images.ensure("nothing:here", PullPolicy::Never, None).await.unwrap_err();
    assert_eq!(error.reason(), "ErrImageNeverPull");
    let error = images.ensure("Not A Name", PullPolicy::Always, None).await.unwrap_err();
    assert_eq!(error.reason(), "InvalidImageName");
    let error = images.ensure("127.0.0.1:1/nothing:here", PullPolicy::Always, None).await.unwrap_err();
    assert_eq!(error.reason(), "ErrImagePull");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

/// An image of a registry that wants a password is pulled with the pod's, and not without.
#[tokio::test]
async fn images_are_pulled_with_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let root = folder.path().display();
    // `letmein`, as bcrypt makes it.
    let password = "user:$2y$05$abcdefghijklmnopqrstuuKwWV7ESJpzKzf9FQg57dBvMuv92X9HS\n";
    fs::write(folder.path().join("passwords"), password).unwrap();
    let config = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {root}/data\nhttp:\n  addr: \
         {address}\nauth:\n  htpasswd:\n    realm: test\n    path: {root}/passwords\n"
    );
    fs::write(folder.path().join("config.yml"), config).unwrap();
    let mut registry = std::process::Command::new("docker-registry");
    registry.arg("serve").arg(folder.path().join("config.yml"));
    let _registry =
        Process::start(registry, &folder.path().join("log")).expect("docker-registry is installed");
    until("the registry", async || tokio::net::TcpStream::connect(address).await.is_ok()).await;

    let daemon = bench::shared();
    let name = format!("{address}/busybox:pushed");
    daemon.ctr(&["images", "tag", IMAGE, &name]).unwrap();
    daemon.ctr(&["images", "push", "--plain-http", "-u", "user:letmein", &name]).unwrap();
    daemon.ctr(&["images", "rm", &name]).unwrap();

    let runtime = Bench::new().runtime().await;
    let Images::Own(images) = runtime.images() else { panic!("it has images of its own") };
    until("the name gone", async || images.get(&name).await.unwrap().is_none()).await;
    let credentials = |password: &str| {
        Some(Credentials::Basic { username: "user".to_owned(), password: password.to_owned() })
    };
    for wrong in [None, credentials("guess")] {
        let error = images.ensure(&name, PullPolicy::Always, wrong).await.unwrap_err();
        assert_eq!(error.reason(), "ErrImagePull", "{error}");
    }
    let image = images.ensure(&name, PullPolicy::IfNotPresent, credentials("letmein")).await.unwrap();
    assert!(image.digest.starts_with("sha256:"), "{image:?}");
    assert!(image.repo_digest().starts_with(&format!("{address}/busybox@sha256:")), "{image:?}");
}
