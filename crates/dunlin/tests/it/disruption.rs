//! Disruption budgets: what they allow, and that evictions, drains and preemption respect them.

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::{Dunlin, PATIENCE};
use dunlin_testkit::wait;

use crate::support::{World, has};

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: hello
        image: hello:test
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
";

#[test]
fn a_drain_waits_for_the_budget() -> Result<()> {
    let world = World::new()?;
    let kubectl = &world.kubectl;
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());
    kubectl.apply(WEB)?;
    run("rollout status deployment/web --timeout=90s")?;
    wait::until("the budget's status", PATIENCE, || {
        let status = kubectl.json(&["pdb", "web"])?["status"].clone();
        ensure!(status["currentHealthy"] == 2 && status["expectedPods"] == 2, "{status}");
        ensure!(status["disruptionsAllowed"] == 0 && status["desiredHealthy"] == 2, "{status}");
        ensure!(status["conditions"][0]["reason"] == "InsufficientPods", "{status}");
        Ok(())
    })?;
    let drain = ["drain", "one", "--ignore-daemonsets", "--timeout=8s"];
    let refused = kubectl.refused(&drain, "")?;
    has(&refused, &["Cannot evict pod as it would violate the pod's disruption budget.", "web-"])?;
    ensure!(run("get pods -l app=web --field-selector status.phase=Running -o name")?.lines().count() == 2);

    // A second machine gives the pods another place; with a budget of one they move one after the other.
    let other = Dunlin::agent(&world.lan, &world.server, "two", &[])?;
    other.import(&dunlin_testkit::image::ImageBuilder::hello()?, "hello:test")?;
    kubectl.run(&["patch", "pdb", "web", "--type=merge", "-p", r#"{"spec":{"minAvailable":1}}"#])?;
    kubectl.run(&["drain", "one", "--ignore-daemonsets", "--timeout=90s"])?;
    run("rollout status deployment/web --timeout=90s")?;
    let places = run("get pods -l app=web -o jsonpath={.items[*].spec.nodeName}")?;
    ensure!(places == "two two", "{places}");
    wait::until("the budget to allow one again", PATIENCE, || {
        has(&run("get pdb web")?, &["web", "1", "N/A", "1"])?;
        let status = kubectl.json(&["pdb", "web"])?["status"].clone();
        ensure!(status["disruptionsAllowed"] == 1, "{status}");
        ensure!(status["disruptedPods"].as_object().is_none_or(serde_json::Map::is_empty), "{status}");
        Ok(())
    })
}
