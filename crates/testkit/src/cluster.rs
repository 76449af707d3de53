//! A server and agents as processes, started as a user starts them, on a machine of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::disk::SmallDisk;
use crate::host::{Host, Network};
use crate::image::ImageBuilder;
use crate::kubectl::Kubectl;
use crate::machine::Seen;
use crate::process::Process;
use crate::{program, wait};

/// How long anything that a test waits for may take; generous, because the machines are noisy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One `dunlin server` or `dunlin agent` with its machine and its data folder.
///
/// Dropping it stops the process and resets the machine: its pods, network and cgroups are gone afterwards.
#[derive(Debug)]
pub struct Dunlin {
    /// The machine.
    pub host: Host,
    /// The disk of its data folder, if that is a small one.
    pub disk: Option<SmallDisk>,
    /// The data folder.
    pub data: TempDir,
    args: Vec<String>,
    process: Option<Process>,
}

impl Dunlin {
    /// Starts a server with its own agent on a new machine of `network` and waits until its node is ready.
    ///
    /// # Errors
    /// When it does not come up; the message holds its log.
    pub fn server(network: &impl Network, more: &[&str]) -> Result<Self> {
        Self::server_in(network, tempfile::tempdir()?, None, more)
    }

    /// The same, with its data on a disk of `mib` MiB.
    ///
    /// # Errors
    /// When the disk cannot be mounted, or the server does not come up.
    pub fn server_on_small_disk(network: &impl Network, mib: u32, more: &[&str]) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let disk = SmallDisk::mount(data.path(), mib)?;
        Self::server_in(network, data, Some(disk), more)
    }

    fn server_in(
        network: &impl Network,
        data: TempDir,
        disk: Option<SmallDisk>,
        more: &[&str],
    ) -> Result<Self> {
        let server = Self::launch_in(network, data, disk, "server", &[], more)?;
        if !more.contains(&"--no-agent") {
            server.wait_for_node("")?;
        }
        Ok(server)
    }

    /// Starts a further server of the cluster of `first`, with which it shares a store; its data folder holds the key that
    /// was copied from there.
    ///
    /// # Errors
    /// When it does not come up; the message holds its log.
    pub fn further_server(network: &impl Network, first: &Self, more: &[&str]) -> Result<Self> {
        let data = tempfile::tempdir()?;
        std::fs::create_dir_all(data.path().join("server"))?;
        let key = "server/cluster.key";
        std::fs::copy(first.data.path().join(key), data.path().join(key))
            .context("copying the cluster's key")?;
        Self::server_in(network, data, None, more)
    }

    /// Starts an agent that knows all of `servers`, which share a store, and waits until its node is ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn agent_of(network: &impl Network, servers: &[&Self], name: &str, more: &[&str]) -> Result<Self> {
        let first = servers.first().context("an agent needs a server")?;
        let token =
            std::fs::read_to_string(first.data.path().join("token")).context("reading the join token")?;
        let urls: Vec<String> = servers.iter().map(|server| server.url()).collect();
        let own = ["--server", &urls.join(","), "--token", token.trim(), "--node-name", name];
        let agent = Self::launch(network, "agent", &own, more)?;
        first.wait_for_node(name)?;
        Ok(agent)
    }

    /// Starts a server on a new machine of `network` as the child `name` of `parent`, and waits until it answers. When
    /// its parent knows it is for the caller to wait for.
    ///
    /// # Errors
    /// When it does not come up; the message holds its log.
    pub fn child(network: &impl Network, parent: &Self, name: &str, more: &[&str]) -> Result<Self> {
        let token = parent.dunlin(&["token", "create", "--for", "cluster"])?;
        let own = ["--name", name, "--parent", &parent.url(), "--token", token.trim()];
        let child = Self::launch(network, "server", &own, more)?;
        if !more.contains(&"--no-agent") {
            child.wait_for_node("")?;
        }
        Ok(child)
    }

    /// Starts an agent on a new machine of `network`, joined to `server` by its token.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn agent(network: &impl Network, server: &Self, name: &str, more: &[&str]) -> Result<Self> {
        let token =
            std::fs::read_to_string(server.data.path().join("token")).context("reading the join token")?;
        let agent = Self::agent_with(network, server, name, token.trim(), more)?;
        server.wait_for_node(name)?;
        Ok(agent)
    }

    /// Starts an agent with this token on a new machine of `network`, and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn agent_with(
        network: &impl Network,
        server: &Self,
        name: &str,
        token: &str,
        more: &[&str],
    ) -> Result<Self> {
        let own = ["--server", &server.url(), "--token", token, "--node-name", name];
        Self::launch(network, "agent", &own, more)
    }

    /// Starts an agent on a new machine of `network` as a node of the Kubernetes cluster of a kubeconfig, and does not
    /// wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn node_of(network: &impl Network, kubeconfig: &Path, name: &str, more: &[&str]) -> Result<Self> {
        let own = ["--kubeconfig", &kubeconfig.to_string_lossy(), "--node-name", name];
        Self::launch(network, "agent", &own, more)
    }

    fn launch(network: &impl Network, role: &str, own: &[&str], more: &[&str]) -> Result<Self> {
        Self::launch_in(network, tempfile::tempdir()?, None, role, own, more)
    }

    fn launch_in(
        network: &impl Network,
        data: TempDir,
        disk: Option<SmallDisk>,
        role: &str,
        own: &[&str],
        more: &[&str],
    ) -> Result<Self> {
        let host = network.host()?;
        let mut args = vec![role.to_owned()];
        if role == "server" {
            args.extend(["--listen".to_owned(), format!("{}:6443", host.address)]);
        }
        args.extend(own.iter().chain(more).map(|word| (*word).to_owned()));
        let mut made = Self { host, disk, data, args, process: None };
        made.start()?;
        if role == "server" {
            let process = made.process.as_mut().context("it was just started")?;
            let kubeconfig = made.data.path().join("kubeconfig.yaml");
            let token = made.data.path().join("token");
            wait::until("the server's start", PATIENCE, || {
                ensure!(process.ended()?.is_none(), "it ended:\n{}", tail(&process.log()));
                ensure!(kubeconfig.exists() && token.exists(), "its log is\n{}", tail(&process.log()));
                Ok(())
            })?;
        }
        Ok(made)
    }

    /// Where this server's API is.
    pub fn url(&self) -> String {
        format!("https://{}:6443", self.host.address)
    }

    /// Whether the process runs, as far as we have not ended it ourselves.
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// Turns the machine off: everything on it ends, what is not on its disk is gone.
    ///
    /// # Errors
    /// When something on it does not end.
    pub fn power_off(&mut self) -> Result<()> {
        let group = self.group();
        let mut volatile = Vec::new();
        if let Some(id) = group.strip_prefix("dunlin-") {
            volatile.push(PathBuf::from("/run/dunlin").join(id));
            volatile.push(PathBuf::from("/sys/fs/cgroup").join(&group));
            let controllers = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
            volatile.extend(controllers.map(|controller| controller.path().join(&group)));
        }
        self.host.power_off(&group, &volatile)?;
        self.kill();
        Ok(())
    }

    /// How many processes on this machine, in pods and outside, run the program `command`.
    ///
    /// # Errors
    /// When the machine's processes cannot be listed.
    pub fn running(&self, command: &str) -> Result<usize> {
        self.host.running(&self.group(), command)
    }

    /// Every living process on this machine, in pods and outside.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn processes(&self) -> Result<Vec<Seen>> {
        self.host.processes(&self.group())
    }

    /// The control group of this machine's node; empty if it has none.
    fn group(&self) -> String {
        let id = std::fs::read_to_string(self.data.path().join("agent/id")).unwrap_or_default();
        if id.len() == 8 { format!("dunlin-{id}") } else { String::new() }
    }

    /// Turns the machine off and on again.
    ///
    /// # Errors
    /// When something on it does not end, or the program does not start.
    pub fn reboot(&mut self) -> Result<()> {
        self.power_off()?;
        self.start()
    }

    /// Starts the process again after it was stopped or killed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let mut command = self.host.command(&program::dunlin()?);
        command.args(&self.args).arg("--data-dir").arg(self.data.path());
        self.process = Some(Process::start(command, &self.log_path())?);
        Ok(())
    }

    /// The running process.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the process was stopped")
    }

    /// Kills it without warning; its containers go on.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.data.path().join("log")
    }

    /// kubectl as the administrator of this server.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.data.path().join("kubeconfig.yaml")).inside(self.host.namespace().name())
    }

    /// Runs the program with `args` on this machine, on this data folder.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn dunlin(&self, args: &[&str]) -> Result<String> {
        let mut command = self.host.command(&program::dunlin()?);
        command.args(args).arg("--data-dir").arg(self.data.path());
        run(command)
    }

    /// Imports an image under `reference`.
    ///
    /// # Errors
    /// When the image cannot be made or imported.
    pub fn import(&self, image: &ImageBuilder, reference: &str) -> Result<()> {
        let file = self.data.path().join("image.tar");
        image.write_docker_archive(reference, &file)?;
        self.dunlin(&["image", "import", &file.to_string_lossy()])?;
        Ok(std::fs::remove_file(file)?)
    }

    /// Waits until the node (any, if `name` is empty) is Ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn wait_for_node(&self, name: &str) -> Result<()> {
        let kubectl = self.kubectl();
        wait::until("node ready", PATIENCE, || {
            let nodes = kubectl.json(&["nodes"])?;
            let ready = nodes["items"].as_array().into_iter().flatten().any(|node| {
                (name.is_empty() || node["metadata"]["name"] == name)
                    && node["status"]["conditions"]
                        .as_array()
                        .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
            });
            if ready { Ok(()) } else { bail!("nodes: {}", kubectl.run(&["get", "nodes"])?) }
        })
        .with_context(|| format!("the log of {:?}:\n{}", self.args, tail(&self.log())))
    }

    /// Fetches `http://address:port/path` from this machine.
    ///
    /// # Errors
    /// When it is not answered with 200.
    pub fn http(&self, address: &str, port: u16, path: &str) -> Result<String> {
        let mut command = self.host.command(&program::hello()?);
        command.args(["get", &format!("{address}:{port}"), path]);
        run(command)
    }
}

impl Drop for Dunlin {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of {:?}\n{}", self.args, tail(&self.log()));
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.stop(Duration::from_secs(10));
        }
        if let Err(error) = self.dunlin(&["reset", "--yes"]) {
            eprintln!("resetting {}: {error:#}", self.host.namespace().name());
        }
    }
}

/// The last lines of a log.
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

fn run(mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}{}",
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
