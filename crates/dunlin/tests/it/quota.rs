//! ResourceQuotas and LimitRanges with kubectl.

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::wait;

use crate::support::{World, has};

const RULES: &str = "
apiVersion: v1
kind: ResourceQuota
metadata: {name: small}
spec: {hard: {pods: 2, requests.cpu: 300m, count/configmaps: 3}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: usual}
spec:
  limits:
  - {type: Container, defaultRequest: {cpu: 100m}, default: {cpu: 200m}, max: {cpu: '1'}}
";

fn pod(name: &str, resources: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: c, image: 'hello:test', args: [sleep], resources: {{{resources}}}}}]}}
"
    )
}

#[test]
fn quotas_and_limits_hold_and_are_given_back() -> Result<()> {
    let world = World::new()?;
    world.kubectl.run(&["create", "namespace", "team"])?;
    let kubectl = &world.kubectl.in_namespace("team");
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());
    kubectl.apply(RULES)?;
    let used = |name: &str, amount: &str| {
        wait::until(&format!("{name} at {amount}"), PATIENCE, || {
            let used = kubectl.json(&["resourcequota", "small"])?["status"]["used"].clone();
            ensure!(used[name] == amount, "{used}");
            Ok(())
        })
    };
    used("pods", "0")?;
    // The ConfigMap with the CA was there before.
    used("count/configmaps", "1")?;

    kubectl.apply(&pod("one", ""))?;
    ensure!(
        run(
            "get pod one -o jsonpath={.spec.containers[0].resources.requests.cpu}/{.spec.containers[0].resources.limits.cpu}"
        )? == "100m/200m"
    );
    has(
        &run("get pod one -o jsonpath={.metadata.annotations}")?,
        &["LimitRanger plugin set: cpu request for container c"],
    )?;
    used("requests.cpu", "100m")?;
    let large = kubectl.refused(&["apply", "-f", "-"], &pod("large", "limits: {cpu: 2}"))?;
    has(&large, &["pods \"large\" is forbidden: maximum cpu usage per Container is 1, but limit is 2"])?;
    let greedy = kubectl
        .refused(&["apply", "-f", "-"], &pod("greedy", "requests: {cpu: 250m}, limits: {cpu: 250m}"))?;
    has(
        &greedy,
        &[
            "pods \"greedy\" is forbidden: exceeded quota: small, requested: requests.cpu=250m, used: requests.cpu=100m, limited: requests.cpu=300m",
        ],
    )?;
    kubectl.apply(&pod("two", ""))?;
    let third = kubectl.refused(&["apply", "-f", "-"], &pod("three", ""))?;
    has(&third, &["exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2"])?;
    has(&run("describe resourcequota small")?, &["pods", "2     2", "200m  300m"])?;

    run("delete pod one two --timeout=60s")?;
    used("pods", "0")?;
    kubectl.apply(&pod("three", ""))?;
    used("requests.cpu", "100m")?;
    for name in ["a", "b"] {
        kubectl.run(&["create", "configmap", name])?;
    }
    let full = kubectl.refused(&["create", "configmap", "c"], "")?;
    has(
        &full,
        &[
            "exceeded quota: small, requested: count/configmaps=1, used: count/configmaps=3, limited: count/configmaps=3",
        ],
    )?;

    // Whose pods are refused says so.
    run("create deployment many --image=hello:test --replicas=3")?;
    wait::until("the refusal in an event", PATIENCE, || {
        has(&run("get events")?, &["FailedCreate", "exceeded quota: small"])
    })
}
