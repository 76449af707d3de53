//! `--expose nodes`: the parent sees every machine of a child as a node, and what it binds there runs on that machine.

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::{Dunlin, PATIENCE};
use dunlin_testkit::host::Lan;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::wait;
use serde_json::Value;

use crate::support::{has, pod_when, running};
use crate::tree::condition;

/// Seconds instead of minutes, for both servers.
const TIMES: [&str; 14] = [
    "--time",
    "node-grace=3s",
    "--time",
    "heartbeat=1s",
    "--time",
    "ping=1s",
    "--time",
    "ping-timeout=1s",
    "--time",
    "uplink-settle=200ms",
    "--time",
    "reconnect-most=1s",
    "--time",
    "eviction-toleration=5s",
];

/// A root without machines; below it a yard with the machines board and shed. Fields drop in this order.
struct World {
    shed: Dunlin,
    yard: Dunlin,
    root: Dunlin,
    _lan: Lan,
    kubectl: Kubectl,
}

impl World {
    fn new() -> Result<Self> {
        let lan = Lan::new()?;
        let root = Dunlin::server(&lan, &[&["--name", "root", "--no-agent"][..], &TIMES].concat())?;
        let own = ["--node-name", "board", "--expose", "nodes", "--label", "place=board"];
        let yard = Dunlin::child(&lan, &root, "yard", &[&own[..], &TIMES].concat())?;
        let shed = Dunlin::agent(
            &lan,
            &yard,
            "shed",
            &["--label", "place=shed", "--time", "silence=4s", "--time", "reconnect-most=1s"],
        )?;
        for machine in [&yard, &shed] {
            machine.import(&ImageBuilder::busybox()?, "busybox:test")?;
        }
        for node in ["yard-board", "yard-shed"] {
            root.wait_for_node(node).with_context(|| dunlin_testkit::cluster::tail(&yard.log()))?;
        }
        let kubectl = root.kubectl();
        Ok(Self { shed, yard, root, _lan: lan, kubectl })
    }

    fn node(&self, name: &str) -> Result<Value> {
        self.kubectl.json(&["node", name])
    }

    fn node_when(&self, name: &str, check: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(&format!("the state of node {name}"), PATIENCE, || {
            let node = self.node(name)?;
            ensure!(check(&node), "{node:#}");
            Ok(node)
        })
        .with_context(|| dunlin_testkit::cluster::tail(&self.yard.log()))
    }
}

fn pod(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n{more}\n  containers: [{{name: main, image: busybox:test, command: [sh, -c, 'echo here is $(hostname); sleep 1000']}}]"
    )
}

fn taints(node: &Value) -> String {
    node["spec"]["taints"].to_string()
}

#[test]
fn each_machine_is_a_node_that_follows_its_machine() -> Result<()> {
    let mut world = World::new()?;
    let names = world.kubectl.run(&["get", "nodes", "-o", "name"])?;
    ensure!(names.trim() == "node/yard-board\nnode/yard-shed", "{names}");
    let shed = world.node("yard-shed")?;
    let labels = &shed["metadata"]["labels"];
    ensure!(
        labels["place"] == "shed"
            && labels["dunlin.io/cluster"] == "yard"
            && labels["kubernetes.io/hostname"] == "yard-shed",
        "{labels}"
    );
    ensure!(shed["spec"]["podCIDR"].is_null(), "its pods get their addresses below");
    has(&world.root.dunlin(&["status"])?, &["yard/", "2/2", "yard-board", "yard-shed"])?;

    // What the cluster's own pods take is not to be had from above.
    let before = world.node("yard-board")?["status"]["allocatable"]["cpu"].clone();
    let own = "  nodeName: board\n  resources: {requests: {cpu: 100m}}";
    world.yard.kubectl().apply(&pod("own", own))?;
    world.node_when("yard-board", |node| node["status"]["allocatable"]["cpu"] != before)?;

    // A taint follows, and one that was put on above stays.
    world.kubectl.run(&["taint", "node", "yard-shed", "theirs=1:NoSchedule"])?;
    let yard = world.yard.kubectl();
    yard.run(&["taint", "node", "shed", "wet=1:NoSchedule"])?;
    world.node_when("yard-shed", |node| {
        let taints = taints(node);
        taints.contains("wet") && taints.contains("theirs")
    })?;
    yard.run(&["taint", "node", "shed", "wet-"])?;
    yard.run(&["cordon", "shed"])?;
    world.node_when("yard-shed", |node| {
        let taints = taints(node);
        !taints.contains("wet") && taints.contains("theirs") && taints.contains("unschedulable")
    })?;
    yard.run(&["uncordon", "shed"])?;
    yard.run(&["label", "node", "shed", "roof=tin"])?;
    world.node_when("yard-shed", |node| {
        node["metadata"]["labels"]["roof"] == "tin" && !taints(node).contains("unschedulable")
    })?;
    world.kubectl.run(&["taint", "node", "yard-shed", "theirs-"])?;

    // One machine is lost, and only that one.
    world.kubectl.apply(&pod("stays", "  nodeSelector: {place: shed}"))?;
    let uid = pod_when(&world.kubectl, "stays", running)?["metadata"]["uid"].clone();
    world.shed.kill();
    let lost = |node: &Value| condition(node, "Ready")["status"] == "Unknown";
    world.node_when("yard-shed", lost)?;
    pod_when(&world.kubectl, "stays", |pod| condition(pod, "dunlin.io/Dangling")["status"] == "True")?;
    ensure!(!lost(&world.node("yard-board")?));
    // The parent counts its silence as if the machine were its own: nobody renews its Lease.
    let lease = |name: &str| -> Result<Value> {
        Ok(world.kubectl.json(&["lease", name, "-n", "kube-node-lease"])?["spec"]["renewTime"].clone())
    };
    let (shed, board) = (lease("yard-shed")?, lease("yard-board")?);
    wait::until("the other machine's heartbeat", PATIENCE, || {
        ensure!(lease("yard-board")? != board);
        Ok(())
    })?;
    ensure!(lease("yard-shed")? == shed, "a machine that is lost is taken for heard");
    has(&world.root.dunlin(&["status"])?, &["yard/", "1/2"])?;
    world.shed.start()?;
    world.node_when("yard-shed", |node| condition(node, "Ready")["status"] == "True")?;
    let back = pod_when(&world.kubectl, "stays", |pod| {
        running(pod) && condition(pod, "dunlin.io/Dangling")["status"] != "True"
    })?;
    ensure!(back["metadata"]["uid"] == uid && back["status"]["containerStatuses"][0]["restartCount"] == 0);

    // A machine that leaves takes its node and its pods along.
    world.shed.kill();
    yard.run(&["delete", "node", "shed"])?;
    wait::until("the node above being gone", PATIENCE, || {
        let left = world.kubectl.run(&["get", "nodes,pods", "-o", "name"])?;
        ensure!(left.trim() == "node/yard-board", "{left}");
        Ok(())
    })?;

    // The cluster's rights end with its object, and its machines go.
    world.kubectl.run(&["delete", "cluster", "yard"])?;
    wait::until("the cluster being gone", PATIENCE, || {
        let left = world.kubectl.run(&["get", "nodes,clusters", "-o", "name"])?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })?;
    std::thread::sleep(std::time::Duration::from_secs(3));
    let left = world.kubectl.run(&["get", "nodes,clusters", "-o", "name"])?;
    ensure!(left.trim().is_empty(), "it came back: {left}");
    Ok(())
}

#[test]
fn pods_run_on_the_machine_that_the_parent_has_chosen() -> Result<()> {
    let mut world = World::new()?;
    let client = std::path::PathBuf::from(dunlin_testkit::namespace::system(&["which", "kubectl"])?.trim());
    world.shed.import(&ImageBuilder::busybox()?.file("bin/kubectl", &client), "kubectl:test")?;
    let (kubectl, yard) = (&world.root.kubectl(), world.yard.kubectl());

    // By a label of the machine, in the namespace that the child has itself.
    kubectl.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: words}\ndata: {greeting: ahoy}")?;
    let more = "  nodeSelector: {place: shed, dunlin.io/cluster: yard, kubernetes.io/hostname: yard-shed}\n  volumes: [{name: words, configMap: {name: words}}]";
    let manifest = pod("one", more)
        .replace("busybox:test", "kubectl:test")
        .replace("name: main,", "name: main, volumeMounts: [{name: words, mountPath: /words}],");
    kubectl.apply(&manifest)?;
    let one = pod_when(kubectl, "one", running)?;
    ensure!(one["spec"]["nodeName"] == "yard-shed", "{}", one["spec"]);
    let mirror = yard.in_namespace("default--root").json(&["pod", "one"])?;
    ensure!(mirror["spec"]["nodeName"] == "shed", "{}", mirror["spec"]);
    ensure!(kubectl.run(&["logs", "one"])?.trim() == "here is one");
    ensure!(kubectl.run(&["exec", "one", "--", "cat", "/words/greeting"])?.trim() == "ahoy");
    has(&world.root.dunlin(&["jobs", "-o", "json"])?, &["root/yard-shed", "RUNNING"])?;

    // Its API is the root's.
    kubectl.run(&["create", "role", "reader", "--verb=get", "--resource=pods"])?;
    kubectl.run(&["create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:default"])?;
    let seen = kubectl.run(&["exec", "one", "--", "kubectl", "get", "pod", "one", "-o", "json"])?;
    let seen: Value = serde_json::from_str(&seen).with_context(|| seen.clone())?;
    ensure!(seen["metadata"]["uid"] == one["metadata"]["uid"], "the pod sees another API");

    // So it is in the host's network, also when the agent has been started again.
    let more = "  hostNetwork: true\n  nodeSelector: {place: shed}";
    kubectl.apply(&pod("host", more).replace("busybox:test", "kubectl:test"))?;
    let host = pod_when(kubectl, "host", running)?;
    for restarted in [false, true] {
        if restarted {
            world.shed.kill();
            world.shed.start()?;
        }
        wait::until("the root's API in the host's network", PATIENCE, || {
            let seen = kubectl.run(&["exec", "host", "--", "kubectl", "get", "pod", "host", "-o", "json"])?;
            let seen: Value = serde_json::from_str(&seen).with_context(|| seen.clone())?;
            ensure!(seen["metadata"]["uid"] == host["metadata"]["uid"], "the pod sees another API");
            Ok(())
        })?;
    }

    // Classes of priority are the child's, by their name; containers that are added later come along.
    let class = |value: u32| {
        format!(
            "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {{name: urgent}}\nvalue: {value}"
        )
    };
    kubectl.apply(&class(1000))?;
    yard.apply(&class(7))?;
    kubectl
        .apply("apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: upper}\nvalue: 5")?;
    kubectl.apply(&pod("urgent", "  priorityClassName: urgent\n  nodeSelector: {place: shed}"))?;
    kubectl.apply(&pod("upper", "  priorityClassName: upper\n  nodeSelector: {place: shed}"))?;
    for (name, wanted) in [("urgent", 7), ("upper", 0)] {
        pod_when(kubectl, name, running)?;
        let mirror = yard.in_namespace("default--root").json(&["pod", name])?;
        ensure!(mirror["spec"]["priority"] == wanted, "{}", mirror["spec"]);
    }
    let patch = r#"{"spec": {"ephemeralContainers": [{"name": "look", "image": "busybox:test"}]}}"#;
    kubectl.run(&["patch", "pod", "urgent", "--subresource", "ephemeralcontainers", "-p", patch])?;
    wait::until("the added container below", PATIENCE, || {
        let mirror = yard.in_namespace("default--root").json(&["pod", "urgent"])?;
        ensure!(mirror["spec"]["ephemeralContainers"][0]["name"] == "look", "{}", mirror["spec"]);
        Ok(())
    })?;

    // What the machine cannot take, it rejects as a kubelet does.
    let large = pod("large", "  nodeName: yard-board\n  resources: {requests: {cpu: '1000'}}");
    kubectl.apply(&large)?;
    let large = pod_when(kubectl, "large", |pod| pod["status"]["phase"] == "Failed")?;
    ensure!(large["status"]["reason"] == "OutOfcpu", "{}", large["status"]);

    // A DaemonSet of the parent is a pod for each machine, and none is made twice.
    kubectl.apply("apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: watch}\nspec:\n  selector: {matchLabels: {app: watch}}\n  template:\n    metadata: {labels: {app: watch}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      containers: [{name: main, image: busybox:test, command: [sleep, \"1000\"]}]")?;
    kubectl.run(&["rollout", "status", "daemonset/watch", "--timeout=60s"])?;
    let of = |kubectl: &Kubectl| -> Result<Vec<String>> {
        let pods = kubectl.json(&["pods", "-A", "-l", "app=watch"])?;
        let items = pods["items"].as_array().cloned().unwrap_or_default();
        let mut nodes: Vec<String> =
            items.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str().map(str::to_owned)).collect();
        nodes.sort();
        Ok(nodes)
    };
    ensure!(of(kubectl)? == ["yard-board", "yard-shed"], "{:?}", of(kubectl));
    ensure!(of(&yard)? == ["board", "shed"], "{:?}", of(&yard));

    // Deletion flows down.
    kubectl.run(&["delete", "daemonset", "watch", "--timeout=30s"])?;
    kubectl.run(&["delete", "pod", "one", "host", "urgent", "upper", "large", "--timeout=30s"])?;
    wait::until("all mirrors gone", PATIENCE, || {
        let left = yard.run(&["get", "pods,daemonsets", "-A", "-o", "name"])?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })?;
    ensure!(kubectl.refused(&["get", "node", "yard"], "").is_ok(), "there is no node for the cluster");
    Ok(())
}
