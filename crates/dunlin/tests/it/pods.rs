//! What a pod may ask of its node: environment, volumes, probes, hooks, limits, logs.

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::wait;

use crate::support::{World, running, terminal, waiting};

#[test]
fn gives_environment_and_volumes_from_every_source() -> Result<()> {
    let world = World::new()?;
    world.kubectl.run(&["create", "configmap", "settings", "--from-literal=colour=red"])?;
    world.kubectl.run(&["create", "secret", "generic", "login", "--from-literal=password=opensesame"])?;
    world.shell(
        "full",
        "cat /settings/colour /login/password; echo; env; cat /info/labels; echo written > /scratch/file; cat /scratch/file; while true; do sleep 1; done",
        "    env:
    - {name: PLAIN, value: plain}
    - {name: EXPANDED, value: 'not-$(PLAIN)'}
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    envFrom: [{prefix: FROM_, configMapRef: {name: settings}}]
    resources: {limits: {memory: 64Mi}}
    volumeMounts:
    - {name: settings, mountPath: /settings}
    - {name: login, mountPath: /login, readOnly: true}
    - {name: info, mountPath: /info}
    - {name: scratch, mountPath: /scratch}
    - {name: memory, mountPath: /memory}",
        "  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: login, secret: {secretName: login}}
  - {name: info, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: scratch, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}",
    )?;
    world.pod_when("full", running)?;
    let log = world.log_with("full", "written")?;
    for line in [
        "redopensesame",
        "PLAIN=plain",
        "EXPANDED=not-plain",
        "COLOUR=red",
        "PASSWORD=opensesame",
        "POD=full",
        "LIMIT=64",
        "FROM_colour=red",
        "app=\"full\"",
    ] {
        ensure!(log.contains(line), "{line} is missing in {log}");
    }
    let mounts = world.kubectl.run(&["exec", "full", "--", "df", "/memory"])?;
    ensure!(mounts.contains("1024"), "a memory volume has its size limit: {mounts}");
    let token =
        world.kubectl.run(&["exec", "full", "--", "ls", "/var/run/secrets/kubernetes.io/serviceaccount"])?;
    ensure!(token.contains("token") && token.contains("ca.crt") && token.contains("namespace"), "{token}");

    world.kubectl.run(&["patch", "configmap", "settings", "-p", r#"{"data":{"colour":"blue"}}"#])?;
    wait::until("the volume following its ConfigMap", PATIENCE, || {
        let now = world.kubectl.run(&["exec", "full", "--", "cat", "/settings/colour"])?;
        ensure!(now == "blue", "it says {now}");
        Ok(())
    })
}

#[test]
fn orders_init_containers_and_obeys_probes_and_hooks() -> Result<()> {
    let world = World::new()?;
    world.kubectl.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  terminationGracePeriodSeconds: 5
  volumes: [{name: shared, emptyDir: {}}]
  initContainers:
  - {name: first, image: 'busybox:test', command: [/bin/sh, -c, 'echo first > /shared/order'], volumeMounts: [{name: shared, mountPath: /shared}]}
  - {name: second, image: 'busybox:test', command: [/bin/sh, -c, 'echo second >> /shared/order'], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
  - name: web
    image: hello:test
    volumeMounts: [{name: shared, mountPath: /shared}]
    ports: [{name: http, containerPort: 8080}]
    startupProbe: {tcpSocket: {port: http}, periodSeconds: 1, failureThreshold: 30}
    readinessProbe: {exec: {command: [/hello, read, /shared/order]}, periodSeconds: 1}
    livenessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1, failureThreshold: 2}
    lifecycle:
      postStart: {exec: {command: [/hello, env]}}
",
    )?;
    let pod = world.pod_when("probed", running)?;
    let order =
        world.kubectl.run(&["exec", "probed", "-c", "web", "--", "/hello", "read", "/shared/order"])?;
    ensure!(order == "first\nsecond\n", "{order}");
    let address = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
    world.server.http(&address, 8080, "/fall-ill")?;
    world.pod_when("probed", |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"] == 1 && running(pod)
    })?;
    ensure!(world.kubectl.run(&["describe", "pod", "probed"])?.contains("Unhealthy"));
    ensure!(world.kubectl.run(&["logs", "probed", "-c", "web", "--previous"])?.contains("/fall-ill"));
    Ok(())
}

#[test]
fn tells_why_containers_ended() -> Result<()> {
    let world = World::new()?;
    world.shell("failing", "echo before; exit 3", "", "")?;
    let pod = world.pod_when("failing", waiting("CrashLoopBackOff"))?;
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    ensure!(last["exitCode"] == 3 && last["reason"] == "Error", "{last}");

    world.kubectl.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: hungry}
spec:
  restartPolicy: Never
  containers: [{name: c, image: 'hello:test', args: [hog, '200'], resources: {limits: {memory: 32Mi}}}]
",
    )?;
    let pod = world.pod_when("hungry", |pod| pod["status"]["phase"] == "Failed")?;
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    ensure!(ended["reason"] == "OOMKilled" && ended["exitCode"] == 137, "{ended}");

    world.shell("fine", "exit 0", "", "  restartPolicy: OnFailure")?;
    world.pod_when("fine", |pod| pod["status"]["phase"] == "Succeeded")?;
    Ok(())
}

#[test]
fn serves_logs_and_a_terminal_and_ends_with_grace() -> Result<()> {
    let world = World::new()?;
    world.shell(
        "talking",
        "trap 'echo goodbye; exit 0' TERM; for i in $(seq 1 20); do echo line $i; done; while true; do sleep 0.1; done",
        "",
        "",
    )?;
    world.pod_when("talking", running)?;
    world.log_with("talking", "line 20")?;
    let kubectl = &world.kubectl;
    ensure!(kubectl.run(&["logs", "talking", "--tail=2"])? == "line 19\nline 20\n");
    ensure!(kubectl.run(&["logs", "talking", "--since=1h"])?.lines().count() == 20);
    ensure!(kubectl.run(&["logs", "talking", "--timestamps", "--tail=1"])?.contains("Z line 20"));

    let said =
        terminal(kubectl, "true", &["exec", "-it", "talking", "--", "/bin/sh", "-c", "tty; stty size"])?;
    ensure!(said.contains("/dev/pts/") || said.contains("/dev/console"), "no terminal inside: {said}");

    let follow = kubectl.command(&["logs", "-f", "talking"]).stdout(std::process::Stdio::piped()).spawn()?;
    kubectl.run(&["delete", "pod", "talking", "--timeout=30s"])?;
    let followed = follow.wait_with_output()?;
    ensure!(String::from_utf8_lossy(&followed.stdout).contains("goodbye"), "SIGTERM was heard and logged");

    world.kubectl.run(&["run", "stubborn", "--image=hello:test", "--", "stubborn"])?;
    world.pod_when("stubborn", running)?;
    kubectl.run(&["delete", "pod", "stubborn", "--grace-period=1", "--timeout=30s"])?;
    Ok(())
}
