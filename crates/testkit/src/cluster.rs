//! A server and agents as processes, started as a user starts them, on a machine of the test's own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::disk::SmallDisk;
use crate::host::{Host, Lan};
use crate::image::ImageBuilder;
use crate::kubectl::Kubectl;
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
    /// What the data folder lies on, if not on the machine's disk. Before the folder: it is unmounted first.
    pub disk: Option<SmallDisk>,
    /// The data folder.
    pub data: TempDir,
    args: Vec<String>,
    process: Option<Process>,
}

impl Dunlin {
    /// Starts a server with its own agent on a new machine of `lan` and waits until its node is ready.
    ///
    /// # Errors
    /// When it does not come up; the message holds its log.
    pub fn server(lan: &Lan, more: &[&str]) -> Result<Self> {
        let server = Self::lone_server(lan, more)?;
        server.wait_for_node("")?;
        Ok(server)
    }

    /// Starts a server on a new machine of `lan` and waits until its API answers; it may be told to run no agent.
    ///
    /// # Errors
    /// When it does not come up; the message holds its log.
    pub fn lone_server(lan: &Lan, more: &[&str]) -> Result<Self> {
        Self::server_in(lan, tempfile::tempdir()?, None, more)
    }

    /// The same as [`Self::server`], with its data on a disk of `mib` MiB.
    ///
    /// # Errors
    /// When the disk cannot be mounted, or the server does not come up.
    pub fn server_on_small_disk(lan: &Lan, mib: u32, more: &[&str]) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let disk = SmallDisk::mount(data.path(), mib)?;
        let server = Self::server_in(lan, data, Some(disk), more)?;
        server.wait_for_node("")?;
        Ok(server)
    }

    fn server_in(lan: &Lan, data: TempDir, disk: Option<SmallDisk>, more: &[&str]) -> Result<Self> {
        let host = lan.host()?;
        let listen = format!("{}:6443", host.address);
        let mut args = vec!["server".to_owned(), "--listen".to_owned(), listen];
        args.extend(more.iter().map(|w| (*w).to_owned()));
        let mut server = Self { host, disk, data, args, process: None };
        server.start()?;
        wait::until("the API answering", PATIENCE, || server.kubectl().run(&["get", "namespaces"]))
            .with_context(|| format!("the log of {:?}:\n{}", server.args, tail(&server.log())))?;
        Ok(server)
    }

    /// Starts an agent on a new machine of `lan`, joined to `server` by its token.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn agent(lan: &Lan, server: &Self, name: &str, more: &[&str]) -> Result<Self> {
        let token =
            std::fs::read_to_string(server.data.path().join("token")).context("reading the join token")?;
        let agent = Self::agent_with(lan, server, name, token.trim(), more)?;
        server.wait_for_node(name)?;
        Ok(agent)
    }

    /// Starts an agent with this token on a new machine of `lan`, and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn agent_with(lan: &Lan, server: &Self, name: &str, token: &str, more: &[&str]) -> Result<Self> {
        let host = lan.host()?;
        let url = format!("https://{}:6443", server.host.address);
        let mut args: Vec<String> =
            ["agent", "--server", &url, "--token", token, "--node-name", name].map(str::to_owned).into();
        args.extend(more.iter().map(|w| (*w).to_owned()));
        let mut agent = Self { host, disk: None, data: tempfile::tempdir()?, args, process: None };
        agent.start()?;
        Ok(agent)
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
        Kubectl::new(&self.data.path().join("kubeconfig.yaml")).inside(&self.host.netns)
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
            eprintln!("resetting {}: {error:#}", self.host.netns);
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
