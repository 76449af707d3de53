//! Every message survives the wire, and no bytes make the decoders panic.

use super::*;
use crate::exit::ExitRecord;

fn requests() -> Vec<Request> {
    vec![
        Request::Hello { version: 1, events: true },
        Request::Start(Box::new(Start {
            container: "app-0".into(),
            executable: "/usr/bin/dunlin".into(),
            bundle: "/run/x".into(),
            log_path: "/var/log/x".into(),
            log_max_size: 10 << 20,
            log_max_files: 5,
            tty: true,
            stdin: true,
            stdin_once: false,
            cgroup_procs: "/sys/fs/cgroup/x".into(),
            oom_file: String::new(),
            timeout_ms: 60_000,
        })),
        Request::List,
        Request::Signal { container: "a".into(), signal: 15 },
        Request::Remove { container: "a".into() },
        Request::Attach { container: "a".into() },
        Request::Stdin(b"bytes".to_vec()),
        Request::CloseStdin,
        Request::Resize { width: 80, height: 24 },
        Request::Shutdown,
    ]
}

fn replies() -> Vec<Reply> {
    let record = ExitRecord { code: 137, signal: 9, oom: true, started: 1, finished: 2 };
    vec![
        Reply::Hello { version: 1, pid: 12, reaper: 13 },
        Reply::Done,
        Reply::Failed { failure: Failure::Command, text: "sh: no such file".into() },
        Reply::Started { pid: 4, started: 5 },
        Reply::Containers(vec![
            ContainerInfo { id: "a".into(), state: State::Creating },
            ContainerInfo { id: "b".into(), state: State::Running { pid: 1, started: 2 } },
            ContainerInfo { id: "c".into(), state: State::Exited(record) },
        ]),
        Reply::Exited { container: "c".into(), record },
        Reply::Stdout(vec![1, 2]),
        Reply::Stderr(vec![]),
    ]
}

#[test]
fn every_message_round_trips() {
    for request in requests() {
        let (kind, payload) = request.encode();
        assert_eq!(Request::decode(kind, &payload), Ok(request));
    }
    for reply in replies() {
        let (kind, payload) = reply.encode();
        assert_eq!(Reply::decode(kind, &payload), Ok(reply));
    }
    let config = Config {
        hostname: "pod".into(),
        sysctls: vec![("net/ipv4/ip_forward".into(), "1".into())],
        tmpfs: vec![Tmpfs { path: "shm".into(), options: "mode=1777".into() }],
        cgroups: vec!["/sys/fs/cgroup/x/cgroup.procs".into()],
        ..Config::default()
    };
    assert_eq!(Config::decode(&config.encode()), Ok(config));
}

#[test]
fn every_truncation_is_an_error_or_a_shorter_message_and_never_a_panic() {
    for (kind, payload) in requests().iter().map(Request::encode) {
        for end in 0..payload.len() {
            let _ = Request::decode(kind, &payload[..end]);
        }
    }
    for (kind, payload) in replies().iter().map(Reply::encode) {
        for end in 0..payload.len() {
            let _ = Reply::decode(kind, &payload[..end]);
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    // xorshift, so that a failure can be repeated.
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..20_000 {
        let length = (next() % 64) as usize;
        let bytes: Vec<u8> =
            (0..length).map(|_| next() as u8 & if next() % 3 == 0 { 0xff } else { 3 }).collect();
        for kind in (0..12).chain(100..110) {
            let _ = Request::decode(kind, &bytes);
            let _ = Reply::decode(kind, &bytes);
        }
        let _ = Config::decode(&bytes);
        let _ = Report::decode(&bytes);
        let mut decoder = crate::wire::Decoder::default();
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_frame() {}
    }
}

#[test]
fn a_long_failure_text_is_cut_at_a_character() {
    let report = Report::Failed { failure: Failure::Create, text: "ä".repeat(4000) };
    let Ok(Report::Failed { text, .. }) = Report::decode(&report.encode()) else { panic!("not a failure") };
    assert!(text.len() <= 3000 && text.chars().all(|c| c == 'ä'));
}
