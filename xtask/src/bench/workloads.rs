//! The same small HTTP server as a container, as WebAssembly, as a native process and as a virtual machine: how long until it
//! runs, what one more costs, how much it answers.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dunlin_testkit::guest::kernel::Kernel;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::{program, wait};

use super::{Bench, PATIENCE, pss};

/// Starts of each kind that are timed, and pods whose memory is measured.
const MANY: (usize, u64) = (10, 5);
/// As many of a kind that takes seconds and hundreds of megabytes.
const FEW: (usize, u64) = (3, 2);
/// How long each is asked, by how many at once.
const ASKED: (Duration, usize) = (Duration::from_secs(3), 4);

/// One way to run the server.
struct Kind {
    name: &'static str,
    handler: &'static str,
    image: String,
    starts: usize,
    pods: u64,
}

impl Kind {
    fn new(name: &'static str, handler: &'static str, image: &str, (starts, pods): (usize, u64)) -> Self {
        Self { name, handler, image: image.to_owned(), starts, pods }
    }
}

impl Bench {
    /// Measures all kinds; the agent is started again so that it offers them.
    pub(super) fn workloads(&mut self, kubectl: &Kubectl, agent: &[&str]) -> Result<()> {
        self.processes.pop().context("the agent")?.stop(Duration::from_secs(10))?;
        let kernel = Kernel::find()?;
        let (image, modules) = (kernel.image.display().to_string(), kernel.modules.display().to_string());
        let offers = ["--native-processes", "--microvm-kernel", &image, "--microvm-modules", &modules];
        self.start("agent", &[agent, &offers].concat())?;
        for (image, name) in [
            (ImageBuilder::hello_component()?, "hello-wasm:bench"),
            (ImageBuilder::http_component()?, "http-wasm:bench"),
        ] {
            let archive = self.data.join("image.tar");
            image.write_docker_archive(name, &archive)?;
            self.dunlin("agent", &["image", "import", &archive.to_string_lossy()])?;
        }
        let native = program::hello()?.display().to_string();
        let kinds = [
            Kind::new("container", "oci", "hello:bench", MANY),
            Kind::new("native process", "process", &native, MANY),
            Kind::new("wasm, own sockets", "wasm", "hello-wasm:bench", MANY),
            Kind::new("wasm, wasi:http", "wasm", "http-wasm:bench", MANY),
            Kind::new("virtual machine", "microvm", "hello:bench", FEW),
        ];
        for handler in ["oci", "process", "wasm", "microvm"] {
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
        let starts = (0..kind.starts)
            .map(|n| format!("start-{n}"))
            .map(|name| self.post_to_running(&name, &server(&name, kind)))
            .collect::<Result<Vec<_>>>()?;
        self.times(&format!("{}: POST to Running, p50 / p99", kind.name), starts, "-");
        self.no_pods(kubectl)?;

        self.post(&server("one-0", kind))?;
        self.all_running(kubectl, 1)?;
        let one = memory(kubectl)?;
        for n in 1..kind.pods {
            self.post(&server(&format!("one-{n}"), kind))?;
        }
        self.all_running(kubectl, kind.pods as usize)?;
        let pods = kubectl.json(&["pods"])?;
        let first = &pods["items"][0]["status"]["podIP"];
        let address = format!("{}:8080", first.as_str().context("no address")?);
        wait::until("an answer", PATIENCE, || ask(&address))?;
        let answered = answered(&address);
        let further = memory(kubectl)?.saturating_sub(one) / (kind.pods - 1);
        let figures = format!("{} / {}", super::kib(one), super::kib(further));
        self.row(&format!("{}: first pod / each further, all its processes (PSS)", kind.name), &figures, "-");
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

/// Of all processes that there are for pods: theirs, their shims and those that they share.
fn memory(kubectl: &Kubectl) -> Result<u64> {
    let pods = kubectl.json(&["pods"])?;
    let mut all: BTreeSet<u32> = super::shims(0)?.into_iter().collect();
    for pod in pods["items"].as_array().context("pods")? {
        let uid = pod["metadata"]["uid"].as_str().context("no uid")?;
        let found = processes(uid);
        ensure!(!found.is_empty(), "no process of pod {uid}");
        all.extend(found);
    }
    all.extend(processes("wasm-hosts"));
    Ok(all.into_iter().map(|pid| pss(pid).unwrap_or(0)).sum())
}

/// The processes in and below the cgroups whose path has a name in it, in all hierarchies.
fn processes(name: &str) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut directories = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            }
        }
        if directory.to_string_lossy().contains(name) {
            let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
    }
    found
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
