//! Every kubectl verb of the main job, on one server.

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::wait;

use crate::support::World;

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: hello
        image: hello:test
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
";

#[test]
fn drives_a_deployment_through_its_life() -> Result<()> {
    let world = World::new()?;
    let kubectl = &world.kubectl;
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());

    ensure!(kubectl.apply(DEPLOYMENT)?.contains("deployment.apps/web created"));
    run("rollout status deployment/web --timeout=90s")?;
    ensure!(kubectl.apply(DEPLOYMENT)?.contains("unchanged"));
    ensure!(kubectl.run_with(&["diff", "-f", "-"], DEPLOYMENT)?.is_empty(), "diff finds nothing");

    let table = run("get deployments -o wide")?;
    ensure!(table.contains("2/2") && table.contains("hello:test"), "{table}");
    let address = run("get pods -l app=web -o jsonpath={.items[0].status.podIP}")?;
    ensure!(world.server.http(&address, 8080, "/")?.starts_with("hello from web-"));
    ensure!(run("get pods -o yaml")?.contains("kind: List"));
    ensure!(run("describe deployment web")?.contains("ScalingReplicaSet"));
    ensure!(run("api-resources")?.contains("deployments"));
    ensure!(run("explain deployment.spec.replicas")?.contains("integer"));
    ensure!(run("get nodes -o wide")?.contains("Ready"));

    run("scale deployment/web --replicas=3")?;
    run("rollout status deployment/web --timeout=90s")?;
    run("wait --for=condition=Available deployment/web --timeout=60s")?;
    ensure!(run("get pods -l app=web -o name")?.lines().count() == 3);

    run("set image deployment/web hello=busybox:test")?;
    run("set env deployment/web COLOUR=red")?;
    run("rollout undo deployment/web --to-revision=1")?;
    run("rollout restart deployment/web")?;
    run("rollout status deployment/web --timeout=90s")?;
    ensure!(run("rollout history deployment/web")?.contains("REVISION"));
    ensure!(run("get deployment web -o jsonpath={..image}")?.contains("hello:test"));

    run("label deployment web tier=front")?;
    run("annotate deployment web note=kept")?;
    ensure!(run("get deployments -l tier=front -o name")?.contains("web"));
    ensure!(run("get deployment web -o jsonpath={.metadata.annotations.note}")? == "kept");

    let server_side =
        kubectl.run_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], DEPLOYMENT)?;
    ensure!(server_side.contains("serverside-applied"), "{server_side}");

    run("expose deployment web --port=80 --target-port=8080")?;
    wait::until("endpoints of the service", PATIENCE, || {
        let slices = kubectl.json(&["endpointslices", "-l", "kubernetes.io/service-name=web"])?;
        let endpoints = slices["items"][0]["endpoints"].as_array().map_or(0, Vec::len);
        ensure!(endpoints >= 2, "{slices}");
        Ok(())
    })?;

    let pod = run("get pods -l app=web -o jsonpath={.items[0].metadata.name}")?;
    ensure!(
        kubectl.run(&["exec", &pod, "--", "/hello", "env"])?.contains("KUBERNETES_SERVICE_HOST=169.254.")
    );
    ensure!(
        kubectl.run_with(&["exec", "-i", &pod, "--", "/hello", "cat"], "through the pipe")?
            == "through the pipe"
    );
    ensure!(kubectl.refused(&["exec", &pod, "--", "/hello", "exit", "7"], "")?.contains("exit code 7"));

    run("delete deployment web --timeout=60s")?;
    wait::until("pods gone with their Deployment", PATIENCE, || {
        let left = run("get pods,replicasets -o name")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

#[test]
fn runs_daemonsets_and_jobs_and_empties_namespaces() -> Result<()> {
    let world = World::new()?;
    let kubectl = &world.kubectl;
    kubectl.run(&["create", "namespace", "site"])?;
    kubectl.apply(
        "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: each, namespace: site}
spec:
  selector: {matchLabels: {app: each}}
  template:
    metadata: {labels: {app: each}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: 'hello:test', args: [sleep]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: site}
spec:
  completions: 3
  parallelism: 2
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: 'hello:test', args: [print, '3']}]}
",
    )?;
    kubectl.run(&["rollout", "status", "-n", "site", "daemonset/each", "--timeout=90s"])?;
    kubectl.run(&["wait", "-n", "site", "--for=condition=Complete", "job/once", "--timeout=90s"])?;
    ensure!(kubectl.json(&["job", "once", "-n", "site"])?["status"]["succeeded"] == 3);
    kubectl.run(&["delete", "namespace", "site", "--timeout=90s"])?;
    ensure!(kubectl.run(&["get", "pods", "-A", "-o", "name"])?.is_empty());
    Ok(())
}
