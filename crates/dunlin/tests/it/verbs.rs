//! EdgeIO's verbs and states: deploy from every form of descriptor, jobs, replicate, migrate, terminate, status.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::{Dunlin, PATIENCE};
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::{program, wait};
use serde_json::Value;

use crate::support::World;

fn example(name: &str) -> String {
    program::workspace().join("examples").join(name).to_string_lossy().into_owned()
}

/// A server `one` and an agent `two`, both with `hello:test`; the agent ends first.
struct Pair {
    _two: Dunlin,
    world: World,
}

impl Pair {
    fn new() -> Result<Self> {
        let world = World::new()?;
        let two = Dunlin::agent(&world.lan, &world.server, "two", &[])?;
        two.import(&ImageBuilder::hello()?, "hello:test")?;
        two.import(&ImageBuilder::busybox()?, "busybox:test")?;
        Ok(Self { _two: two, world })
    }
}

fn jobs(world: &World) -> Result<Vec<Value>> {
    let mut all: Value = serde_json::from_str(&world.server.dunlin(&["jobs", "-o", "json"])?)?;
    Ok(all["jobs"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// The job once it is in a state.
fn job_when(world: &World, name: &str, state: &str) -> Result<Value> {
    wait::until(&format!("the job {name} being {state}"), PATIENCE, || {
        let all = jobs(world)?;
        let job = all
            .iter()
            .find(|job| job["name"] == name)
            .with_context(|| format!("{name} is not in {all:?}"))?;
        ensure!(job["state"] == state, "{job}");
        Ok(job.clone())
    })
}

/// What the program says when it refuses.
fn refused(world: &World, args: &[&str]) -> Result<String> {
    match world.server.dunlin(args) {
        Ok(said) => anyhow::bail!("{args:?} succeeded: {said}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

#[test]
fn deploys_every_form_and_runs_it_through_its_states() -> Result<()> {
    let world = World::new()?;
    let dunlin = |args: &[&str]| world.server.dunlin(args);
    let watch_file = world.server.data.path().join("jobs");
    let mut watch = world.server.host.command(&program::dunlin()?);
    watch.args(["jobs", "-w", "--data-dir"]).arg(world.server.data.path());
    let mut watch = watch.stdout(std::fs::File::create(&watch_file)?).stderr(Stdio::null()).spawn()?;
    let files = ["edgeio.yaml", "picasso.json", "kubernetes.yaml"].map(example);
    let said = dunlin(&["deploy", &files[0], &files[1], &files[2], "--wait", "--timeout", "60s"])?;
    for made in [
        "deployments.apps/edgeio-web created",
        "services/picasso-web created",
        "deployments.apps/lonely created",
    ] {
        ensure!(said.contains(made), "{made} is missing in {said}");
    }
    for name in ["edgeio-web", "picasso-web", "web", "lonely"] {
        let job = job_when(&world, name, "RUNNING")?;
        ensure!(job["running"] == 1 && job["instances"][0]["path"] == "dunlin/one", "{job}");
        ensure!(job["since"].as_str().is_some_and(|at| at.ends_with('Z')), "{job}");
    }
    wait::until("the watch seeing it", PATIENCE, || {
        let seen = std::fs::read_to_string(&watch_file)?;
        ensure!(seen.lines().any(|line| line.starts_with("web ") && line.contains("RUNNING")), "{seen}");
        Ok(())
    })?;
    watch.kill()?;
    watch.wait()?;
    ensure!(dunlin(&["deploy", &files[0]])?.contains("edgeio-web unchanged"));
    for port in [18_080, 18_081] {
        ensure!(world.server.http(&world.server.host.address, port, "/")?.starts_with("hello from"));
    }

    dunlin(&["replicate", "web", "2"])?;
    let web = job_when(&world, "web", "RUNNING")?;
    ensure!(web["desired"] == 2 || job_when(&world, "web", "SCALING").is_ok(), "{web}");
    wait::until("two copies", PATIENCE, || {
        let web = job_when(&world, "web", "RUNNING")?;
        ensure!(
            web["running"] == 2 && web["instances"].as_array().is_some_and(|all| all.len() == 2),
            "{web}"
        );
        Ok(())
    })?;
    let spread = dunlin(&["replicate", "lonely", "1", "--across", "machines"])?;
    ensure!(spread.contains("spread over the machines"), "{spread}");
    let lonely = world.kubectl.json(&["deployment", "lonely"])?;
    let constraint = &lonely["spec"]["template"]["spec"]["topologySpreadConstraints"][0];
    ensure!(constraint["topologyKey"] == "kubernetes.io/hostname", "{lonely}");

    let table = dunlin(&["jobs"])?;
    ensure!(table.starts_with("JOB") && table.contains("dunlin/one"), "{table}");
    let tree = dunlin(&["status"])?;
    ensure!(
        tree.contains("└─ one") && tree.lines().nth(1).is_some_and(|line| line.starts_with("dunlin")),
        "{tree}"
    );
    let tree: Value = serde_json::from_str(&dunlin(&["status", "-o", "json"])?)?;
    ensure!(
        tree["nodes"][0]["ready"] == true && tree["clusters"].as_array().is_some_and(Vec::is_empty),
        "{tree}"
    );

    for name in ["edgeio-web", "picasso-web", "web", "lonely"] {
        dunlin(&["terminate", name])?;
    }
    ensure!(jobs(&world)?.is_empty(), "{:?}", jobs(&world)?);
    let services = world.kubectl.json(&["services"])?;
    ensure!(
        services["items"].as_array().is_some_and(|all| all.len() == 1),
        "only the API's own is left: {services}"
    );
    ensure!(refused(&world, &["terminate", "web"])?.contains("there is no job web"));
    Ok(())
}

#[test]
fn wrong_descriptors_deploy_nothing() -> Result<()> {
    let world = World::new()?;
    let file = world.server.data.path().join("wrong.yaml");
    std::fs::write(
        &file,
        "job_name: right\nimage: hello:test\n---\njob_name: wrong\nimage: hello:test\nrequirements: {cpus: 1}\n",
    )?;
    let said = refused(&world, &["deploy", &file.to_string_lossy()])?;
    ensure!(said.contains("document 2: requirements.cpus: is unknown here; known are cpu, memory"), "{said}");
    ensure!(jobs(&world)?.is_empty());
    let said = refused(
        &world,
        &["deploy", &example("edgeio.yaml"), "--machine", "nowhere", "--wait", "--timeout", "2"],
    )?;
    ensure!(said.contains("edgeio-web is REQUESTED") && said.contains("node affinity/selector"), "{said}");
    Ok(())
}

#[test]
fn a_pod_moves_and_the_new_one_is_ready_before_the_old_one_goes() -> Result<()> {
    let pair = Pair::new()?;
    let world = &pair.world;
    let dunlin = |args: &[&str]| world.server.dunlin(args);
    dunlin(&["deploy", &example("kubernetes.yaml"), "--machine", "one", "--wait"])?;
    world.kubectl.run(&["expose", "deployment", "web", "--port=80", "--target-port=8080"])?;
    let old =
        job_when(world, "web", "RUNNING")?["instances"][0]["pod"].as_str().unwrap_or_default().to_owned();

    let watch_file = world.server.data.path().join("pods.json");
    let mut watch = world
        .kubectl
        .command(&["get", "pods", "-l", "app=web", "-w", "--output-watch-events", "-o", "json"])
        .stdout(std::fs::File::create(&watch_file)?)
        .stderr(Stdio::null())
        .spawn()?;
    wait::until("the watch", PATIENCE, || {
        ensure!(std::fs::read_to_string(&watch_file)?.contains(&old));
        Ok(())
    })?;
    let said = dunlin(&["migrate", "web", "--to", "two", "--timeout", "60s"])?;
    ensure!(said.contains("Succeeded"), "{said}");
    let after = job_when(world, "web", "RUNNING")?;
    ensure!(after["instances"].as_array().is_some_and(|all| all.len() == 1), "{after}");
    ensure!(after["instances"][0]["path"] == "dunlin/two", "{after}");
    let new = after["instances"][0]["pod"].as_str().unwrap_or_default().to_owned();

    // The whole story of the two pods: the order of events is the server's.
    let (mut ready, mut ended, mut names) = (false, false, std::collections::BTreeSet::new());
    wait::until("the end of the old pod in the watch", PATIENCE, || {
        let text = std::fs::read_to_string(&watch_file)?;
        let events = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        for event in events.map_while(Result::ok) {
            let pod = &event["object"];
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            names.insert(name.to_owned());
            let conditions = pod["status"]["conditions"].as_array();
            let is_ready = conditions
                .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
            ready |= name == new && is_ready;
            if name == old && !pod["metadata"]["deletionTimestamp"].is_null() {
                ensure!(ready, "the old pod was deleted before the new one was ready");
                ended = true;
            }
        }
        ensure!(ended);
        Ok(())
    })?;
    watch.kill()?;
    watch.wait()?;
    ensure!(names.len() == 2, "there never was a third pod: {names:?}");
    wait::until("the endpoints", PATIENCE, || {
        let slices = world.kubectl.json(&["endpointslices", "-l", "kubernetes.io/service-name=web"])?;
        let endpoints = slices["items"][0]["endpoints"].as_array().cloned().unwrap_or_default();
        ensure!(endpoints.len() == 1 && endpoints[0]["targetRef"]["name"] == *new, "{slices}");
        Ok(())
    })?;
    let status = world.kubectl.json(&["deployment", "web"])?["status"].clone();
    ensure!(status["replicas"] == 1 && status["availableReplicas"] == 1, "{status}");

    // Back again, by the path as it is shown.
    dunlin(&["migrate", "web", "--to", "dunlin/one", "--timeout", "60s"])?;
    ensure!(job_when(world, "web", "RUNNING")?["instances"][0]["path"] == "dunlin/one");
    ensure!(refused(world, &["migrate", "web", "--to", "one"])?.contains("(AlreadyThere)"));
    Ok(())
}

#[test]
fn a_move_that_cannot_be_leaves_everything_as_it_was() -> Result<()> {
    let pair = Pair::new()?;
    let world = &pair.world;
    world.kubectl.apply(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {name: homesick}
spec:
  replicas: 1
  selector: {matchLabels: {app: homesick}}
  template:
    metadata: {labels: {app: homesick}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {kubernetes.io/hostname: one}
      containers:
      - name: c
        image: busybox:test
        command: [/bin/sh, -c, 'while true; do sleep 1; done']
        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        readinessProbe: {exec: {command: [/bin/sh, -c, 'test $NODE = one']}, periodSeconds: 1}
",
    )?;
    let before = job_when(world, "homesick", "RUNNING")?;
    let said = refused(world, &["migrate", "homesick", "--to", "two", "--timeout", "5"])?;
    ensure!(said.contains("(TimedOut)") && said.contains("not ready within 5 s"), "{said}");
    wait::until("the new pod being gone", PATIENCE, || {
        let after = job_when(world, "homesick", "RUNNING")?;
        ensure!(after["instances"] == before["instances"], "{after}");
        Ok(())
    })?;

    world.kubectl.run(&["run", "alone", "--image=hello:test"])?;
    world.kubectl.run(&["create", "job", "work", "--image=hello:test", "--", "/hello", "sleep"])?;
    job_when(world, "alone", "RUNNING")?;
    job_when(world, "work", "RUNNING")?;
    for (what, reason) in [("pod/alone", "(NoController)"), ("job/work", "(NotMovable)")] {
        let said = refused(world, &["migrate", what, "--to", "two"])?;
        ensure!(said.contains(reason), "{said}");
    }
    ensure!(refused(world, &["migrate", "homesick", "--to", "three"])?.contains("known here are one, two"));
    ensure!(job_when(world, "homesick", "RUNNING")?["instances"] == before["instances"]);
    Ok(())
}
