//! The same small HTTP server as a container, as WebAssembly and as a native process: how long until it runs, what one more
//! costs, how much it answers. A virtual machine is measured where the agent was given a kernel for one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::{program, wait};

use super::{Bench, PATIENCE, pss};

/// Pods of each kind whose memory is measured.
const PODS: u64 = 5;
/// Starts of each kind that are timed.
const STARTS: usize = 10;
/// How long each is asked, by how many at once.
const ASKED: (Duration, usize) = (Duration::from_secs(3), 4);

/// One way to run the server.
struct Kind {
    name: &'static str,
    handler: &'static str,
    image: String,
}

impl Bench {
    /// Measures all kinds; the agent is started again so that it offers them.
    pub(super) fn workloads(&mut self, kubectl: &Kubectl, agent: &[&str]) -> Result<()> {
        self.processes.pop().context("the agent")?.stop(Duration::from_secs(10))?;
        self.start("agent", &[agent, &["--native-processes"]].concat())?;
        for (image, name) in [
            (ImageBuilder::hello_component()?, "hello-wasm:bench"),
            (ImageBuilder::http_component()?, "http-wasm:bench"),
        ] {
            let archive = self.data.join("image.tar");
            image.write_docker_archive(name, &archive)?;
            self.dunlin("agent", &["image", "import", &archive.to_string_lossy()])?;
        }
        let kinds = [
            Kind { name: "container", handler: "oci", image: "hello:bench".into() },
            Kind {
                name: "native process",
                handler: "process",
                image: program::hello()?.display().to_string(),
            },
            Kind { name: "wasm, own sockets", handler: "wasm", image: "hello-wasm:bench".into() },
            Kind { name: "wasm, wasi:http", handler: "wasm", image: "http-wasm:bench".into() },
        ];
        for handler in ["oci", "process", "wasm"] {
            kubectl.apply(&format!(
                "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {{name: {handler}}}\nhandler: {handler}\n"
            ))?;
            wait::until("the node offering the handler", PATIENCE, || {
                let nodes = kubectl.run(&[
                    "get",
                    "nodes",
                    "-o",
                    "jsonpath={.items[*].status.runtimeHandlers[*].name}",
                ])?;
                ensure!(nodes.split(' ').any(|name| name == handler), "it offers {nodes}");
                Ok(())
            })?;
        }
        for kind in &kinds {
            self.workload(kubectl, kind).with_context(|| kind.name)?;
        }
        Ok(())
    }

    fn workload(&mut self, kubectl: &Kubectl, kind: &Kind) -> Result<()> {
        // Once, so that what is done once on a machine is done.
        self.post_to_running("first", &server("first", kind))?;
        self.no_pods(kubectl)?;
        let starts = (0..STARTS)
            .map(|n| format!("start-{n}"))
            .map(|name| self.post_to_running(&name, &server(&name, kind)))
            .collect::<Result<Vec<_>>>()?;
        self.times(&format!("{}: POST to Running, p50 / p99", kind.name), starts, "-");
        self.no_pods(kubectl)?;

        for n in 0..PODS {
            self.post(&server(&format!("one-{n}"), kind))?;
        }
        self.all_running(kubectl, PODS as usize)?;
        let pods = kubectl.json(&["pods"])?;
        let first = &pods["items"][0]["status"]["podIP"];
        let address = format!("{}:8080", first.as_str().context("no address")?);
        wait::until("an answer", PATIENCE, || ask(&address))?;
        let answered = answered(&address);
        let mut memory = 0;
        for pod in pods["items"].as_array().context("pods")? {
            let uid = pod["metadata"]["uid"].as_str().context("no uid")?;
            memory += processes(uid)?.into_iter().map(|pid| pss(pid).unwrap_or(0)).sum::<u64>();
        }
        let shims = super::shims(0)?.into_iter().map(|pid| pss(pid).unwrap_or(0)).sum::<u64>();
        let each = (memory + shims) / PODS;
        self.row(&format!("{}: each pod, shim included (PSS)", kind.name), &super::kib(each), "-");
        let rate = format!("{:.0}", answered as f64 / ASKED.0.as_secs_f64());
        self.row(&format!("{}: requests/s, {} at once", kind.name, ASKED.1), &rate, "-");
        kubectl.run(&["delete", "pods", "--all", "--grace-period=0", "--force", "--timeout=60s"])?;
        self.no_pods(kubectl)
    }
}

fn server(name: &str, kind: &Kind) -> String {
    let (handler, image) = (kind.handler, &kind.image);
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"runtimeClassName":"{handler}","terminationGracePeriodSeconds":0,"containers":[{{"name":"c","image":"{image}","args":["serve"],"ports":[{{"containerPort":8080}}]}}]}}}}"#
    )
}

/// The processes in a pod's cgroup, whatever hierarchy it is in.
fn processes(uid: &str) -> Result<Vec<u32>> {
    let mut found = std::collections::BTreeSet::new();
    let mut directories = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            }
        }
        if directory.to_string_lossy().contains(uid) {
            let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
    }
    ensure!(!found.is_empty(), "no process of pod {uid}");
    Ok(found.into_iter().collect())
}

/// How many requests were answered in the time.
fn answered(address: &str) -> u64 {
    let count = AtomicU64::new(0);
    let end = Instant::now() + ASKED.0;
    std::thread::scope(|scope| {
        for _ in 0..ASKED.1 {
            scope.spawn(|| {
                while Instant::now() < end {
                    if ask(address).is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    count.into_inner()
}

fn ask(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}
