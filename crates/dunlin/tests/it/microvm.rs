//! Virtual machines as pods.

use std::process::Command;

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::guest::kernel::Kernel;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::process::Process;
use dunlin_testkit::{program, wait};

use crate::support::{Server, World, has};

/// One manifest; only the class differs.
fn deployment(name: &str, class: &str) -> String {
    let server = Server {
        replicas: 1,
        more: "args: [serve]
        resources: {limits: {memory: 64Mi}}
        volumeMounts:
        - {name: words, mountPath: /words}
        - {name: secret, mountPath: /secret, readOnly: true}
        - {name: scratch, mountPath: /scratch}",
        pod_more: "terminationGracePeriodSeconds: 5
      initContainers:
      - {name: first, image: 'hello:test', args: [print, '1']}
      volumes:
      - {name: words, configMap: {name: words}}
      - {name: secret, secret: {secretName: secret}}
      - {name: scratch, emptyDir: {}}",
        ..Server::new(name, class, "hello:test")
    };
    server.manifest()
}

const OBJECTS: &str = "
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: container}
handler: oci
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: machine}
handler: microvm
overhead: {podFixed: {memory: 240Mi}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {word: before}
---
apiVersion: v1
kind: Secret
metadata: {name: secret}
stringData: {key: hidden}
";

/// What runs on the host for a machine, as the kernel cuts their names off.
const QEMU: &str = "qemu-system-x86";
const FILES: &str = "virtiofsd";

fn world() -> Result<World> {
    let kernel = Kernel::find()?;
    let (kernel, modules) = (kernel.image.display().to_string(), kernel.modules.display().to_string());
    World::told(&["--microvm-kernel", &kernel, "--microvm-modules", &modules])
}

#[test]
fn one_manifest_as_container_and_as_virtual_machine() -> Result<()> {
    let mut world = world()?;
    world.kubectl.apply(OBJECTS)?;
    for (name, class) in [("boxed", "container"), ("booted", "machine")] {
        world.kubectl.apply(&deployment(name, class))?;
    }
    let kubectl = world.kubectl.clone();
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());
    let node = kubectl.json(&["node", "one"])?;
    let label =
        node["metadata"]["labels"]["runtime.dunlin.io/microvm"].as_str().unwrap_or_default().to_owned();
    ensure!(["kvm", "tcg"].contains(&label.as_str()), "{node}");
    let mut addresses = Vec::new();
    for name in ["boxed", "booted"] {
        run(&format!("rollout status deployment/{name} --timeout=120s"))?;
        let pods = kubectl.json(&["pods", "-l", &format!("app={name}")])?;
        let pod = &pods["items"][0];
        let (Some(pod), Some(ip)) = (pod["metadata"]["name"].as_str(), pod["status"]["podIP"].as_str())
        else {
            anyhow::bail!("{pods}")
        };
        // The same whether it is a container or a machine.
        ensure!(world.server.http(ip, 8080, "/")?.contains(&format!("hello from {pod}")), "{ip}");
        has(&run(&format!("logs {pod} -c c"))?, &["listening on port 8080", "GET / HTTP/1.1 -> 200 OK"])?;
        ensure!(run(&format!("logs {pod} -c first"))? == "line 0\n");
        has(&run(&format!("exec {pod} -c c -- /hello env"))?, &["GREETING=good morning\n"])?;
        ensure!(run(&format!("exec {pod} -c c -- /hello read /words/word"))? == "before");
        ensure!(run(&format!("exec {pod} -c c -- /hello read /secret/key"))? == "hidden");
        let failed = run(&format!("exec {pod} -c c -- /hello exit 7")).unwrap_err();
        has(&format!("{failed:#}"), &["exit code 7"])?;
        addresses.push((pod.to_owned(), ip.to_owned()));
    }
    // What a program leaves as its last message comes out of the guest as well.
    world.shell(
        "last",
        "echo why > /dev/termination-log; exit 4",
        "",
        "  runtimeClassName: machine\n  restartPolicy: Never",
    )?;
    let last = world.pod_when("last", |pod| pod["status"]["phase"] == "Failed")?;
    let last = &last["status"]["containerStatuses"][0]["state"]["terminated"];
    ensure!(last["exitCode"] == 4 && last["message"] == "why\n", "{last}");
    let (machine, address) = addresses.remove(1);
    let neighbour = addresses.remove(0).1;
    // It has a kernel of its own, a way out, and a way in from the other pod.
    let version = run(&format!("exec {machine} -c c -- /hello read /proc/version"))?;
    ensure!(version != std::fs::read_to_string("/proc/version")?, "{version}");
    has(&run(&format!("exec {machine} -c c -- /hello get {neighbour}:8080 /"))?, &["hello from boxed"])?;
    let from_box = format!("exec deployment/boxed -c c -- /hello get {address}:8080 /");
    has(&run(&from_box)?, &["hello from booted"])?;
    if label == "tcg" {
        has(&run(&format!("describe pod {machine}"))?, &["Emulated", "processor is emulated (tcg)"])?;
    }
    let forward =
        kubectl.command(&["port-forward", "--address=127.0.0.1", &format!("pod/{machine}"), "18080:8080"]);
    let forward = Process::start(forward, &world.server.data.path().join("port-forward"))?;
    wait::until("an answer through the forwarded port", PATIENCE, || {
        has(&world.server.http("127.0.0.1", 18080, "/")?, &["hello from booted"])
    })?;
    drop(forward);
    // What a ConfigMap says now appears in a machine that runs.
    kubectl.run(&["patch", "configmap", "words", "-p", r#"{"data":{"word":"after"}}"#])?;
    wait::until("the new word", 2 * PATIENCE, || {
        let word = run(&format!("exec {machine} -c c -- /hello read /words/word"))?;
        ensure!(word == "after", "{word}");
        Ok(())
    })?;

    for program in [QEMU, FILES] {
        ensure!(world.server.running(program)? > 0, "{program} runs");
    }
    let list = || {
        kubectl.run(&["get", "pods", "-l", "app=booted", "-o", "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {end}"])
    };
    let before = list()?;
    world.server.kill();
    world.server.start()?;
    world.server.wait_for_node("")?;
    ensure!(list()? == before, "{before} became {}", list()?);
    has(&world.server.http(&address, 8080, "/")?, &["hello from booted"])?;
    has(&run(&format!("exec {machine} -c c -- /hello env"))?, &["GREETING=good morning\n"])?;

    run("delete deployment booted boxed --timeout=60s")?;
    run("delete pod last --timeout=60s")?;
    wait::until("the pods gone", PATIENCE, || {
        let left = run("get pods -o name")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })?;
    for program in [QEMU, FILES] {
        ensure!(world.server.running(program)? == 0, "{program} is left");
    }
    Ok(())
}

#[test]
fn what_is_missing_is_told_at_the_start() -> Result<()> {
    let data = tempfile::tempdir()?;
    let folder = data.path().display().to_string();
    let server = |more: &[&str]| -> Result<String> {
        let base = ["server", "--data-dir", &folder, "--listen", "127.0.0.1:0"];
        let output = Command::new(program::dunlin()?).args(base).args(more).output()?;
        ensure!(output.status.code() == Some(1), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let said = server(&["--microvm-kernel", "/no/such/kernel"])?;
    has(&said, &["microvm-kernel", "reading /no/such/kernel", "No such file"])?;
    let said = server(&["--microvm-modules", "/lib/modules"])?;
    has(&said, &["microvm-modules means nothing without microvm-kernel"])
}

const UNIKERNEL: &str = "
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: unikernel}
handler: unikernel
---
apiVersion: v1
kind: Pod
metadata: {name: short}
spec:
  runtimeClassName: unikernel
  restartPolicy: Never
  containers: [{name: c, image: 'kernel:test', args: [a, word, '3'], resources: {limits: {memory: 32Mi}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: long}
spec:
  runtimeClassName: unikernel
  terminationGracePeriodSeconds: 5
  containers: [{name: c, image: 'kernel:test', args: [wait], resources: {limits: {memory: 32Mi}}}]
";

#[test]
fn a_unikernel_is_a_pod() -> Result<()> {
    let world = world()?;
    let image = ImageBuilder::new().file("boot/kernel", &program::kernel()?).entrypoint(&["/boot/kernel"]);
    world.server.import(&image, "kernel:test")?;
    world.kubectl.apply(UNIKERNEL)?;
    let run = |line: &str| world.kubectl.run(&line.split(' ').collect::<Vec<_>>());
    let ended = |pod: &serde_json::Value| pod["status"]["phase"] == "Failed";
    let pod = world.pod_when("short", ended)?;
    let state = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    ensure!(state["exitCode"] == 3, "{state}");
    has(&run("logs short")?, &["a kernel of its own\n", "a word 3\n", "\nnetwork card\n"])?;
    world.log_with("long", "network card")?;
    world.pod_when("long", |pod| pod["status"]["phase"] == "Running")?;
    let refused = run("exec long -- true").unwrap_err();
    has(&format!("{refused:#}"), &["a unikernel is one program"])?;
    ensure!(world.server.running(QEMU)? == 1, "one machine runs");
    run("delete pod short long --timeout=30s")?;
    ensure!(world.server.running(QEMU)? == 0, "a machine is left");
    Ok(())
}
