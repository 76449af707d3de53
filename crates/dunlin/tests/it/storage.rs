//! Persistent volumes on one machine: from a claim to a directory that outlives its pods, and its end.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::wait;
use serde_json::Value;

use crate::support::{World, has, running};

/// A claim on `size`, with `more` lines in its spec.
fn claim(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec:\n  accessModes: [ReadWriteOnce]\n  resources: {{requests: {{storage: 1Gi}}}}\n{more}\n"
    )
}

/// A pod that has the claim at `/data` and runs `script`.
fn user(world: &World, name: &str, claim: &str, script: &str) -> Result<()> {
    world.shell(
        name,
        script,
        "    volumeMounts: [{name: data, mountPath: /data}]",
        &format!("  volumes: [{{name: data, persistentVolumeClaim: {{claimName: {claim}}}}}]"),
    )
}

/// The volume of a claim once it is bound.
fn volume_of(kubectl: &Kubectl, claim: &str) -> Result<Value> {
    wait::until(&format!("claim {claim} being bound"), PATIENCE, || {
        let claim = kubectl.json(&["pvc", claim])?;
        ensure!(claim["status"]["phase"] == "Bound", "{}", claim["status"]);
        kubectl.json(&["pv", claim["spec"]["volumeName"].as_str().unwrap_or_default()])
    })
}

fn folder(volume: &Value) -> Result<PathBuf> {
    let path = volume["spec"]["local"]["path"].as_str().context("the volume has no path")?;
    Ok(PathBuf::from(path))
}

fn gone(kubectl: &Kubectl, what: &str) -> Result<()> {
    wait::until(&format!("{what} being gone"), PATIENCE, || {
        let left = kubectl.run(&["get", what, "--ignore-not-found", "-o", "yaml"])?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })
}

#[test]
fn a_claim_gets_a_directory_that_outlives_its_pods_and_goes_with_it() -> Result<()> {
    let mut world = World::new()?;
    let kubectl = world.kubectl.clone();
    let classes = kubectl.run(&["get", "storageclass"])?;
    has(&classes, &["local-path (default)", "dunlin.io/local-path", "Delete", "WaitForFirstConsumer"])?;

    // Without a pod the claim waits, and says on what.
    kubectl.apply(&claim("data", ""))?;
    wait::until("the claim saying that it waits", PATIENCE, || {
        let said = kubectl.run(&["describe", "pvc", "data"])?;
        has(
            &said,
            &["Pending", "WaitForFirstConsumer", "waiting for first consumer to be created before binding"],
        )
    })?;
    user(&world, "writer", "data", "echo kept > /data/word; ls -ld /data; sleep 1000")?;
    world.pod_when("writer", running)?;
    let volume = volume_of(&kubectl, "data")?;
    let name = volume["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let path = folder(&volume)?;
    ensure!(std::fs::read_to_string(path.join("word"))? == "kept\n", "{}", path.display());
    let terms = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
    ensure!(terms["values"][0] == "one", "{terms}");
    has(&kubectl.run(&["get", "pvc"])?, &["Bound", &name, "1Gi", "RWO", "local-path"])?;
    has(
        &kubectl.run(&["get", "pv"])?,
        &[&name, "1Gi", "RWO", "Delete", "Bound", "default/data", "local-path"],
    )?;
    has(&kubectl.run(&["describe", "pvc", "data"])?, &["Used By:", "writer", "ProvisioningSucceeded"])?;

    // Another pod finds what the first wrote, also after server and agent were killed.
    kubectl.run(&["delete", "pod", "writer", "--timeout=30s"])?;
    user(&world, "reader", "data", "cat /data/word; while true; do sleep 1; done")?;
    world.log_with("reader", "kept")?;
    world.server.kill();
    world.server.start()?;
    world.server.wait_for_node("")?;
    let read = wait::until("the pod after the restart", PATIENCE, || {
        kubectl.run(&["exec", "reader", "--", "cat", "/data/word"])
    })?;
    ensure!(read == "kept\n", "{read}");

    // A claim in use waits for its pod; then everything goes.
    kubectl.run(&["delete", "pvc", "data", "--wait=false"])?;
    let going = kubectl.run(&["get", "pvc", "data"])?;
    ensure!(going.contains("Terminating") && path.join("word").exists(), "{going}");
    world.shell("late", "true", "", "  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]")?;
    world.pod_when("late", |pod| pod.to_string().contains("\\\"data\\\" is being deleted"))?;
    kubectl.run(&["delete", "pod", "late", "reader", "--timeout=30s"])?;
    gone(&kubectl, "pvc")?;
    gone(&kubectl, "pv")?;
    ensure!(!path.exists(), "{} is left", path.display());
    Ok(())
}

#[test]
fn retained_volumes_keep_what_is_in_them() -> Result<()> {
    let world = World::new()?;
    let kubectl = &world.kubectl;
    kubectl.apply("apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: kept}\nprovisioner: dunlin.io/local-path\nreclaimPolicy: Retain\nvolumeBindingMode: WaitForFirstConsumer\n")?;
    kubectl.apply(&claim("data", "  storageClassName: kept"))?;
    user(&world, "writer", "data", "echo kept > /data/word; sleep 1000")?;
    world.pod_when("writer", running)?;
    let volume = volume_of(kubectl, "data")?;
    let (name, path) = (volume["metadata"]["name"].as_str().unwrap_or_default().to_owned(), folder(&volume)?);
    kubectl.run(&["delete", "pod/writer", "pvc/data", "--timeout=30s"])?;
    wait::until("the volume being released", PATIENCE, || {
        let volume = kubectl.json(&["pv", &name])?;
        ensure!(volume["status"]["phase"] == "Released", "{}", volume["status"]);
        Ok(())
    })?;
    ensure!(path.join("word").exists());

    // Given to another claim by hand, as one does with Kubernetes.
    kubectl.run(&["patch", "pv", &name, "--type=merge", "-p", r#"{"spec":{"claimRef":null}}"#])?;
    kubectl.apply(&claim("again", &format!("  storageClassName: kept\n  volumeName: {name}")))?;
    user(&world, "reader", "again", "cat /data/word; sleep 1000")?;
    world.log_with("reader", "kept")?;
    kubectl.run(&["delete", "pod/reader", "pvc/again", "--timeout=30s"])?;
    kubectl.run(&["delete", "pv", &name, "--timeout=30s"])?;
    ensure!(path.join("word").exists(), "Retain keeps it though the volume's object is gone");
    Ok(())
}

#[test]
fn volumes_of_people_and_of_pods() -> Result<()> {
    let world = World::new()?;
    let kubectl = &world.kubectl;
    let dir = tempfile::tempdir()?;
    std::fs::create_dir_all(dir.path().join("sub"))?;
    std::fs::write(dir.path().join("sub/word"), "by hand\n")?;
    let place = |path: &Path| path.display().to_string();
    for (name, size) in [("large", "9Gi"), ("small", "2Gi"), ("tiny", "1Mi")] {
        kubectl.apply(&format!(
            "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\nspec:\n  capacity: {{storage: {size}}}\n  accessModes: [ReadWriteOnce]\n  hostPath: {{path: {}}}\n",
            place(dir.path())
        ))?;
    }
    // No class: bound at once, to the smallest that fits.
    kubectl.apply(&claim("mine", "  storageClassName: ''"))?;
    let volume = volume_of(kubectl, "mine")?;
    ensure!(volume["metadata"]["name"] == "small", "{}", volume["metadata"]["name"]);

    // Read-only, below a subPath, beside a volume that lives as long as the pod.
    world.shell(
        "both",
        "cat /data/word; touch /data/x && echo wrote; echo mine > /own/file; cat /own/file; sleep 1000",
        "    volumeMounts: [{name: data, mountPath: /data, subPath: sub}, {name: own, mountPath: /own}]",
        "  volumes:
  - {name: data, persistentVolumeClaim: {claimName: mine, readOnly: true}}
  - name: own
    ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}}",
    )?;
    let log = world.log_with("both", "mine")?;
    ensure!(log.contains("by hand") && !log.contains("wrote"), "{log}");
    let own = folder(&volume_of(kubectl, "both-own")?)?;
    ensure!(own.join("file").exists());
    kubectl.run(&["delete", "pod", "both", "--timeout=30s"])?;
    gone(kubectl, "pvc/both-own")?;
    wait::until("the directory being gone", PATIENCE, || {
        ensure!(!own.exists(), "{} is left", own.display());
        Ok(())
    })?;

    // What cannot be says why.
    user(&world, "lost", "nowhere", "true")?;
    let message =
        |pod: &Value| pod["status"]["conditions"][0]["message"].as_str().unwrap_or_default().to_owned();
    world.pod_when("lost", |pod| {
        message(pod) == "0/1 nodes are available: persistentvolumeclaim \"nowhere\" not found."
    })?;
    kubectl.apply(&claim("unbound", "  storageClassName: ''").replace("1Gi", "99Gi"))?;
    user(&world, "waits", "unbound", "true")?;
    world.pod_when("waits", |pod| {
        message(pod) == "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    })?;
    kubectl.apply(&claim("shared", "").replace("ReadWriteOnce", "ReadWriteMany"))?;
    user(&world, "sharing", "shared", "true")?;
    wait::until("the refusal", PATIENCE, || {
        has(
            &kubectl.run(&["describe", "pvc", "shared"])?,
            &["ProvisioningFailed", "ReadWriteMany needs storage"],
        )
    })?;
    let foreign = "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: foreign}\nspec:\n  capacity: {storage: 99Gi}\n  accessModes: [ReadWriteOnce]\n  nfs: {server: example.com, path: /}\n";
    kubectl.apply(foreign)?;
    wait::until("the event", PATIENCE, || {
        has(&kubectl.run(&["describe", "pod", "waits"])?, &["FailedMount", "does not support"])
    })
}
