//! Unikernels: images that are a kernel. Ours is `crates/testkit/programs/kernel.c`.

use std::fs;
use std::path::PathBuf;

use dunlin_runtime::contract::{self, Bench as Contract, logs, until};
use dunlin_runtime::{ContainerSpec, ContainerState, Error, ExecSpec};
use dunlin_runtime_oci::Kind;

use crate::bench::Bench;

/// An image with our kernel at a path.
fn image(bench: &Contract<'_>, path: &str) -> PathBuf {
    let layer = bench.factory.logs().join(format!("image{}", path.replace('/', "-")));
    let place = layer.join(path.trim_start_matches('/'));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(dunlin_testkit::program::kernel().unwrap(), place).unwrap();
    layer
}

fn spec(bench: &Contract<'_>, name: &str, path: &str, args: &[&str]) -> ContainerSpec {
    ContainerSpec { layers: vec![image(bench, path)], ..bench.spec(name, args) }
}

/// Its console is the log, its command line the arguments, its code the exit code.
#[tokio::test]
async fn it_runs_and_ends() {
    contract::run(&Bench::of_machines(Kind::Unikernel), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        for (name, code) in [("a-0", 0), ("b-0", 7)] {
            let args = ["/boot/kernel", "some", "words", &code.to_string()];
            let mut spec = spec(bench, name, "/boot/kernel", &args);
            spec.resources.memory_limit = Some(32 << 20);
            let (status, text) = bench.script_output(&sandbox, spec).await;
            assert_eq!((status.code, status.signal), (code, None), "{text}");
            assert!(text.starts_with("a kernel of its own\ntold: "), "{text}");
            assert!(text.contains(&format!("some words {code}\nno network card\n")), "{text}");
        }
        // Unikraft's images have their kernel at a place of its own, and all words are its arguments.
        let spec = spec(bench, "c-0", "/unikraft/bin/kernel", &["5"]);
        let (status, text) = bench.script_output(&sandbox, spec).await;
        assert_eq!(status.code, 5, "{text}");
        assert!(text.contains("kernel -- 5\n"), "without a network there is no address: {text}");
    })
    .await;
}

/// It ends when it is asked to and when it is killed, cannot be entered, and is found again.
#[tokio::test]
async fn it_is_asked_to_end() {
    contract::run(&Bench::of_machines(Kind::Unikernel), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        for (name, signal) in [("a-0", 15), ("b-0", 9)] {
            let spec = spec(bench, name, "/boot/kernel", &["/boot/kernel", "wait"]);
            let log = spec.log_path.clone();
            let id = bench.start(&sandbox, spec).await;
            until("its words", async || logs::content(&log).contains("network card")).await;
            bench.reopen().await;
            let exec = ExecSpec { args: vec!["true".into()], ..ExecSpec::default() };
            let error = bench.runtime().exec(&sandbox, &id, exec).await.err();
            assert!(
                matches!(&error, Some(Error::Create { reason, .. }) if reason.contains("one program")),
                "{error:?}"
            );
            let state = bench.container(&sandbox, &id).await.unwrap().state;
            assert!(matches!(state, ContainerState::Running { .. }), "{state:?}");
            bench.runtime().signal(&sandbox, &id, signal).await.unwrap();
            let status = bench.exited(&sandbox, &id).await;
            assert_eq!((status.code, status.signal), (128 + signal, Some(signal)));
        }
    })
    .await;
}

/// What is no kernel is told, and a link of the image does not lead to a file of the host.
#[tokio::test]
async fn what_is_no_kernel() {
    contract::run(&Bench::of_machines(Kind::Unikernel), async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        let start = async |spec| bench.runtime().start_container(&sandbox, spec).await;
        let error = start(spec(bench, "a-0", "/boot/kernel", &["/no/such/kernel"])).await;
        assert!(
            matches!(&error, Err(Error::Command { reason, .. }) if reason.contains("no such file")),
            "{error:?}"
        );
        let error = start(spec(bench, "a-0", "/boot/kernel", &["/boot"])).await;
        assert!(matches!(&error, Err(Error::Command { .. })), "{error:?}");
        let linked = spec(bench, "a-0", "/boot/kernel", &["/boot/link"]);
        std::os::unix::fs::symlink("/etc/passwd", linked.layers[0].join("boot/link")).unwrap();
        let error = start(linked).await;
        assert!(matches!(&error, Err(Error::Command { .. })), "{error:?}");
        // QEMU says what it thinks of a file that is none.
        let text = spec(bench, "b-0", "/boot/kernel", &["/boot/text"]);
        fs::write(text.layers[0].join("boot/text"), "no kernel at all").unwrap();
        let (status, said) = bench.script_output(&sandbox, text).await;
        assert_eq!(status.code, 255, "{said}");
        assert!(said.contains("dunlin: the virtual machine ended: "), "{said}");
    })
    .await;
}
