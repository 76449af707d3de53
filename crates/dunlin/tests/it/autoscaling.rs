//! What nodes and pods use, with `kubectl top`, and sizes that follow it.

use std::time::Duration;

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::wait;

use crate::support::{World, has};

const BUSY: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  replicas: 1
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: busybox:test
        command: [/bin/sh, -c, 'while test ! -f /calm; do :; done; sleep 600']
        resources: {requests: {cpu: 20m}, limits: {cpu: 100m}}
";

#[test]
fn top_tells_what_is_used_and_the_size_follows() -> Result<()> {
    let world = World::new()?;
    let kubectl = &world.kubectl;
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());
    kubectl.apply(BUSY)?;
    run("rollout status deployment/busy --timeout=90s")?;
    wait::until("the pod's use", PATIENCE, || {
        let pods = run("top pods -l app=busy --no-headers")?;
        let words: Vec<&str> = pods.split_whitespace().collect();
        let cpu: u32 = words[1].trim_end_matches('m').parse()?;
        ensure!(words[0].starts_with("busy-") && (50..=150).contains(&cpu), "{pods}");
        Ok(())
    })?;
    has(&run("top pods --containers")?, &["main"])?;
    let node = run("top nodes --no-headers")?;
    ensure!(node.starts_with("one ") && node.contains('%'), "{node}");
    ensure!(kubectl.refused(&["top", "pod", "nobody"], "")?.contains("not found"));
    let raw = run("get --raw /apis/metrics.k8s.io/v1beta1/namespaces/default/pods")?;
    has(&raw, &["PodMetricsList", "\"window\"", "\"cpu\":\""])?;

    run("autoscale deployment busy --min=1 --max=3 --cpu-percent=50")?;
    wait::until("more pods", Duration::from_secs(120), || {
        ensure!(
            run("get deployment busy -o jsonpath={.spec.replicas}")? == "3",
            "{}",
            run("describe hpa busy")?
        );
        Ok(())
    })?;
    let told = run("describe hpa busy")?;
    has(
        &told,
        &[
            "SuccessfulRescale",
            "ValidMetricFound",
            "cpu resource utilization (percentage of request) above target",
        ],
    )?;
    has(&run("get hpa busy")?, &["Deployment/busy", "/50%"])?;

    // Other metrics are refused where a person sees it.
    kubectl.apply(
        "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: foreign}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  maxReplicas: 3
  metrics: [{type: Pods, pods: {metric: {name: requests}, target: {type: AverageValue, averageValue: '1'}}}]
",
    )?;
    wait::until("the refusal", PATIENCE, || {
        let text = run("describe hpa foreign")?;
        has(&text, &["FailedGetPodsMetric", "this cluster does not serve custom.metrics.k8s.io"])
    })
}
