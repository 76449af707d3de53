//! Joining the streams of a container's first process.

use bytes::Bytes;

use super::{Bench, hear, listen, until};
use crate::{ContainerState, SessionInput, TerminalSize};

fn line(text: &str) -> SessionInput {
    SessionInput::Stdin(Bytes::from(format!("{text}\n")))
}

/// What is written goes to all clients and to the log; the exit ends the sessions.
pub async fn output_goes_to_log_and_client(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let script =
        "trap stop=1 TERM; while [ -z \"$stop\" ]; do echo tick; sleep 0.02; done; echo err >&2; exit 5";
    let spec = bench.script("app-0", script);
    let log = spec.log_path.clone();
    let id = bench.start(&sandbox, spec).await;
    let mut one = bench.runtime().attach(&sandbox, &id).await.unwrap();
    let mut other = bench.runtime().attach(&sandbox, &id).await.unwrap();
    hear(&mut one, "tick\n").await;
    hear(&mut other, "tick\n").await;
    bench.runtime().signal(&sandbox, &id, 15).await.unwrap();
    for session in [&mut one, &mut other] {
        let heard = listen(session).await;
        assert_eq!((heard.err.as_str(), heard.status.map(|s| s.code)), ("err\n", Some(5)));
    }
    assert!(super::logs::content(&log).ends_with("err\n"));
}

/// Input reaches the process, from one client after another.
pub async fn input_goes_in(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let mut spec = bench.script("app-0", "while read line; do echo got $line; done");
    spec.stdin = true;
    let id = bench.start(&sandbox, spec).await;
    for n in 0..2 {
        let mut session = bench.runtime().attach(&sandbox, &id).await.unwrap();
        session.input.send(line(&format!("hello {n}"))).await.unwrap();
        hear(&mut session, &format!("got hello {n}\n")).await;
        // The end of one client's input is not the end of the container's.
        session.input.send(SessionInput::CloseStdin).await.unwrap();
    }
    assert!(matches!(bench.container(&sandbox, &id).await.unwrap().state, ContainerState::Running { .. }));
}

/// With `stdin_once` the first client's leaving is the end of input.
pub async fn closing_once(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    for (name, says_so) in [("a-0", true), ("b-0", false)] {
        let mut spec = bench.script(name, "cat; echo end");
        (spec.stdin, spec.stdin_once) = (true, true);
        let log = spec.log_path.clone();
        let id = bench.start(&sandbox, spec).await;
        let mut session = bench.runtime().attach(&sandbox, &id).await.unwrap();
        session.input.send(line("hello")).await.unwrap();
        hear(&mut session, "hello").await;
        if says_so {
            session.input.send(SessionInput::CloseStdin).await.unwrap();
            assert_eq!(listen(&mut session).await.status.map(|s| s.code), Some(0));
        } else {
            drop(session);
        }
        bench.exited(&sandbox, &id).await;
        assert_eq!(super::logs::content(&log), "hello\nend\n");
    }
}

/// A terminal is resized and speaks.
pub async fn terminal(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let mut spec = bench.spec("app-0", &["sh"]);
    (spec.tty, spec.stdin) = (true, true);
    let id = bench.start(&sandbox, spec).await;
    let mut session = bench.runtime().attach(&sandbox, &id).await.unwrap();
    session.input.send(SessionInput::Resize(TerminalSize { width: 99, height: 33 })).await.unwrap();
    session.input.send(line("stty size; tty")).await.unwrap();
    let heard = hear(&mut session, "/dev/").await;
    assert!(heard.contains("33 99"), "{heard:?}");
    drop(session);
    let mut session = bench.runtime().attach(&sandbox, &id).await.unwrap();
    session.input.send(line("exit 3")).await.unwrap();
    assert_eq!(listen(&mut session).await.status.map(|s| s.code), Some(3));
}

/// A client that reads nothing and leaves does not stop the container, and others go on.
pub async fn an_absent_client_stops_nothing(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let spec = bench.script("app-0", "seq 1 200000; echo done; sleep 1000000");
    let log = spec.log_path.clone();
    let id = bench.start(&sandbox, spec).await;
    let deaf = bench.runtime().attach(&sandbox, &id).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    drop(deaf);
    until("the last line", async || super::logs::content(&log).ends_with("done\n")).await;
    assert!(matches!(bench.container(&sandbox, &id).await.unwrap().state, ContainerState::Running { .. }));
}
