//! One more process in a running container.

use std::time::Duration;

use bytes::Bytes;

use super::{Bench, hear, listen, until};
use crate::{ContainerId, Error, ExecSpec, SandboxId, Session, SessionInput, TerminalSize};

fn spec(args: &[&str]) -> ExecSpec {
    ExecSpec { args: args.iter().map(|a| (*a).to_owned()).collect(), ..ExecSpec::default() }
}

fn script(text: &str) -> ExecSpec {
    spec(&["sh", "-c", text])
}

async fn begin(bench: &Bench<'_>, sandbox: &SandboxId, id: &ContainerId, spec: ExecSpec) -> Session {
    bench.runtime().exec(sandbox, id, spec).await.expect("an exec starts")
}

async fn sleeper(bench: &Bench<'_>) -> (SandboxId, ContainerId) {
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, bench.spec("app-0", &["sleep", "1000000"])).await;
    (sandbox, id)
}

/// Both streams and the exit code arrive; the container's log stays empty.
pub async fn output_and_code(bench: &mut Bench<'_>) {
    let (sandbox, id) = sleeper(bench).await;
    let heard =
        listen(&mut begin(bench, &sandbox, &id, script("echo out; echo err >&2; exit 4")).await).await;
    assert_eq!((heard.out.as_str(), heard.err.as_str()), ("out\n", "err\n"));
    assert_eq!(heard.status.map(|s| (s.code, s.signal)), Some((4, None)));
    let heard = listen(&mut begin(bench, &sandbox, &id, script("kill -9 $$")).await).await;
    assert_eq!(heard.status.map(|s| (s.code, s.signal)), Some((137, Some(9))));
    let heard = listen(&mut begin(bench, &sandbox, &id, script("seq 1 50000")).await).await;
    assert_eq!(heard.out.lines().count(), 50000);
    assert_eq!(super::logs::content(&bench.log("app-0")), "");
}

/// Standard input goes in, with its end.
pub async fn input(bench: &mut Bench<'_>) {
    let (sandbox, id) = sleeper(bench).await;
    let mut session = begin(bench, &sandbox, &id, ExecSpec { stdin: true, ..spec(&["wc", "-c"]) }).await;
    for _ in 0..20 {
        session.input.send(SessionInput::Stdin(Bytes::from(vec![b'x'; 10_000]))).await.unwrap();
    }
    session.input.send(SessionInput::CloseStdin).await.unwrap();
    assert_eq!(listen(&mut session).await.out.trim(), "200000");
    // Without input the process finds an end.
    assert_eq!(listen(&mut begin(bench, &sandbox, &id, spec(&["cat"])).await).await.out, "");
}

/// With a terminal there is one, of the client's size, and control characters work.
pub async fn terminal(bench: &mut Bench<'_>) {
    let (sandbox, id) = sleeper(bench).await;
    let shell = ExecSpec { tty: true, stdin: true, ..spec(&["sh"]) };
    let mut session = begin(bench, &sandbox, &id, shell).await;
    session.input.send(SessionInput::Resize(TerminalSize { width: 123, height: 45 })).await.unwrap();
    let line = |text: &str| SessionInput::Stdin(Bytes::from(format!("{text}\n")));
    session.input.send(line("test -t 0 && stty size && tty")).await.unwrap();
    let heard = hear(&mut session, "/dev/pts/").await;
    assert!(heard.contains("45 123"), "{heard:?}");
    session.input.send(line("sleep 1000 ; echo inter'rupted'")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    session.input.send(SessionInput::Stdin(Bytes::from_static(b"\x03"))).await.unwrap();
    session.input.send(line("exit 6")).await.unwrap();
    assert_eq!(listen(&mut session).await.status.map(|s| s.code), Some(6));
}

/// What is missing is named; the session never begins.
pub async fn missing_commands_and_containers(bench: &mut Bench<'_>) {
    let (sandbox, id) = sleeper(bench).await;
    for (command, expected) in
        [("nothing-here", "not found in $PATH"), ("/none", "no such file"), ("/etc/passwd", "denied")]
    {
        let error = bench.runtime().exec(&sandbox, &id, spec(&[command])).await.err();
        assert!(
            matches!(&error, Some(Error::Command { command: c, reason }) if c == command && reason.contains(expected)),
            "{error:?}"
        );
    }
    let error = bench.runtime().exec(&sandbox, &id, spec(&[])).await.err();
    assert!(matches!(error, Some(Error::Spec { .. })), "{error:?}");
}

/// A client that leaves takes its process with it.
pub async fn dropping_kills(bench: &mut Bench<'_>) {
    let (sandbox, id) = sleeper(bench).await;
    let mut session = begin(bench, &sandbox, &id, script("echo up; sleep 333333 & exec sleep 444444")).await;
    hear(&mut session, "up").await;
    drop(session);
    until("the process's end", async || {
        let count = script("ps -o args | grep -cE '^sleep (333333|444444)'");
        listen(&mut begin(bench, &sandbox, &id, count).await).await.out.trim() == "0"
    })
    .await;
}

/// An exec has the container's user, environment, directory, filter and cgroup.
pub async fn user_and_environment(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let cgroup = "sort /proc/self/cgroup | md5sum";
    let mut container = bench.script("app-0", &format!("{cgroup}; exec sleep 1000000"));
    let log = container.log_path.clone();
    (container.uid, container.gid, container.cwd) = (1000, 1001, "/tmp".into());
    container.env.push(("GREETING".into(), "hello".into()));
    let id = bench.start(&sandbox, container).await;
    let text = "id -u; id -g; pwd; echo $GREETING; grep Seccomp: /proc/self/status; \
                grep CapEff /proc/self/status; echo x > /dev/stdout";
    let heard = listen(&mut begin(bench, &sandbox, &id, script(text)).await).await;
    let expected = "1000\n1001\n/tmp\nhello\nSeccomp:\t2\nCapEff:\t0000000000000000\nx\n";
    assert_eq!(heard.out, expected, "{}", heard.err);
    let heard = listen(&mut begin(bench, &sandbox, &id, script(cgroup)).await).await;
    until("the container's cgroup", async || !super::logs::content(&log).is_empty()).await;
    assert_eq!(heard.out, super::logs::content(&log));
}

/// Probes of many containers come together.
pub async fn many_at_once(bench: &mut Bench<'_>) {
    let (sandbox, id) = sleeper(bench).await;
    let all = (0..20).map(|n| {
        let (bench, sandbox, id) = (&*bench, &sandbox, &id);
        async move {
            let heard =
                listen(&mut begin(bench, sandbox, id, script(&format!("echo {n}; exit {n}"))).await).await;
            assert_eq!((heard.out.trim(), heard.status.map(|s| s.code)), (n.to_string().as_str(), Some(n)));
        }
    });
    futures_util::future::join_all(all).await;
}

/// A client that begins to read after the process has ended gets all of its output.
pub async fn a_slow_client_gets_everything(bench: &mut Bench<'_>) {
    let (sandbox, id) = sleeper(bench).await;
    let mut session = begin(bench, &sandbox, &id, script("seq 1 100000; echo end >&2")).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let heard = listen(&mut session).await;
    assert_eq!((heard.out.lines().last(), heard.err.as_str()), (Some("100000"), "end\n"));
    // One that left a background process holding its pipes does not keep the client waiting.
    let mut session = begin(bench, &sandbox, &id, script("sleep 777777 & echo up")).await;
    let heard = listen(&mut session).await;
    assert_eq!((heard.out.as_str(), heard.status.map(|s| s.code)), ("up\n", Some(0)));
}
