//! Pods by containerd, beside Dunlin's own on one node.

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::containerd::{Containerd, Setting};
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::wait;

use crate::support::{Server, World, classes, has};

/// One manifest; only the class differs.
fn deployment(name: &str, class: &str) -> String {
    let server = Server {
        more: "command: [/hello, serve]
        livenessProbe: {exec: {command: [/bin/true]}, periodSeconds: 1, timeoutSeconds: 10}
        resources: {limits: {memory: 64Mi, cpu: 200m}}
        volumeMounts: [{name: memory, mountPath: /memory}, {name: labels, mountPath: /labels}]",
        pod_more: "terminationGracePeriodSeconds: 1
      volumes:
      - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
      - {name: labels, downwardAPI: {items: [{path: app, fieldRef: {fieldPath: \"metadata.labels['app']\"}}]}}",
        ..Server::new(name, class, "busybox:test")
    };
    server.manifest()
}

#[test]
fn one_manifest_by_dunlin_and_by_containerd() -> Result<()> {
    // Dropped last: pods are ended before what runs them.
    let mut daemon = Containerd::new()?;
    let socket = daemon.socket().display().to_string();
    let mut world = World::told(&["--cri-socket", &socket, "--cri-handlers", "kata"])?;
    let kubectl = world.kubectl.clone();
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());
    let label = "runtime.dunlin.io/cri";

    // A daemon that is not there yet keeps nobody else from working.
    world.kubectl.apply(&classes(&[
        ("by-dunlin", "oci"),
        ("by-containerd", "cri"),
        ("by-nobody", "cri-kata"),
    ]))?;
    world.kubectl.apply(&deployment("in-a-box", "by-dunlin"))?;
    run("rollout status deployment/in-a-box --timeout=60s")?;
    ensure!(
        kubectl.json(&["node", "one"])?["metadata"]["labels"].get(label).is_none(),
        "it offers what it has not"
    );
    let given = world.server.data.path().join("agent/cri");
    daemon.start(&Setting {
        machine: Some(world.server.host.namespace()),
        plugins: Some((given.join("bin"), given.join("net.d"))),
        ..Setting::default()
    })?;
    daemon.import(&ImageBuilder::busybox()?, "docker.io/library/busybox:test")?;
    wait::until("the node's label", PATIENCE, || {
        let node = kubectl.json(&["node", "one"])?;
        ensure!(node["metadata"]["labels"][label] == "true", "{}", node["metadata"]["labels"]);
        let handlers = node["status"]["runtimeHandlers"].to_string();
        ensure!(handlers.contains("\"cri\"") && !handlers.contains("kata"), "{handlers}");
        Ok(())
    })?;

    world.kubectl.apply(&deployment("boxed", "by-containerd"))?;
    run("rollout status deployment/boxed --timeout=60s")
        .with_context(|| run("describe pods -l app=boxed").unwrap_or_default())?;
    for (name, count) in [("in-a-box", 0), ("boxed", 2)] {
        let pods = kubectl.json(&["pods", "-l", &format!("app={name}")])?;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let (pod_name, ip) = (&pod["metadata"]["name"], &pod["status"]["podIP"]);
            let (Some(pod), Some(ip)) = (pod_name.as_str(), ip.as_str()) else { anyhow::bail!("{pod}") };
            ensure!(world.server.http(ip, 8080, "/")?.contains(&format!("hello from {pod}")), "{ip}");
            has(&run(&format!("exec {pod} -- env"))?, &["GREETING=good morning\n"])?;
            ensure!(
                run(&format!("exec {pod} -- cat /labels/app /etc/hostname"))? == format!("{name}{pod}\n")
            );
            ensure!(
                run(&format!("exec {pod} -- df -k /memory"))?.contains("1024"),
                "the volume has another size"
            );
            has(&run(&format!("logs {pod}"))?, &["listening on port 8080"])?;
            has(&run(&format!("describe pod {pod}"))?, &["Pulled", "Started"])?;
        }
        let ours = daemon.ctr(&["containers", "ls"])?.matches("busybox:test").count();
        ensure!(name == "in-a-box" || ours == count, "containerd has {ours} containers");
    }
    let piped = kubectl.run_with(&["exec", "-i", "deploy/boxed", "--", "wc", "-c"], &"x".repeat(100_000))?;
    ensure!(piped.trim() == "100000", "{piped:?}");

    // Neither an agent nor a daemon that ends touches what runs.
    let list = || {
        kubectl.run(&["get", "pods", "-l", "app=boxed", "-o", "jsonpath={range .items[*]}{.metadata.uid} {.status.podIP} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {end}"])
    };
    let before = list()?;
    world.server.kill();
    daemon.kill();
    world.server.start()?;
    world.server.wait_for_node("")?;
    let ip = before.split(' ').nth(1).context("no address")?.to_owned();
    has(&world.server.http(&ip, 8080, "/")?, &["hello from boxed"])?;
    daemon.run()?;
    wait::until("the node's label", PATIENCE, || {
        ensure!(kubectl.json(&["node", "one"])?["metadata"]["labels"][label] == "true");
        Ok(())
    })?;
    wait::until("an exec", PATIENCE, || run("exec deploy/boxed -- true"))?;
    ensure!(list()? == before, "{before} became {}", list()?);

    run("delete deployment boxed in-a-box --timeout=60s")?;
    wait::until("the pods gone", PATIENCE, || {
        let left = run("get pods -o name")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })?;
    let left = daemon.ctr(&["containers", "ls", "-q"])?;
    ensure!(left.is_empty(), "containerd still has {left}");
    ensure!(world.server.running("/hello")? == 0, "a process is left");
    Ok(())
}
