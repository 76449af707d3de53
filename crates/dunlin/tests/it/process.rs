//! Native processes as pods.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::wait;

use crate::support::{Server, World, classes, has};

const LIMITED: &str = "args: [serve]
        resources: {limits: {memory: 64Mi}}";

/// Mount points that native processes make on the machine; those that were not there before are taken away at the end.
struct Made(Vec<&'static str>);

impl Made {
    fn new() -> Self {
        let all = [
            "/dev/termination-log",
            "/run/secrets/kubernetes.io/serviceaccount",
            "/run/secrets/kubernetes.io",
            "/run/secrets",
        ];
        Self(all.into_iter().filter(|path| !Path::new(path).exists()).collect())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            // Only what is as empty as it was made.
            let empty = fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == 0);
            let _ = if empty { fs::remove_file(path) } else { fs::remove_dir(path) };
        }
    }
}

#[test]
fn one_manifest_as_container_and_as_native_process() -> Result<()> {
    let _made = Made::new();
    let mut world = World::told(&["--native-processes"])?;
    let program = dunlin_testkit::program::hello()?.display().to_string();
    world.kubectl.apply(&classes(&[("container", "oci"), ("native", "process")]))?;
    for (name, class, image) in [("in-a-box", "container", "hello:test"), ("native", "native", &program)] {
        let server = Server { more: LIMITED, ..Server::new(name, class, image) };
        world.kubectl.apply(&server.manifest())?;
    }
    let kubectl = world.kubectl.clone();
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());
    for name in ["in-a-box", "native"] {
        run(&format!("rollout status deployment/{name} --timeout=60s"))?;
    }
    let node = kubectl.json(&["node", "one"])?;
    ensure!(node["metadata"]["labels"]["runtime.dunlin.io/process"] == "true", "{node}");
    let pods = kubectl.json(&["pods", "-l", "app=native"])?;
    for pod in pods["items"].as_array().into_iter().flatten() {
        let (name, ip) = (&pod["metadata"]["name"], &pod["status"]["podIP"]);
        let (Some(name), Some(ip)) = (name.as_str(), ip.as_str()) else { anyhow::bail!("{pod}") };
        ensure!(world.server.http(ip, 8080, "/")?.contains(&format!("hello from {name}")), "{ip}");
        ensure!(run(&format!("exec {name} -- printenv GREETING"))? == "good morning\n");
        // The host's files, as the pod's command sees them.
        ensure!(run(&format!("exec {name} -- stat -c %n {program}"))?.trim() == program);
        has(&run(&format!("describe pod {name}"))?, &["Started", "native"])?;
    }

    let list = || {
        kubectl.run(&["get", "pods", "-l", "app=native", "-o", "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {end}"])
    };
    let before = list()?;
    ensure!(world.server.running("hello")? == 4, "{:?}", world.server.processes()?);
    world.server.kill();
    world.server.start()?;
    world.server.wait_for_node("")?;
    ensure!(list()? == before, "{before} became {}", list()?);

    run("delete deployment native in-a-box --timeout=60s")?;
    wait::until("the pods gone", PATIENCE, || {
        let left = run("get pods -o name")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })?;
    ensure!(world.server.running("hello")? == 0, "a process is left");
    Ok(())
}

#[test]
fn a_machine_that_does_not_allow_it_runs_no_native_process() -> Result<()> {
    let world = World::new()?;
    world.kubectl.apply(&classes(&[("container", "oci"), ("native", "process")]))?;
    world
        .kubectl
        .apply(&Server { more: LIMITED, ..Server::new("native", "native", "/bin/true") }.manifest())?;
    wait::until("the reason", PATIENCE, || {
        let told = world.kubectl.run(&["get", "events", "-A"])?;
        has(&told, &["FailedScheduling", "didn't run the pod's runtime class \"native\""])
    })
}
