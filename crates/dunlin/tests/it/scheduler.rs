//! A scheduler in another language places pods: the example, run by the machine's Python.

use std::path::Path;

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::Dunlin;
use dunlin_testkit::host::Lan;
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::process::Process;
use dunlin_testkit::program;

use crate::support::pod_when;

fn pod(kubectl: &Kubectl, name: &str, node: &str, memory: &str) -> Result<()> {
    let selector = if node.is_empty() { String::new() } else { format!("kubernetes.io/hostname: {node}") };
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeSelector: {{{selector}}}\n  containers:\n  - name: c\n    image: never:pulled\n    imagePullPolicy: Never\n    resources: {{requests: {{cpu: 1m, memory: {memory}}}}}\n"
    ))?;
    Ok(())
}

#[test]
fn an_external_scheduler_decides_and_nobody_else_does() -> Result<()> {
    let lan = Lan::new()?;
    let server =
        Dunlin::server(&lan, &["--node-name", "one", "--scheduler", "external=http://127.0.0.1:8888/"])?;
    let _agent = Dunlin::agent(&lan, &server, "two", &[])?;
    let kubectl = server.kubectl();

    pod(&kubectl, "first", "one", "1Mi")?;
    let waits = pod_when(&kubectl, "first", |p| p["status"]["conditions"][0]["reason"] == "Unschedulable")?;
    let message = waits["status"]["conditions"][0]["message"].as_str().unwrap_or_default().to_owned();
    for part in
        ["the external scheduler failed", "cannot connect to http://127.0.0.1:8888/filter", "is it running?"]
    {
        ensure!(message.contains(part), "{part:?} is missing in {message:?}");
    }
    ensure!(kubectl.run(&["describe", "pod", "first"])?.contains("FailedScheduling"), "there is no event");

    let mut command = server.host.command(Path::new("python3"));
    command.arg(program::workspace().join("examples/scheduler.py"));
    command.arg("--kubeconfig").arg(server.data.path().join("kubeconfig.yaml"));
    let _scheduler = Process::start(command, &server.data.path().join("scheduler.log"))?;
    let bound = |name: &str, node: &str| -> Result<()> {
        let pod = pod_when(&kubectl, name, |p| p["spec"]["nodeName"].is_string())?;
        ensure!(pod["spec"]["nodeName"] == node, "{name} is on {}, not {node}", pod["spec"]["nodeName"]);
        Ok(())
    };
    bound("first", "one")?;
    pod(&kubectl, "second", "one", "1Mi")?;
    bound("second", "one")?;
    // Node two has fewer pods and less room: each built-in policy but bin-pack would spread the other way.
    pod(&kubectl, "large", "two", "2Gi")?;
    bound("large", "two")?;
    pod(&kubectl, "free", "", "1Mi")?;
    bound("free", "two")
}
