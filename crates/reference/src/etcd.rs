//! etcd alone: one member or several, on this machine or on one of the test's network, to be killed and started again.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::tail;
use dunlin_testkit::host::Host;
use dunlin_testkit::process::Process;
use dunlin_testkit::wait;
use tempfile::TempDir;

use crate::components::component;

/// How long members may take to agree.
const PATIENCE: Duration = Duration::from_secs(60);

/// One member; it keeps its ports and its data.
struct Member {
    client: String,
    peer: String,
    process: Option<Process>,
}

/// A cluster. Dropping it ends its members and removes their data.
pub struct Etcd<'a> {
    members: Vec<Member>,
    host: Option<&'a Host>,
    flags: Vec<String>,
    data: TempDir,
}

impl<'a> Etcd<'a> {
    /// Starts `count` members on this machine.
    ///
    /// # Errors
    /// When etcd is not built or does not come up.
    pub fn local(count: usize) -> Result<Self> {
        Self::with(count, &[])
    }

    /// The same with more flags for each member.
    ///
    /// # Errors
    /// As above.
    pub fn with(count: usize, flags: &[String]) -> Result<Self> {
        let ports = free_ports(2 * count)?;
        let address = |port: &u16| format!("127.0.0.1:{port}");
        let pairs = ports.chunks(2).map(|pair| (address(&pair[0]), address(&pair[1]))).collect();
        Self::start_all(pairs, None, flags)
    }

    /// Starts `count` members on `host`.
    ///
    /// # Errors
    /// As above.
    pub fn on(host: &'a Host, count: u16) -> Result<Self> {
        let pair = |n: u16| {
            (format!("{}:{}", host.address, 2379 + 10 * n), format!("{}:{}", host.address, 2380 + 10 * n))
        };
        Self::start_all((0..count).map(pair).collect(), Some(host), &[])
    }

    fn start_all(addresses: Vec<(String, String)>, host: Option<&'a Host>, flags: &[String]) -> Result<Self> {
        let members =
            addresses.into_iter().map(|(client, peer)| Member { client, peer, process: None }).collect();
        let mut made = Self { members, host, flags: flags.to_vec(), data: tempfile::tempdir()? };
        for member in 0..made.members.len() {
            made.start(member)?;
        }
        made.wait()?;
        Ok(made)
    }

    /// `HOST:PORT` of every member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client.clone()).collect()
    }

    /// What `--store` is told.
    pub fn store(&self) -> String {
        format!("etcd://{}", self.endpoints().join(","))
    }

    /// Starts a member that does not run.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, member: usize) -> Result<()> {
        let secure = self.flags.iter().any(|flag| flag.starts_with("--cert-file"));
        let scheme = if secure { "https" } else { "http" };
        let cluster: Vec<String> = self
            .members
            .iter()
            .enumerate()
            .map(|(n, member)| format!("m{n}=http://{}", member.peer))
            .collect();
        let Member { client, peer, .. } = &self.members[member];
        let mut command = self.command()?;
        command.args([
            &format!("--name=m{member}"),
            &format!("--data-dir={}", self.file(&format!("m{member}")).display()),
            &format!("--listen-client-urls={scheme}://{client}"),
            &format!("--advertise-client-urls={scheme}://{client}"),
            &format!("--listen-peer-urls=http://{peer}"),
            &format!("--initial-advertise-peer-urls=http://{peer}"),
            &format!("--initial-cluster={}", cluster.join(",")),
            "--log-level=warn",
            "--heartbeat-interval=50",
            "--election-timeout=500",
        ]);
        command.args(&self.flags);
        self.members[member].process = Some(Process::start(command, &self.log_path(member))?);
        Ok(())
    }

    /// Ends a member as a power cut would.
    pub fn kill(&mut self, member: usize) {
        if let Some(mut process) = self.members[member].process.take() {
            process.kill();
        }
    }

    /// Waits until every running member accepts connections.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn wait(&mut self) -> Result<()> {
        for number in 0..self.members.len() {
            let log = self.log_path(number);
            let host = self.host;
            let member = &mut self.members[number];
            let Some(process) = member.process.as_mut() else { continue };
            let client = member.client.clone();
            wait::until("etcd's start", PATIENCE, || {
                ensure!(process.ended()?.is_none(), "it ended");
                match host {
                    Some(host) => {
                        let (address, port) = client.rsplit_once(':').context("an endpoint has a port")?;
                        host.namespace()
                            .shell(&format!("bash -c 'exec 3<>/dev/tcp/{address}/{port}'"))
                            .map(drop)
                    }
                    None => Ok(std::net::TcpStream::connect(&client).map(drop)?),
                }
            })
            .with_context(|| tail(&std::fs::read_to_string(log).unwrap_or_default()))?;
        }
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let program = component("etcd")?;
        Ok(self.host.map_or_else(|| Command::new(&program), |host| host.command(&program)))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    fn log_path(&self, member: usize) -> PathBuf {
        self.file(&format!("m{member}.log"))
    }

    /// Where its data lies.
    pub fn folder(&self) -> &Path {
        self.data.path()
    }
}

fn free_ports(count: usize) -> Result<Vec<u16>> {
    // All are taken at once, so that none is given twice.
    let taken: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    Ok(taken.iter().map(|socket| socket.local_addr().map(|a| a.port())).collect::<std::io::Result<_>>()?)
}
