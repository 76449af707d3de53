//! StatefulSets with kubectl: order, names, updates, history.

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::wait;

use crate::support::{World, has};

const SET: &str = "
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  replicas: 3
  serviceName: peers
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: hello
        image: hello:test
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
";

#[test]
fn keeps_names_and_order_through_updates_and_back() -> Result<()> {
    let world = World::new()?;
    let kubectl = &world.kubectl;
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());
    kubectl.apply(SET)?;
    run("rollout status statefulset/web --timeout=90s")?;
    ensure!(run("get pods -o name")? == "pod/web-0\npod/web-1\npod/web-2\n");
    has(&run("get statefulset web")?, &["3/3"])?;
    has(&run("describe statefulset web")?, &["create Pod web-2 in StatefulSet web successful"])?;
    ensure!(run("exec web-1 -- /hello env")?.contains("HOSTNAME=web-1"));
    ensure!(run("get pod web-2 -o jsonpath={.spec.hostname}/{.spec.subdomain}")? == "web-2/peers");
    ensure!(run("get pods -l apps.kubernetes.io/pod-index=1 -o name")? == "pod/web-1\n");
    let born: Vec<String> = ["web-0", "web-1", "web-2"]
        .iter()
        .map(|pod| run(&format!("get pod {pod} -o jsonpath={{.metadata.creationTimestamp}}")))
        .collect::<Result<_>>()?;
    ensure!(born.is_sorted(), "they came in order: {born:?}");

    // An update stops at the partition, and goes on below it when that is lowered.
    run(r#"patch statefulset web -p {"spec":{"updateStrategy":{"rollingUpdate":{"partition":2}}}}"#)?;
    run("set env statefulset/web COLOUR=red")?;
    run("rollout status statefulset/web --timeout=90s")?;
    let colour = |pod: &str| run(&format!("get pod {pod} -o jsonpath={{..env[0].value}}"));
    ensure!(colour("web-2")? == "red" && colour("web-1")?.is_empty());
    // A pod under the partition comes back as it was.
    run("delete pod web-0")?;
    run("rollout status statefulset/web --timeout=90s")?;
    wait::until("web-0 again", PATIENCE, || {
        ensure!(run("get statefulset web")?.contains("3/3"));
        ensure!(colour("web-0")?.is_empty());
        Ok(())
    })?;
    run(r#"patch statefulset web -p {"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}"#)?;
    run("rollout status statefulset/web --timeout=90s")?;
    ensure!(colour("web-0")? == "red");

    ensure!(run("rollout history statefulset/web")?.contains('2'));
    run("rollout undo statefulset/web")?;
    run("rollout status statefulset/web --timeout=90s")?;
    ensure!(colour("web-0")?.is_empty() && colour("web-2")?.is_empty());
    ensure!(run("get controllerrevisions -o name")?.lines().count() == 2, "undo makes no new revision");

    run("scale statefulset/web --replicas=1")?;
    wait::until("the others gone", PATIENCE, || {
        ensure!(run("get pods -o name")? == "pod/web-0\n");
        Ok(())
    })?;
    run("delete statefulset web --cascade=orphan")?;
    ensure!(run("get pods -o name")? == "pod/web-0\n");
    // A new set of that name takes in the pod and the history.
    let uid = run("get pod web-0 -o jsonpath={.metadata.uid}")?;
    kubectl.apply(SET)?;
    run("rollout status statefulset/web --timeout=90s")?;
    ensure!(run("get pod web-0 -o jsonpath={.metadata.uid}")? == uid, "it was adopted");
    ensure!(run("get controllerrevisions -o name")?.lines().count() == 2);
    run("delete statefulset web --timeout=60s")?;
    wait::until("all gone", PATIENCE, || {
        ensure!(run("get pods,controllerrevisions -o name")?.is_empty());
        Ok(())
    })
}

#[test]
fn pods_find_their_data_again_and_claims_go_as_told() -> Result<()> {
    let world = World::new()?;
    let kubectl = &world.kubectl;
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());
    kubectl.apply(
        "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, whenDeleted: Retain}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: busybox:test
        command: [/bin/sh, -c, 'echo $(hostname) >> /data/starts; sleep 600']
        volumeMounts: [{name: data, mountPath: /data}]
",
    )?;
    run("rollout status statefulset/db --timeout=90s")?;
    ensure!(run("get pvc -o name")? == "persistentvolumeclaim/data-db-0\npersistentvolumeclaim/data-db-1\n");
    let uid = run("get pod db-1 -o jsonpath={.metadata.uid}")?;
    run("delete pod db-1 --timeout=60s")?;
    wait::until("the next db-1 with the data of the last", PATIENCE, || {
        ensure!(run("get pod db-1 -o jsonpath={.metadata.uid}")? != uid);
        ensure!(run("exec db-1 -- cat /data/starts")? == "db-1\ndb-1\n");
        Ok(())
    })?;
    run("scale statefulset/db --replicas=1")?;
    wait::until("the claim gone with its pod", PATIENCE, || {
        ensure!(run("get pvc -o name")? == "persistentvolumeclaim/data-db-0\n");
        Ok(())
    })?;
    run("delete statefulset db --timeout=60s")?;
    wait::until("the pods gone", PATIENCE, || {
        ensure!(run("get pods -o name")?.is_empty());
        Ok(())
    })?;
    ensure!(run("get pvc -o name")? == "persistentvolumeclaim/data-db-0\n", "it is kept");
    Ok(())
}
