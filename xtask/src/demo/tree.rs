//! The second half of the demo: a root with a public address, two clusters of two machines, each behind a NAT that lets
//! nothing in; all of them network namespaces on this machine, gone when it ends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::Dunlin;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::internet::{Internet, Site};
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::wait;
use serde_json::Value;

use super::{indent, show, step};

const PATIENCE: Duration = Duration::from_secs(90);
/// Seconds where a site with a metered link would choose minutes.
const TIMES: [&str; 14] = [
    "--time",
    "node-grace=4s",
    "--time",
    "heartbeat=1s",
    "--time",
    "ping=1s",
    "--time",
    "ping-timeout=1s",
    "--time",
    "silence=4s",
    "--time",
    "eviction-toleration=5s",
    "--time",
    "reconnect-most=1s",
];

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {dunlin.io/job: web}}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, dunlin.io/job: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: dunlin.io/cluster
        whenUnsatisfiable: DoNotSchedule
        nodeTaintsPolicy: Honor
        labelSelector: {matchLabels: {app: web}}
      containers: [{name: hello, image: hello:demo, imagePullPolicy: IfNotPresent}]
"#;

/// Fields drop in this order: what runs, then the networks it runs on.
struct Tree {
    _machines: [Dunlin; 2],
    clusters: [Dunlin; 2],
    root: Dunlin,
    sites: [Site; 2],
    _internet: Internet,
}

/// Builds the tree, shows what it does, and takes it down.
pub fn run() -> Result<()> {
    step("A tree: a root, two clusters of two machines, each behind its own NAT");
    let tree = Tree::build()?;
    let kubectl = tree.root.kubectl();
    show(&kubectl, &["get", "nodes,clusters"])?;
    tree.dunlin(&["status"])?;

    step("kubectl apply at the root: 4 replicas over both clusters");
    println!("{}", indent(&kubectl.apply(MANIFEST)?));
    running(&kubectl, 4)?;
    tree.dunlin(&["jobs", "-o", "wide"])?;
    show(&kubectl, &["logs", "-l", "app=web", "--prefix", "--tail=1"])?;
    show(&kubectl, &["exec", "deployment/web", "--", "/hello", "env"])?;

    step("Moving the pods of ulm to garching, and back into balance with 6");
    for pod in on(&kubectl, "ulm")? {
        tree.dunlin(&["migrate", &pod, "--to", "garching"])?;
    }
    ensure!(on(&kubectl, "ulm")?.is_empty(), "pods are left in ulm");
    tree.dunlin(&["jobs", "-o", "wide"])?;
    tree.dunlin(&["replicate", "web", "6"])?;
    running(&kubectl, 6)?;

    step("Cutting garching off: its pods go on; others take their place here");
    let before = on(&kubectl, "garching")?;
    tree.sites[0].uplink().cut()?;
    wait::until("the loss of garching", PATIENCE, || {
        let lost = kubectl.run(&["wait", "--for=condition=Ready=Unknown", "node/garching", "--timeout=1s"]);
        lost.map(drop)
    })?;
    wait::until("its pods counting as lost", PATIENCE, || {
        let lost = with_condition(&kubectl, "dunlin.io/Dangling")?;
        ensure!(lost == before.len(), "{lost} of {} do", before.len());
        Ok(())
    })?;
    running(&kubectl, 6)?;
    tree.dunlin(&["jobs", "-o", "wide"])?;

    step("Bringing it back: nothing restarted, and the surplus goes");
    tree.sites[0].uplink().mend()?;
    wait::until("6 pods again", PATIENCE, || {
        let pods = kubectl.json(&["pods", "-l", "app=web"])?;
        let count = pods["items"].as_array().map_or(0, Vec::len);
        ensure!(count == 6, "there are {count}");
        running(&kubectl, 6)
    })?;
    ensure!(
        before.iter().all(|pod| on(&kubectl, "garching").is_ok_and(|now| now.contains(pod))),
        "a pod was replaced"
    );
    show(&kubectl, &["get", "pods", "-o", "wide"])?;
    tree.dunlin(&["terminate", "web"])?;
    println!("\nThe tree is taken down.");
    Ok(())
}

impl Tree {
    fn build() -> Result<Self> {
        let internet = Internet::new()?;
        let sites = [internet.site()?, internet.site()?];
        let root = Dunlin::server(&internet, &[&["--name", "root", "--no-agent"], &TIMES[..]].concat())?;
        let cluster = |site: &Site, name: &str, machine: &str| -> Result<Dunlin> {
            let own = [&["--node-name", machine, "--area", name], &TIMES[..]].concat();
            let cluster = Dunlin::child(site, &root, name, &own)?;
            root.wait_for_node(name)?;
            Ok(cluster)
        };
        let clusters = [cluster(&sites[0], "garching", "e580")?, cluster(&sites[1], "ulm", "x1")?];
        let machines = [
            Dunlin::agent(&sites[0], &clusters[0], "pi-1", &TIMES)?,
            Dunlin::agent(&sites[1], &clusters[1], "pi-2", &TIMES)?,
        ];
        let image = ImageBuilder::hello()?;
        for machine in clusters.iter().chain(&machines) {
            machine.import(&image, "hello:demo")?;
        }
        let tree = Self { _machines: machines, clusters, root, sites, _internet: internet };
        // What a cluster has is told upwards when it has settled.
        wait::until("the machines being known at the root", PATIENCE, || {
            let clusters = tree.root.kubectl().json(&["clusters"])?;
            let all = clusters["items"].as_array().context("no list")?;
            ensure!(
                all.len() == tree.clusters.len() && all.iter().all(|c| c["status"]["readyMachines"] == 2),
                "{clusters}"
            );
            Ok(())
        })?;
        Ok(tree)
    }

    fn dunlin(&self, args: &[&str]) -> Result<()> {
        println!("   $ dunlin {}", args.join(" "));
        println!("{}", indent(&self.root.dunlin(args)?));
        Ok(())
    }
}

/// Waits until so many pods are ready.
fn running(kubectl: &Kubectl, count: usize) -> Result<()> {
    wait::until(&format!("{count} ready pods"), PATIENCE, || {
        let ready = with_condition(kubectl, "Ready")?;
        ensure!(ready == count, "{ready} are ready");
        Ok(())
    })
}

/// How many pods have the condition.
fn with_condition(kubectl: &Kubectl, kind: &str) -> Result<usize> {
    let pods = kubectl.json(&["pods", "-l", "app=web"])?;
    let has = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        conditions.iter().any(|c| c["type"] == kind && c["status"] == "True")
    };
    Ok(pods["items"].as_array().into_iter().flatten().filter(has).count())
}

/// Names of the pods that are bound to a node and not ending.
fn on(kubectl: &Kubectl, node: &str) -> Result<Vec<String>> {
    let pods = kubectl.json(&["pods", "-l", "app=web"])?;
    let here =
        |pod: &&Value| pod["spec"]["nodeName"] == node && pod["metadata"]["deletionTimestamp"].is_null();
    let names = pods["items"].as_array().into_iter().flatten().filter(here);
    Ok(names.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect())
}
