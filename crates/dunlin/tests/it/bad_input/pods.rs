//! Pods that cannot run say why, in their status and in their events, and run when the reason is gone.

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::wait;

use crate::support::{World, has, running, waiting};

/// Waits until `kubectl describe` of the pod, which ends with its events, holds the words.
fn described(world: &World, pod: &str, words: &[&str]) -> Result<()> {
    wait::until(&format!("{words:?} in the description of {pod}"), PATIENCE, || {
        has(&world.kubectl.run(&["describe", "pod", pod])?, words)
    })
}

#[test]
fn images_and_commands_that_do_not_exist() -> Result<()> {
    let world = World::new()?;
    world.kubectl.run(&["run", "absent", "--image=127.0.0.1:1/no/such:image"])?;
    world.kubectl.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: misnamed}\nspec: {containers: [{name: c, image: 'Not/Valid:x:y'}]}\n",
    )?;
    world.kubectl.run(&["run", "never", "--image=not-here:test", "--image-pull-policy=Never"])?;
    world.kubectl.run(&["run", "misspelt", "--image=hello:test", "--command", "--", "/no-such-command"])?;

    world.pod_when("absent", |p| waiting("RegistryUnavailable")(p) || waiting("ImagePullBackOff")(p))?;
    described(&world, "absent", &["Failed to pull image", "127.0.0.1:1/no/such:image", "cannot be reached"])?;
    let misnamed = world.pod_when("misnamed", waiting("InvalidImageName"))?;
    has(&misnamed["status"].to_string(), &["Not/Valid:x:y"])?;
    let never = world.pod_when("never", waiting("ErrImageNeverPull"))?;
    has(&never["status"].to_string(), &["not-here:test", "dunlin image import"])?;
    let misspelt = world.pod_when("misspelt", |p| {
        p["status"]["containerStatuses"][0]["restartCount"] != 0 || waiting("CrashLoopBackOff")(p)
    })?;
    has(&misspelt["status"].to_string(), &["/no-such-command", "no such file or directory in the image"])?;
    described(&world, "misspelt", &["Error: ", "/no-such-command", "no such file or directory in the image"])
}

#[test]
fn limits_below_need_and_requests_above_what_there_is() -> Result<()> {
    let world = World::new()?;
    world.shell("vast", "true", "    resources: {requests: {memory: 900Ti}}", "")?;
    world.kubectl.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: hungry}
spec:
  containers: [{name: c, image: 'hello:test', args: [hog, '200'], resources: {limits: {memory: 32Mi}}}]
",
    )?;
    let vast = world.pod_when("vast", |p| p["status"]["conditions"][0]["reason"] == "Unschedulable")?;
    has(&vast["status"].to_string(), &["0/1 nodes are available: 1 Insufficient memory."])?;
    described(&world, "vast", &["FailedScheduling", "0/1 nodes are available: 1 Insufficient memory."])?;

    let hungry = world.pod_when("hungry", |p| {
        let status = &p["status"]["containerStatuses"][0];
        status["state"]["terminated"]["reason"] == "OOMKilled"
            || status["lastState"]["terminated"]["reason"] == "OOMKilled"
    })?;
    let why = ["needed more than its memory limit of 32Mi", "raise resources.limits.memory"];
    has(&hungry["status"].to_string(), &why)?;
    described(&world, "hungry", &why)?;
    described(&world, "hungry", &["BackOff", "Back-off restarting failed container c in pod hungry_default"])
}

#[test]
fn objects_and_keys_that_do_not_exist_yet() -> Result<()> {
    let world = World::new()?;
    let env = |kind: &str, name: &str, key: &str| {
        format!("    env: [{{name: A, valueFrom: {{{kind}: {{name: {name}, key: {key}}}}}}}]")
    };
    let volume = |source: &str| format!("  volumes: [{{name: v, {source}}}]");
    let mount = "    volumeMounts: [{name: v, mountPath: /v}]";
    world.kubectl.run(&["create", "configmap", "half", "--from-literal=other=x"])?;
    world.shell("env-map", "sleep 1000", &env("configMapKeyRef", "later-map", "a"), "")?;
    world.shell("env-secret", "sleep 1000", &env("secretKeyRef", "later-secret", "a"), "")?;
    world.shell("env-key", "sleep 1000", &env("configMapKeyRef", "half", "a"), "")?;
    world.shell("env-all", "sleep 1000", "    envFrom: [{configMapRef: {name: later-map}}]", "")?;
    world.shell("vol-map", "sleep 1000", mount, &volume("configMap: {name: later-map}"))?;
    world.shell("vol-secret", "sleep 1000", mount, &volume("secret: {secretName: later-secret}"))?;
    world.shell(
        "vol-key",
        "sleep 1000",
        mount,
        &volume("configMap: {name: half, items: [{key: a, path: a}]}"),
    )?;

    let absent =
        |kind: &str| format!("{kind} \"later-{}\" not found", if kind == "secret" { kind } else { "map" });
    for (pod, why) in [
        ("env-map", absent("configmap")),
        ("env-secret", absent("secret")),
        ("env-key", "couldn't find key a in ConfigMap default/half".to_owned()),
        ("env-all", absent("configmap")),
    ] {
        let seen = world.pod_when(pod, waiting("CreateContainerConfigError"))?;
        let message = &seen["status"]["containerStatuses"][0]["state"]["waiting"]["message"];
        ensure!(*message == *why, "{pod}: {message}");
        described(&world, pod, &["Warning  Failed", &format!("Error: {why}")])?;
    }
    for (pod, why) in [
        ("vol-map", absent("configmap")),
        ("vol-secret", absent("secret")),
        ("vol-key", "references non-existent config key: a".to_owned()),
    ] {
        let why = format!("MountVolume.SetUp failed for volume \"v\" : {why}");
        described(&world, pod, &["Warning  FailedMount", &why])?;
        ensure!(waiting("ContainerCreating")(&world.kubectl.json(&["pod", pod])?), "{pod}");
    }

    world.kubectl.run(&["create", "configmap", "later-map", "--from-literal=a=1"])?;
    world.kubectl.run(&["create", "secret", "generic", "later-secret", "--from-literal=a=1"])?;
    world.kubectl.run(&["patch", "configmap", "half", "-p", "{\"data\":{\"a\":\"1\"}}"])?;
    for pod in ["env-map", "env-secret", "env-key", "env-all", "vol-map", "vol-secret", "vol-key"] {
        world.pod_when(pod, running)?;
    }
    Ok(())
}
