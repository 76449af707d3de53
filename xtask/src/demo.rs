//! `make demo`: the main job from nothing to a running Deployment and back, step by step, on this machine.
//!
//! First one server with its own agent, then a tree of clusters behind NAT (`tree`). It uses a data folder of its own and the program's defaults otherwise, and leaves nothing behind unless it was asked
//! to keep the server running.

mod tree;

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dunlin_testkit::cluster::tail;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::process::Process;
use dunlin_testkit::{program, wait};

const PATIENCE: Duration = Duration::from_secs(120);

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: hello
spec:
  replicas: 3
  selector:
    matchLabels: {app: hello}
  template:
    metadata:
      labels: {app: hello}
    spec:
      containers:
      - name: hello
        image: hello:demo
        imagePullPolicy: IfNotPresent
        ports: [{containerPort: 8080}]
        readinessProbe:
          httpGet: {path: /healthz, port: 8080}
          periodSeconds: 1
        resources:
          limits: {memory: 32Mi, cpu: 200m}
"#;

/// Runs the demo; with `keep` the server and its pods go on running afterwards.
pub fn run(keep: bool) -> Result<()> {
    step("Building the release binary (the first time takes some minutes)");
    crate::cargo::build()?;
    let dunlin = program::dunlin()?;
    println!("   {} ({:.1} MiB)", dunlin.display(), dunlin.metadata()?.len() as f64 / (1 << 20) as f64);

    let data = tempfile::Builder::new().prefix("dunlin-demo-").tempdir()?;
    let mut world = World { dunlin, data: data.path().to_owned(), server: None };
    let result = world.show();
    if let Err(error) = &result {
        eprintln!("\nThe demo failed: {error:#}\n---- the server's log\n{}", tail(&world.log()));
    }
    if keep && result.is_ok() {
        let pid = world.server.as_ref().map_or(0, Process::pid);
        std::mem::forget(world.server.take());
        let data = data.keep();
        println!("\nLeft running (process {pid}). Paste this to go on:\n");
        println!("   export KUBECONFIG={}", data.join("kubeconfig.yaml").display());
        println!(
            "\nTo end it: kill {pid}; {} reset --yes --data-dir {}",
            world.dunlin.display(),
            data.display()
        );
        return Ok(());
    }
    let ended = world.end();
    result.and(ended)?;
    tree::run()?;
    println!("\nDone: nothing is left running. `make demo KEEP=1` leaves the first server up for you.");
    Ok(())
}

struct World {
    dunlin: PathBuf,
    data: PathBuf,
    server: Option<Process>,
}

impl World {
    fn show(&mut self) -> Result<()> {
        step("Starting a server with its own agent");
        let mut command = Command::new(&self.dunlin);
        command.args(["server", "--data-dir"]).arg(&self.data);
        if TcpListener::bind("0.0.0.0:6443").is_err() {
            println!("   port 6443 is taken, using 16443");
            command.args(["--listen", "0.0.0.0:16443"]);
        }
        self.server = Some(Process::start(command, &self.log_path())?);
        let kubectl = Kubectl::new(&self.data.join("kubeconfig.yaml"));
        wait::until("the node getting ready", PATIENCE, || {
            if let Some(status) = self.server.as_mut().map(Process::ended).transpose()?.flatten() {
                bail!("the server ended with {status}");
            }
            kubectl.run(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=1s"])
        })?;
        show(&kubectl, &["get", "nodes", "-o", "wide"])?;

        step("Making an image of a small static HTTP program and importing it (no registry)");
        let archive = self.data.join("hello.tar");
        ImageBuilder::hello()?.write_docker_archive("hello:demo", &archive)?;
        self.dunlin(&["image", "import", &archive.to_string_lossy()])?;
        self.dunlin(&["image", "ls"])?;

        step("kubectl apply: a Deployment with 3 replicas");
        println!("{}", indent(&kubectl.apply(MANIFEST)?));
        rolled_out(&kubectl)?;
        for (name, address) in pods(&kubectl, 3)? {
            let body = wait::until("an answer over HTTP", PATIENCE, || http(&address))?;
            println!("   {name} on {address}:8080 says: {}", body.trim());
        }
        show(&kubectl, &["get", "nodes,deployments,pods", "-o", "wide"])?;

        step("Logs and exec");
        let name = pods(&kubectl, 3)?.remove(0).0;
        show(&kubectl, &["logs", &name])?;
        show(&kubectl, &["exec", &name, "--", "/hello", "env"])?;

        for (count, word) in [("5", "up"), ("1", "down")] {
            step(&format!("Scaling {word} to {count}"));
            show(&kubectl, &["scale", "deployment/hello", &format!("--replicas={count}")])?;
            rolled_out(&kubectl)?;
            pods(&kubectl, count.parse()?)?;
            show(&kubectl, &["get", "deployments,pods"])?;
        }
        Ok(())
    }

    /// Deletes what was made, stops the server, and resets the machine.
    fn end(&mut self) -> Result<()> {
        step("Deleting and ending cleanly");
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let kubectl = Kubectl::new(&self.data.join("kubeconfig.yaml"));
        let deleted = kubectl.run(&["delete", "deployment", "hello", "--ignore-not-found", "--timeout=60s"]);
        let gone = deleted.and_then(|said| {
            println!("{}", indent(&said));
            pods(&kubectl, 0)
        });
        let stopped = server.stop(Duration::from_secs(20));
        self.dunlin(&["reset", "--yes"])?;
        gone?;
        ensure!(stopped?.success(), "the server did not end with exit code 0");
        Ok(())
    }

    fn dunlin(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.dunlin);
        command.args(args).arg("--data-dir").arg(&self.data);
        println!("   $ dunlin {}", args.join(" "));
        let output = command.output()?;
        print!("{}", indent(&String::from_utf8_lossy(&output.stdout)));
        ensure!(
            output.status.success(),
            "dunlin {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn log_path(&self) -> PathBuf {
        self.data.join("demo.log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

fn rolled_out(kubectl: &Kubectl) -> Result<()> {
    let said = kubectl.run(&["rollout", "status", "deployment/hello", "--timeout=120s"])?;
    println!("{}", indent(said.lines().last().unwrap_or_default()));
    Ok(())
}

/// Names and addresses of the demo's pods, once there are exactly `count` and all of them are ready.
fn pods(kubectl: &Kubectl, count: usize) -> Result<Vec<(String, String)>> {
    wait::until(&format!("{count} ready pods"), PATIENCE, || {
        let pods = kubectl.json(&["pods", "-l", "app=hello"])?;
        let items = pods["items"].as_array().context("no list")?;
        ensure!(items.len() == count, "there are {} pods", items.len());
        items
            .iter()
            .map(|pod| {
                let ready = &pod["status"]["containerStatuses"][0]["ready"];
                ensure!(ready == true, "{} is not ready", pod["metadata"]["name"]);
                let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
                Ok((text(&pod["metadata"]["name"]), text(&pod["status"]["podIP"])))
            })
            .collect()
    })
}

fn http(address: &str) -> Result<String> {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect_timeout(&format!("{address}:8080").parse()?, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "answered {answer:?}");
    Ok(answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}

fn step(title: &str) {
    println!("\n== {title}");
}

fn show(kubectl: &Kubectl, args: &[&str]) -> Result<()> {
    println!("   $ kubectl {}", args.join(" "));
    println!("{}", indent(&kubectl.run(args)?));
    Ok(())
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("   {line}")).collect::<Vec<_>>().join("\n")
}
