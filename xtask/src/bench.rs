//! `make bench`: every budget of SPECIFICATION.md with what was measured, on the shipping build.
//!
//! Server and agent run as two processes on this machine. The figures are for reading, not for passing or failing: the
//! machines are noisy.

mod workloads;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::tail;
use dunlin_testkit::host::{Host, Lan, Network};
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::namespace::system;
use dunlin_testkit::process::Process;
use dunlin_testkit::{program, wait};

const PATIENCE: Duration = Duration::from_secs(60);
const API: &str = "127.0.0.1:17443";
/// Of the server that is started with many objects.
const FULL: &str = "127.0.0.1:17444";
const PROXY: &str = "127.0.0.1:17001";
const RUNS: usize = 20;

/// Measures everything and prints one table.
pub fn run() -> Result<()> {
    // Without WebAssembly for its size alone; it ends where the other is built then.
    crate::cargo::cargo(&["build", "--profile", "dist", "--bin", "dunlin", "--no-default-features"])?;
    let without = program::target().join("dist/dunlin").metadata()?.len();
    crate::cargo::cargo(&["build", "--profile", "dist", "--bin", "dunlin"])?;
    crate::cargo::cargo(&["build", "--release", "-p", "dunlin-client", "--example", "load"])?;
    let dunlin = match std::env::var_os("DUNLIN_BIN") {
        Some(path) => PathBuf::from(path),
        None => program::target().join("dist/dunlin"),
    };
    let data = tempfile::Builder::new().prefix("dunlin-bench-").tempdir()?;
    let mut bench =
        Bench { dunlin, data: data.path().to_owned(), processes: Vec::new(), proxy: None, rows: Vec::new() };
    let result = bench.measure(without);
    for row in &bench.rows {
        println!("{:<58} {:>16} {:>16}", row.0, row.1, row.2);
    }
    if result.is_err() {
        eprintln!("---- server\n{}\n---- agent\n{}", tail(&bench.log("server")), tail(&bench.log("agent")));
    }
    bench.end();
    result
}

struct Bench {
    dunlin: PathBuf,
    data: PathBuf,
    processes: Vec<Process>,
    proxy: Option<Child>,
    rows: Vec<(String, String, String)>,
}

impl Bench {
    fn measure(&mut self, without_wasm: u64) -> Result<()> {
        self.row("what", "measured", "budget");
        let size = self.dunlin.metadata()?.len();
        self.row("binary, stripped", &mib(size), "-");
        self.row("binary, stripped (without wasm)", &mib(without_wasm), "15 MiB");

        self.start("server", &["server", "--no-agent", "--listen", API])?;
        let kubectl = Kubectl::new(&self.folder("server").join("kubeconfig.yaml"));
        wait::until("the API answering", PATIENCE, || kubectl.run(&["get", "namespaces"]))?;
        let token = std::fs::read_to_string(self.folder("server").join("token"))?;
        let url = format!("https://{API}");
        let role = ["agent", "--server", &url, "--token", token.trim(), "--node-name", "bench"];
        self.start("agent", &role)?;
        wait::until("the node getting ready", PATIENCE, || {
            kubectl.run(&["wait", "--for=condition=Ready", "node/bench", "--timeout=1s"])
        })?;
        let archive = self.data.join("hello.tar");
        ImageBuilder::hello()?.write_docker_archive("hello:bench", &archive)?;
        self.dunlin("agent", &["image", "import", &archive.to_string_lossy()])?;

        // Let start-up settle: caches are filled and first statuses written.
        std::thread::sleep(Duration::from_secs(10));
        let (server, agent) = (self.processes[0].pid(), self.processes[1].pid());
        self.row("server, idle, one node (PSS)", &mib(pss(server)?), "30 MiB");
        let idle_agent = pss(agent)?;
        self.row("agent, idle, 0 pods (PSS)", &mib(idle_agent), "12 MiB");
        self.idle(server, agent)?;

        let port = PROXY.rsplit(':').next().unwrap_or_default();
        let proxy = kubectl
            .command(&["proxy", "--port", port])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.proxy = Some(proxy);
        wait::until("kubectl proxy", PATIENCE, || Ok(TcpStream::connect(PROXY)?))?;

        let posts = (0..RUNS)
            .map(|n| format!("post-{n}"))
            .map(|name| self.post_to_running(&name, &pod(&name)))
            .collect::<Result<Vec<_>>>()?;
        self.times("POST of a pod to Running, p50 / p99", posts, "60 / 150 ms");
        let applies = (0..RUNS)
            .map(|n| apply_to_running(&kubectl, &format!("apply-{n}")))
            .collect::<Result<Vec<_>>>()?;
        self.times("kubectl apply to Running, p50 / p99", applies, "230 ms p50");
        kubectl.run(&["delete", "pods", "--all", "--grace-period=0", "--force", "--timeout=60s"])?;
        self.no_pods(&kubectl)?;

        for n in 0..10 {
            self.post(&pod(&format!("sleeper-{n}")))?;
        }
        self.all_running(&kubectl, 10)?;
        std::thread::sleep(Duration::from_secs(5));
        let shims = shims(agent)?;
        let total: u64 = shims.iter().map(|pid| pss(*pid).unwrap_or(0)).sum();
        let count = shims.len().max(1) as u64;
        self.row("shim (PSS, mean)", &kib(total / count), "-");
        let agent_now = pss(agent)?;
        self.row("agent with 10 pods (PSS)", &mib(agent_now), "-");
        self.row(
            "each sleep pod, shim included (PSS)",
            &kib((total + agent_now.saturating_sub(idle_agent)) / count),
            "1 MiB",
        );
        self.row("server with 10 pods (PSS)", &mib(pss(server)?), "-");
        kubectl.run(&["delete", "pods", "--all", "--grace-period=0", "--force", "--timeout=60s"])?;
        self.no_pods(&kubectl)?;

        let begun = Instant::now();
        for n in 0..100 {
            self.post(&pod(&format!("many-{n}")))?;
        }
        self.all_running(&kubectl, 100)?;
        self.row(
            "100 pods from nothing to Running",
            &format!("{:.1} s", begun.elapsed().as_secs_f64()),
            "4 s",
        );
        kubectl.run(&["delete", "pods", "--all", "--grace-period=0", "--force", "--timeout=120s"])?;
        self.no_pods(&kubectl)?;
        self.workloads(&kubectl, &role)?;
        self.writes(server)?;
        self.pods(server)?;
        self.api()?;
        self.start_full()?;
        self.traffic()
    }

    /// What the server holds for pods that run elsewhere.
    fn pods(&mut self, server: u32) -> Result<()> {
        const PODS: u64 = 2_000;
        let before = pss(server)?;
        self.load("server", &["pods", &PODS.to_string()])?;
        std::thread::sleep(Duration::from_secs(10));
        let each = pss(server)?.saturating_sub(before) * 1_000 / PODS;
        self.row("server, per further 1,000 pods (PSS)", &mib(each), "15 MiB");
        Ok(())
    }

    /// What the API takes, and how it tells a thousand watchers.
    fn api(&mut self) -> Result<()> {
        for line in self.load("server", &[])?.lines() {
            let (what, measured) = line.split_once('\t').unwrap_or((line, ""));
            self.row(what, measured, "-");
        }
        Ok(())
    }

    /// How long a server with much to read takes to start, and what it then holds.
    fn start_full(&mut self) -> Result<()> {
        const OBJECTS: &str = "50000";
        let args = ["server", "--no-agent", "--listen", FULL];
        let mut first = self.spawn("full", &args)?;
        let kubeconfig = self.folder("full").join("kubeconfig.yaml");
        wait::until("the kubeconfig", PATIENCE, || Ok(kubeconfig.metadata()?))?;
        self.load("full", &["ready"])?;
        self.load("full", &["fill", OBJECTS])?;
        ensure!(first.stop(Duration::from_secs(30))?.success(), "the full server did not end well");
        let begun = Instant::now();
        let mut second = self.spawn("full", &args)?;
        self.load("full", &["ready"])?;
        let took = begun.elapsed().as_secs_f64();
        std::thread::sleep(Duration::from_secs(10));
        let memory = mib(pss(second.pid())?);
        second.stop(Duration::from_secs(30))?;
        self.row(
            "start to ready with 50,000 objects of 1 KiB (PSS then)",
            &format!("{took:.1} s ({memory})"),
            "-",
        );
        Ok(())
    }

    /// Runs the load generator on a server; what it printed.
    fn load(&self, role: &str, args: &[&str]) -> Result<String> {
        let kubeconfig = self.folder(role).join("kubeconfig.yaml");
        let program = program::target().join("release/examples/load");
        let output = Command::new(program).arg(kubeconfig).args(args).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "load {} failed", args.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What an idle node and its server say to each other, both directions with all headers.
    fn traffic(&mut self) -> Result<()> {
        let lan = Lan::new()?;
        let (above, below) = (lan.host()?, lan.host()?);
        let listen = format!("{}:6443", above.address);
        let run = |host: &Host, folder: &Path, args: &[&str]| -> Result<Process> {
            let mut command = host.command(&self.dunlin);
            command.args(args).arg("--data-dir").arg(folder);
            Process::start(command, &folder.with_extension("log"))
        };
        let (upper, lower) = (self.folder("traffic-server"), self.folder("traffic-agent"));
        let _server = run(&above, &upper, &["server", "--no-agent", "--listen", &listen])?;
        let kubectl = Kubectl::new(&upper.join("kubeconfig.yaml")).inside(above.namespace().name());
        wait::until("the API answering", PATIENCE, || kubectl.run(&["get", "namespaces"]))?;
        let token = std::fs::read_to_string(upper.join("token"))?;
        let url = format!("https://{listen}");
        let args = ["agent", "--server", &url, "--token", token.trim(), "--node-name", "idle"];
        let agent = run(&below, &lower, &args)?;
        wait::until("the node getting ready", PATIENCE, || {
            kubectl.run(&["wait", "--for=condition=Ready", "node/idle", "--timeout=1s"])
        })?;
        std::thread::sleep(Duration::from_secs(30));
        let bytes = || -> Result<u64> {
            let inside = format!("--net={}", below.namespace().path().display());
            let table = system(&["nsenter", &inside, "cat", "/proc/net/dev"])?;
            let line = table.lines().find_map(|l| l.trim().strip_prefix("eth0:")).context("no eth0")?;
            let numbers: Vec<u64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            Ok(numbers[0] + numbers[8])
        };
        // One whole cycle of watches, which end after 290 s.
        let before = bytes()?;
        std::thread::sleep(Duration::from_secs(300));
        let rate = (bytes()? - before) as f64 / 300.0;
        drop(agent);
        let mut reset = below.command(&self.dunlin);
        ensure!(reset.args(["reset", "--yes", "--data-dir"]).arg(&lower).status()?.success());
        self.row("idle traffic, node to server", &format!("{rate:.0} B/s"), "30 B/s");
        Ok(())
    }

    /// What server and agent write and sync while nothing happens.
    fn idle(&mut self, server: u32, agent: u32) -> Result<()> {
        let before = written(server)? + written(agent)?;
        let syncs = syncs_during(&[server, agent], || {
            std::thread::sleep(Duration::from_secs(30));
            Ok(())
        })?;
        let bytes = written(server)? + written(agent)? - before;
        self.row("flash writes at idle, 30 s", &format!("{bytes} B"), "0");
        self.row("fsyncs at idle, 30 s", &syncs.to_string(), "0");
        Ok(())
    }

    /// What a write costs the flash: one after the other, so that nothing is shared.
    fn writes(&mut self, server: u32) -> Result<()> {
        const WRITES: u64 = 100;
        let before = written(server)?;
        let syncs = syncs_during(&[server], || {
            for n in 0..WRITES {
                let body = format!(
                    r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"w-{n}"}},"data":{{"a":"b"}}}}"#
                );
                http("POST", "/api/v1/namespaces/default/configmaps", &body)?;
            }
            Ok(())
        })?;
        let bytes = written(server)? - before;
        self.row("bytes written per small write, one writer", &format!("{} B", bytes / WRITES), "-");
        self.row("fsyncs per write, one writer", &format!("{:.2}", syncs as f64 / WRITES as f64), "1");
        Ok(())
    }

    fn post(&self, pod: &str) -> Result<()> {
        http("POST", "/api/v1/namespaces/default/pods", pod).map(drop)
    }

    /// From sending the POST to a watch delivering phase Running.
    fn post_to_running(&self, name: &str, pod: &str) -> Result<f64> {
        let path = format!("/api/v1/namespaces/default/pods?watch=true&fieldSelector=metadata.name%3D{name}");
        let mut watch = TcpStream::connect(PROXY)?;
        watch.set_read_timeout(Some(PATIENCE))?;
        write!(watch, "GET {path} HTTP/1.1\r\nHost: {PROXY}\r\n\r\n")?;
        let mut lines = BufReader::new(watch);
        let mut line = String::new();
        while line.trim_end() != "" || line.is_empty() {
            line.clear();
            ensure!(lines.read_line(&mut line)? > 0, "the watch ended");
        }
        let begun = Instant::now();
        self.post(pod)?;
        loop {
            line.clear();
            ensure!(lines.read_line(&mut line)? > 0, "the watch ended before {name} was Running");
            if line.contains("\"phase\":\"Running\"") {
                break;
            }
        }
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        http("DELETE", &format!("/api/v1/namespaces/default/pods/{name}?gracePeriodSeconds=0"), "")?;
        Ok(took)
    }

    fn all_running(&self, kubectl: &Kubectl, count: usize) -> Result<()> {
        wait::until("all pods running", Duration::from_secs(120), || {
            let running =
                kubectl.run(&["get", "pods", "--field-selector=status.phase=Running", "-o", "name"])?;
            ensure!(running.lines().count() == count, "{} of {count} run", running.lines().count());
            Ok(())
        })
    }

    fn no_pods(&self, kubectl: &Kubectl) -> Result<()> {
        wait::until("all pods gone", Duration::from_secs(120), || {
            let left = kubectl.run(&["get", "pods", "-o", "name"])?;
            ensure!(left.is_empty(), "{} left", left.lines().count());
            Ok(())
        })
    }

    fn times(&mut self, what: &str, mut all: Vec<f64>, budget: &str) {
        all.sort_by(f64::total_cmp);
        let at = |share: f64| all[((all.len() as f64 * share).ceil() as usize).clamp(1, all.len()) - 1];
        self.row(what, &format!("{:.0} / {:.0} ms", at(0.5), at(0.99)), budget);
    }

    fn row(&mut self, what: &str, measured: &str, budget: &str) {
        self.rows.push((what.to_owned(), measured.to_owned(), budget.to_owned()));
    }

    fn folder(&self, role: &str) -> PathBuf {
        self.data.join(role)
    }

    fn log(&self, role: &str) -> String {
        std::fs::read_to_string(self.data.join(format!("{role}.log"))).unwrap_or_default()
    }

    fn start(&mut self, role: &str, args: &[&str]) -> Result<()> {
        let process = self.spawn(role, args)?;
        self.processes.push(process);
        Ok(())
    }

    fn spawn(&self, role: &str, args: &[&str]) -> Result<Process> {
        let mut command = Command::new(&self.dunlin);
        command.args(args).arg("--data-dir").arg(self.folder(role));
        Process::start(command, &self.data.join(format!("{role}.log")))
    }

    fn dunlin(&self, role: &str, args: &[&str]) -> Result<()> {
        let output =
            Command::new(&self.dunlin).args(args).arg("--data-dir").arg(self.folder(role)).output()?;
        ensure!(
            output.status.success(),
            "dunlin {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn end(&mut self) {
        if let Some(mut proxy) = self.proxy.take() {
            let _ = proxy.kill();
            let _ = proxy.wait();
        }
        while let Some(mut process) = self.processes.pop() {
            let _ = process.stop(Duration::from_secs(10));
        }
        if let Err(error) = self.dunlin("agent", &["reset", "--yes"]) {
            eprintln!("cleaning up: {error:#}");
        }
    }
}

fn pod(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"terminationGracePeriodSeconds":0,"containers":[{{"name":"c","image":"hello:bench","args":["sleep"]}}]}}}}"#
    )
}

fn apply_to_running(kubectl: &Kubectl, name: &str) -> Result<f64> {
    let selector = format!("metadata.name={name}");
    let args =
        ["get", "pods", "--watch", "--field-selector", &selector, "-o", "jsonpath={.status.phase}{\"\\n\"}"];
    let mut watch = kubectl.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    // kubectl has to be up and watching before the clock starts.
    std::thread::sleep(Duration::from_millis(700));
    let lines = BufReader::new(watch.stdout.take().context("no output")?).lines();
    let begun = Instant::now();
    kubectl.apply(&pod(name))?;
    let mut took = None;
    for line in lines {
        if line? == "Running" {
            took = Some(begun.elapsed().as_secs_f64() * 1000.0);
            break;
        }
    }
    let _ = watch.kill();
    let _ = watch.wait();
    took.context("the watch ended")
}

/// One HTTP/1.1 call through `kubectl proxy`.
fn http(method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(PROXY)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {PROXY}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    ensure!(status.starts_with('2'), "{method} {path} answered {answer}");
    Ok(answer)
}

/// Proportional set size of a process, bytes.
fn pss(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
}

/// Bytes that a process has sent to storage.
fn written(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

/// How often the processes sync a file during `work`.
fn syncs_during(pids: &[u32], work: impl FnOnce() -> Result<()>) -> Result<usize> {
    let log = tempfile::NamedTempFile::new()?;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range,syncfs", "-o"]).arg(log.path());
    for pid in pids {
        strace.args(["-p", &pid.to_string()]);
    }
    let mut strace = strace.stderr(Stdio::null()).spawn().context("starting strace")?;
    std::thread::sleep(Duration::from_millis(500));
    let done = work();
    // SAFETY: strace has not been waited for; SIGINT makes it let go of its processes.
    unsafe { libc::kill(strace.id() as libc::pid_t, libc::SIGINT) };
    strace.wait()?;
    done?;
    let text = std::fs::read_to_string(log.path())?;
    Ok(text.lines().filter(|line| line.contains("sync") && !line.contains("resumed")).count())
}

/// The shims of the agent's pods: they are nobody's children, so they are found by the folder of their node.
fn shims(agent: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let program = std::fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe"));
        let shim = program
            .is_ok_and(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("dunlin-shim")));
        if pid != agent && shim {
            found.push(pid);
        }
    }
    Ok(found)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes / 1024)
}
