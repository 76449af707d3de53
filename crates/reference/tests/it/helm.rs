//! helm, with a chart of average size: hooks, a dependency, values with a schema, `lookup`, upgrade, rollback, tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use dunlin_reference::components::component;
use dunlin_testkit::cluster::Dunlin;
use dunlin_testkit::host::Lan;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::kubectl::Kubectl;
use serde_json::Value;

/// A helm that talks to the cluster of one server, with folders of its own.
struct Helm<'a> {
    server: &'a Dunlin,
    program: PathBuf,
    chart: PathBuf,
}

/// The life of one release on a Dunlin server with its own agent.
pub fn run() -> Result<()> {
    let lan = Lan::new()?;
    let server = Dunlin::server(&lan, &["--node-name", "one"])?;
    server.import(&ImageBuilder::busybox()?, "busybox:test")?;
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/shop");
    let helm = Helm { server: &server, program: component("helm")?, chart };
    life(&helm, &server.kubectl())
}

fn life(helm: &Helm, kubectl: &Kubectl) -> Result<()> {
    let field = |kind: &str, name: &str, pointer: &str| -> Result<Value> {
        Ok(kubectl.json(&[kind, name])?.pointer(pointer).cloned().unwrap_or_default())
    };

    helm.run("lint {chart}")?;
    let said = helm.run("install shop {chart} --wait --timeout 120s")?;
    ensure!(said.contains("shop says hello."), "the notes are missing:\n{said}");
    ensure!(field("job", "shop-pre-install", "/status/succeeded")? == 1, "the hook has not run");
    ensure!(field("deployment", "shop", "/status/readyReplicas")? == 2, "install did not wait for the pods");
    ensure!(field("daemonset", "shop-cache", "/status/numberReady")? == 1, "nor for the dependency's");
    let key = field("secret", "shop-key", "/data/key")?;
    helm.run("test shop --timeout 60s")?;
    let told = helm.refused("install shop {chart}")?;
    ensure!(told.contains("cannot reuse a name"), "{told}");

    helm.run("upgrade shop {chart} --set greeting=moin --set replicas=3 --wait --timeout 120s")?;
    ensure!(field("configmap", "shop-page", "/data/index.html")? == "moin", "the upgrade changed no value");
    ensure!(field("deployment", "shop", "/status/readyReplicas")? == 3, "the upgrade did not wait");
    ensure!(field("job", "shop-post-upgrade", "/status/succeeded")? == 1, "the upgrade's hook has not run");
    ensure!(field("secret", "shop-key", "/data/key")? == key, "lookup did not find the secret");
    helm.run("test shop --timeout 60s")?;

    let told = helm.refused("upgrade shop {chart} --set replicas=-1")?;
    ensure!(told.contains("replicas"), "{told}");
    // A pod that never starts: helm gives up and goes back by itself.
    helm.refused(
        "upgrade shop {chart} --set image=registry.invalid/none:1 --no-hooks --rollback-on-failure --wait --timeout 5s",
    )?;
    let image = "/spec/template/spec/containers/0/image";
    ensure!(field("deployment", "shop", image)? == "busybox:test", "a failed upgrade was not taken back");

    helm.run("rollback shop 1 --wait --timeout 120s")?;
    ensure!(field("configmap", "shop-page", "/data/index.html")? == "hello", "the rollback changed nothing");
    ensure!(field("deployment", "shop", "/spec/replicas")? == 2, "nor the replicas");
    let history: Value = serde_json::from_str(&helm.run("history shop -o json")?)?;
    let revisions = history.as_array().map(Vec::len);
    ensure!(revisions == Some(5), "five revisions were made: {history}");

    helm.run("upgrade shop {chart} --set cache.enabled=false --wait --timeout 120s")?;
    let left = kubectl.refused(&["get", "daemonset", "shop-cache"], "")?;
    ensure!(left.contains("NotFound"), "the dependency was turned off and stayed: {left}");
    helm.run("uninstall shop --wait --timeout 120s")?;
    let left = kubectl.run(&[
        "get",
        "deployments,services,configmaps,secrets,serviceaccounts,roles,rolebindings",
        "-l",
        "app.kubernetes.io/instance=shop",
        "-o",
        "name",
    ])?;
    ensure!(left.is_empty(), "uninstalling left\n{left}");
    Ok(())
}

impl Helm<'_> {
    fn command(&self, line: &str) -> Command {
        let home = self.server.data.path().join("helm");
        let mut command = self.server.host.command(&self.program);
        command
            .args(line.split(' ').map(|word| word.replace("{chart}", &self.chart.display().to_string())))
            .env("KUBECONFIG", self.server.data.path().join("kubeconfig.yaml"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_DATA_HOME", home.join("data"));
        command
    }

    /// Runs it; words are separated by spaces.
    fn run(&self, line: &str) -> Result<String> {
        let output = self.command(line).output().context("starting helm")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !output.status.success() {
            bail!("helm {line}: {}{}", text(&output.stderr), text(&output.stdout));
        }
        Ok(text(&output.stdout))
    }

    /// Runs it, expects failure, and gives what it said.
    fn refused(&self, line: &str) -> Result<String> {
        match self.run(line) {
            Ok(said) => bail!("helm {line} succeeded: {said}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }
}
