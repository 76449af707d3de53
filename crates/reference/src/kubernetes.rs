//! The real Kubernetes: etcd, API server, controllers and scheduler of one pinned version, on one machine of the test's
//! network. There are no nodes unless a test makes one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dunlin_pki::{Authority, Identity};
use dunlin_testkit::cluster::{PATIENCE, tail};
use dunlin_testkit::host::{Host, Network};
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::process::Process;
use dunlin_testkit::wait;
use tempfile::TempDir;

use crate::components::component;

/// Longer than any test.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// A running cluster without nodes. Dropping it ends its programs and removes its data.
#[derive(Debug)]
pub struct Kubernetes {
    // In the order in which they end: who asks before who answers.
    programs: Vec<Program>,
    /// Its machine.
    pub host: Host,
    data: TempDir,
}

/// One of its programs.
#[derive(Debug)]
struct Program {
    name: String,
    flags: Vec<String>,
    /// Nothing while it is stopped.
    process: Option<Process>,
}

impl Program {
    fn log(&self) -> String {
        self.process.as_ref().map(|process| tail(&process.log())).unwrap_or_default()
    }
}

impl Kubernetes {
    /// Starts it on a new machine of `network` and waits until it is ready.
    ///
    /// # Errors
    /// When a component is not built or does not come up; the message holds its log.
    pub fn start(network: &impl Network) -> Result<Self> {
        Self::start_with(network, &[], &[])
    }

    /// The same with more flags for its API server and its controller manager.
    ///
    /// # Errors
    /// When a component is not built or does not come up; the message holds its log.
    pub fn start_with(network: &impl Network, more: &[String], controllers: &[&str]) -> Result<Self> {
        let host = network.host()?;
        let mut made = Self { programs: Vec::new(), host, data: tempfile::tempdir()? };
        made.certificates()?;
        made.etcd()?;
        made.api_server(more)?;
        let kubeconfig = format!("--kubeconfig={}", made.kubeconfig().display());
        let ca = made.file("ca.crt");
        made.run("kube-scheduler", &[&kubeconfig, "--leader-elect=false"])?;
        let own = [
            &kubeconfig,
            "--leader-elect=false",
            "--use-service-account-credentials",
            &format!("--service-account-private-key-file={}", made.file("admin.key")),
            &format!("--root-ca-file={ca}"),
            &format!("--cluster-signing-cert-file={ca}"),
            &format!("--cluster-signing-key-file={}", made.file("ca.key")),
            "--concurrent-namespace-syncs=4",
        ];
        made.run("kube-controller-manager", &[&own[..], controllers].concat())?;
        Ok(made)
    }

    /// Its API's address.
    pub fn url(&self) -> String {
        format!("https://{}:6443", self.host.address)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.path().join("kubeconfig.yaml")
    }

    /// kubectl as the administrator, on its machine.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.kubeconfig()).inside(self.host.namespace().name())
    }

    /// The last lines that each of its programs has logged.
    pub fn log(&self) -> String {
        self.programs.iter().map(Program::log).collect::<Vec<_>>().join("\n----\n")
    }

    /// Ends one of its programs at once. Asked to end, the API server would wait for watches for a minute.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        let program =
            self.programs.iter_mut().find(|program| program.name == name).context("no such program")?;
        if let Some(mut process) = program.process.take() {
            process.kill();
        }
        Ok(())
    }

    /// Starts a program again that was stopped; whether it answers is for the caller to wait for.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn resume(&mut self, name: &str) -> Result<()> {
        let at = self.programs.iter().position(|program| program.name == name).context("no such program")?;
        let flags = self.programs[at].flags.clone();
        self.programs[at].process = Some(self.launch(name, &flags)?);
        Ok(())
    }

    /// Its CA.
    ///
    /// # Errors
    /// When its files are not there any more.
    pub fn authority(&self) -> Result<Authority> {
        Ok(Authority::open_or_create(self.data.path(), "reference")?)
    }

    /// A file below its data folder, by its name.
    pub fn file(&self, name: &str) -> String {
        self.data.path().join(name).display().to_string()
    }

    /// A CA, the API server's certificate, the administrator's, and a kubeconfig.
    fn certificates(&self) -> Result<()> {
        let folder = self.data.path();
        let authority = self.authority()?;
        let names = [&self.host.address, "127.0.0.1", "10.43.0.1", "localhost", "kubernetes.default.svc"]
            .map(str::to_owned);
        write(folder, "server", &authority.issue_server(&names, LIFE)?)?;
        write(folder, "admin", &authority.issue_client("admin", &["system:masters".to_owned()], LIFE)?)?;
        let (ca, certificate, key) = (self.file("ca.crt"), self.file("admin.crt"), self.file("admin.key"));
        let kubeconfig = format!(
            "apiVersion: v1
kind: Config
clusters: [{{name: reference, cluster: {{server: '{url}', certificate-authority: '{ca}'}}}}]
users: [{{name: admin, user: {{client-certificate: '{certificate}', client-key: '{key}'}}}}]
contexts: [{{name: reference, context: {{cluster: reference, user: admin}}}}]
current-context: reference
",
            url = self.url()
        );
        Ok(std::fs::write(self.kubeconfig(), kubeconfig)?)
    }

    fn etcd(&mut self) -> Result<()> {
        let data = format!("--data-dir={}", self.file("etcd"));
        // What is kept here is worth nothing after the test.
        self.run("etcd", &[&data, "--unsafe-no-fsync", "--log-level=warn"])
    }

    fn api_server(&mut self, more: &[String]) -> Result<()> {
        let flag = |name: &str, file: &str| format!("--{name}={}", self.file(file));
        let flags = [
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            format!("--advertise-address={}", self.host.address),
            "--secure-port=6443".to_owned(),
            flag("cert-dir", "own"),
            flag("tls-cert-file", "server.crt"),
            flag("tls-private-key-file", "server.key"),
            flag("client-ca-file", "ca.crt"),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            // Which key signs tokens does not matter to anybody here.
            flag("service-account-key-file", "admin.crt"),
            flag("service-account-signing-key-file", "admin.key"),
            "--service-cluster-ip-range=10.43.0.0/16".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--enable-bootstrap-token-auth".to_owned(),
            "--allow-privileged".to_owned(),
            flag("kubelet-client-certificate", "admin.crt"),
            flag("kubelet-client-key", "admin.key"),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ];
        let flags: Vec<&str> = flags.iter().chain(more).map(String::as_str).collect();
        self.run("kube-apiserver", &flags)?;
        let kubectl = self.kubectl();
        wait::until("the API server's start", PATIENCE, || {
            for process in self.programs.iter_mut().filter_map(|program| program.process.as_mut()) {
                ensure!(process.ended()?.is_none(), "a component ended:\n{}", tail(&process.log()));
            }
            kubectl.run(&["get", "--raw", "/readyz"]).map(drop)
        })
        .with_context(|| self.log())
    }

    fn run(&mut self, name: &str, flags: &[&str]) -> Result<()> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let process = Some(self.launch(name, &flags)?);
        self.programs.insert(0, Program { name: name.to_owned(), flags, process });
        Ok(())
    }

    fn launch(&self, name: &str, flags: &[String]) -> Result<Process> {
        let mut command = self.host.command(&component(name)?);
        command.args(flags);
        Process::start(command, &self.data.path().join(format!("{name}.log")))
    }
}

fn write(folder: &Path, name: &str, identity: &Identity) -> Result<()> {
    std::fs::write(folder.join(format!("{name}.crt")), &identity.cert_pem)?;
    Ok(std::fs::write(folder.join(format!("{name}.key")), &identity.key_pem)?)
}
