//! A cluster is a node: pods made at the root run on a machine two levels down, and everything about them works there.

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::{Dunlin, PATIENCE};
use dunlin_testkit::host::Lan;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::wait;
use serde_json::Value;

use crate::support::{pod_when, running};

/// A root, a region below it, a site below that; each with an agent of its own. Fields drop in this order.
struct Tree {
    site: Dunlin,
    region: Dunlin,
    root: Dunlin,
    _lan: Lan,
    kubectl: Kubectl,
}

impl Tree {
    fn new() -> Result<Self> {
        let lan = Lan::new()?;
        let root = Dunlin::server(&lan, &["--name", "root", "--node-name", "root-machine"])?;
        let region = below(&lan, &root, "region")?;
        let site = below(&lan, &region, "site")?;
        for server in [&region, &site] {
            server.import(&ImageBuilder::busybox()?, "busybox:test")?;
        }
        let kubectl = root.kubectl();
        Ok(Self { site, region, root, _lan: lan, kubectl })
    }
}

/// A root without machines and two clusters below it, each with one; whoever takes it apart names the network first.
struct Pair {
    lan: Lan,
    root: Dunlin,
    one: Dunlin,
    two: Dunlin,
}

impl Pair {
    fn new() -> Result<Self> {
        let lan = Lan::new()?;
        let root = Dunlin::server(&lan, &["--name", "root", "--no-agent"])?;
        let one = below(&lan, &root, "one")?;
        let two = below(&lan, &root, "two")?;
        for server in [&one, &two] {
            server.import(&ImageBuilder::busybox()?, "busybox:test")?;
        }
        Ok(Self { lan, root, one, two })
    }
}

/// A server that joins `parent` under `name` and is seen there as a ready node.
fn below(lan: &Lan, parent: &Dunlin, name: &str) -> Result<Dunlin> {
    let more = ["--node-name", &format!("{name}-machine"), "--label", &format!("level={name}")];
    let server = Dunlin::child(lan, parent, name, &more)?;
    parent.wait_for_node(name)?;
    Ok(server)
}

/// A pod that shows what it sees, pinned by `selector`.
fn shell(name: &str, selector: &str, script: &str) -> String {
    let script = serde_json::to_string(script).unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  nodeSelector: {selector}\n  containers:\n  - name: main\n    image: kubectl:test\n    command: [\"/bin/sh\", \"-c\", {script}]\n    env:\n    - {{name: NODE, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}\n    - {{name: NS, valueFrom: {{fieldRef: {{fieldPath: metadata.namespace}}}}}}\n    - {{name: UID_, valueFrom: {{fieldRef: {{fieldPath: metadata.uid}}}}}}\n    - {{name: GREETING, valueFrom: {{configMapKeyRef: {{name: words, key: greeting}}}}}}\n    volumeMounts: [{{name: secret, mountPath: /secret}}]\n  volumes: [{{name: secret, secret: {{secretName: sesame}}}}]\n"
    )
}

pub fn condition<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    let all = pod["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

#[test]
fn a_pod_of_the_root_runs_two_levels_down_with_all_that_belongs_to_it() -> Result<()> {
    let tree = Tree::new()?;
    // A client of the API that any program could be: kubectl in its pod, with what is mounted there.
    let client = std::path::PathBuf::from(dunlin_testkit::namespace::system(&["which", "kubectl"])?.trim());
    tree.site.import(&ImageBuilder::busybox()?.file("bin/kubectl", &client), "kubectl:test")?;
    let kubectl = &tree.kubectl;
    kubectl.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}")?;
    let shop = |args: &[&str]| kubectl.run(&[&["-n", "shop"], args].concat());
    shop(&["create", "configmap", "words", "--from-literal=greeting=ahoy"])?;
    shop(&["create", "secret", "generic", "sesame", "--from-literal=open=yes"])?;

    // `level=site` occurs only on a machine of the site: the root knows it from the region's summary, which has it
    // from the site's.
    let script = "echo $GREETING from $NODE $NS $UID_ $(cat /secret/open) $(hostname); sleep 1000";
    kubectl.apply(&shell("deep", "{level: site}", script))?;
    let pod = pod_when(&kubectl.in_namespace("shop"), "deep", running)
        .with_context(|| format!("region:\n{}\nsite:\n{}", state(&tree.region), state(&tree.site)))?;
    ensure!(pod["spec"]["nodeName"] == "region");
    ensure!(condition(&pod, "dunlin.io/Placed")["message"] == "site/site-machine", "{}", pod["status"]);

    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let said = wait::until("the log through two tunnels", PATIENCE, || {
        let log = shop(&["logs", "deep"])?;
        ensure!(log.contains("ahoy"), "{log:?}");
        Ok(log)
    })?;
    ensure!(said.trim() == format!("ahoy from region shop {uid} yes deep"), "{said}");
    let said = shop(&["exec", "deep", "--", "sh", "-c", "echo inside; exit 0"])?;
    ensure!(said.trim() == "inside", "{said}");

    // The mirrors are marked, and the namespace keeps its name where the child has none of its own.
    let mirror = tree.site.kubectl().json(&["pod", "deep", "-n", "shop"])?;
    ensure!(mirror["metadata"]["labels"]["dunlin.io/mirror"] == "region");
    ensure!(mirror["metadata"]["annotations"]["dunlin.io/home-uid"] == uid.as_str());

    // A change above arrives below; the pod's own API is the root's, asked with the pod's own token.
    let api = ["exec", "deep", "--", "kubectl", "get", "pod", "deep", "-o", "json"];
    let refused = shop(&api).err().map(|e| format!("{e:#}")).unwrap_or_default();
    ensure!(refused.contains("system:serviceaccount:shop:default"), "without rights home refuses: {refused}");
    shop(&["create", "role", "reader", "--verb=get", "--resource=pods"])?;
    shop(&["create", "rolebinding", "reader", "--role=reader", "--serviceaccount=shop:default"])?;
    let seen = shop(&api)?;
    let seen: Value = serde_json::from_str(&seen).with_context(|| seen.clone())?;
    ensure!(seen["metadata"]["uid"] == uid.as_str(), "the pod sees another API: {}", seen["metadata"]);

    // Deletion flows down, and nothing is left but the child's own.
    shop(&["delete", "pod", "deep", "--timeout=30s"])?;
    for server in [&tree.region, &tree.site] {
        let left = server.kubectl().run(&["get", "pods", "-A", "-l", "dunlin.io/mirror", "-o", "name"])?;
        ensure!(left.trim().is_empty(), "{left}");
    }
    wait::until("what came along being gone", PATIENCE, || {
        for server in [&tree.region, &tree.site] {
            let left = server.kubectl().run(&[
                "get",
                "configmaps,secrets",
                "-A",
                "-l",
                "dunlin.io/mirror",
                "-o",
                "name",
            ])?;
            ensure!(left.trim().is_empty(), "{left}");
        }
        Ok(())
    })
}

fn state(server: &Dunlin) -> String {
    let kubectl = server.kubectl();
    let show = |args: &[&str]| kubectl.run(args).unwrap_or_else(|e| format!("{e:#}"));
    let log = dunlin_testkit::cluster::tail(&server.log());
    format!(
        "{}\n{}\n{log}",
        show(&["get", "nodes,clusters,daemonsets,pods", "-A", "-o", "wide"]),
        show(&["get", "clusters", "-o", "yaml"])
    )
}

#[test]
fn a_child_refuses_what_it_has_no_machine_for_and_the_next_is_asked() -> Result<()> {
    let lan = Lan::new()?;
    let root = Dunlin::server(&lan, &["--name", "root", "--node-name", "root-machine"])?;
    let one = below(&lan, &root, "one")?;
    let two = below(&lan, &root, "two")?;
    for server in [&one, &two] {
        server.import(&ImageBuilder::busybox()?, "busybox:test")?;
    }
    let kubectl = root.kubectl();
    // No machine has it: every child refuses in time, or is known not to have it, and the pod says so.
    let pod = |name: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n{more}\n  containers: [{{name: main, image: busybox:test, command: [sleep, \"1000\"]}}]"
        )
    };
    kubectl.apply(&pod("nowhere", "  nodeSelector: {level: moon}"))?;
    let waiting = pod_when(&kubectl, "nowhere", |pod| condition(pod, "PodScheduled")["status"] == "False")?;
    let message = condition(&waiting, "PodScheduled")["message"].as_str().unwrap_or_default().to_owned();
    ensure!(message.contains("0/3 nodes are available"), "{message}");

    // The sums of a child do not show its machines' ports: it is asked, refuses, and its own words come up.
    let port = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  nodeSelector: {{dunlin.io/cluster: one}}\n  containers: [{{name: main, image: busybox:test, command: [sleep, \"1000\"], ports: [{{containerPort: 80, hostPort: 18080}}]}}]"
        )
    };
    kubectl.apply(&port("first"))?;
    pod_when(&kubectl, "first", running)?;
    kubectl.apply(&port("second"))?;
    pod_when(&kubectl, "second", |pod| {
        let message = condition(pod, "PodScheduled")["message"].as_str().unwrap_or_default();
        message.contains("cluster one refused") && message.contains("didn't have free ports")
    })?;
    kubectl.run(&["delete", "pod", "first", "second", "--timeout=30s"])?;

    // The machine of the first child is cordoned behind the parent's back: it refuses, and the second takes the pod.
    kubectl.run(&["cordon", "root-machine"])?;
    one.kubectl().run(&["cordon", "one-machine"])?;
    for n in 0..3 {
        kubectl.apply(&pod(&format!("p{n}"), ""))?;
        let placed = pod_when(&kubectl, &format!("p{n}"), running)?;
        ensure!(placed["spec"]["nodeName"] == "two", "{}", placed["spec"]["nodeName"]);
    }
    // A runtime class has the room of the machines that run it, and the child's own classes count.
    let class = |name: &str, handler: &str| {
        format!(
            "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {{name: {name}}}\nhandler: {handler}"
        )
    };
    one.kubectl().run(&["uncordon", "one-machine"])?;
    kubectl.run(&["delete", "pod", "p0", "p1", "p2", "--timeout=30s"])?;
    for server in [&root, &two] {
        server.kubectl().apply(&class("plain", "runc"))?;
        server.kubectl().apply(&class("vm", "microvm"))?;
    }
    wait::until("the class in the summary", PATIENCE, || {
        let pools = kubectl.json(&["cluster", "two"])?["status"]["pools"].to_string();
        ensure!(pools.contains("plain") && !pools.contains("vm"), "{pools}");
        Ok(())
    })?;
    kubectl.apply(&pod("classy", "  runtimeClassName: plain"))?;
    let placed = pod_when(&kubectl, "classy", running)?;
    ensure!(placed["spec"]["nodeName"] == "two", "{}", placed["spec"]["nodeName"]);
    kubectl.apply(&pod("virtual", "  runtimeClassName: vm"))?;
    pod_when(&kubectl, "virtual", |pod| {
        let message = condition(pod, "PodScheduled")["message"].as_str().unwrap_or_default();
        message.contains("2 cluster(s) without a ready machine that runs the runtime class \"vm\"")
    })?;
    // A pinned cluster and a pinned machine.
    let pinned = "  nodeSelector: {dunlin.io/cluster: one}";
    kubectl.apply(&pod("pinned", pinned))?;
    let placed = pod_when(&kubectl, "pinned", running)?;
    ensure!(condition(&placed, "dunlin.io/Placed")["message"] == "one-machine");

    // What somebody removes below has lost its place, and the home pod says so.
    one.kubectl().run(&["delete", "pod", "-n", "default--root", "pinned", "--timeout=30s"])?;
    let failed = pod_when(&kubectl, "pinned", |pod| pod["status"]["phase"] == "Failed")?;
    ensure!(failed["status"]["reason"] == "ClusterRefused", "{}", failed["status"]);
    Ok(())
}

#[test]
fn a_daemon_set_of_the_root_is_one_pod_on_every_matching_machine() -> Result<()> {
    let tree = Tree::new()?;
    tree.root.import(&ImageBuilder::busybox()?, "busybox:test")?;
    let kubectl = &tree.kubectl;
    let set = |env: &str| {
        format!(
            "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: watch}}\nspec:\n  selector: {{matchLabels: {{app: watch}}}}\n  template:\n    metadata: {{labels: {{app: watch}}}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      containers: [{{name: main, image: busybox:test, command: [sleep, \"1000\"], env: [{{name: V, value: \"{env}\"}}]}}]"
        )
    };
    kubectl.apply(&set("1"))?;
    kubectl.run(&["rollout", "status", "daemonset/watch", "--timeout=90s"])?;
    let running_on = |server: &Dunlin| -> Result<Vec<String>> {
        let pods = server.kubectl().json(&["pods", "-A", "-l", "app=watch"])?;
        let items = pods["items"].as_array().cloned().unwrap_or_default();
        Ok(items
            .iter()
            .filter(|pod| running(pod))
            .filter_map(|pod| pod["spec"]["nodeName"].as_str().map(str::to_owned))
            .collect())
    };
    let mut region = running_on(&tree.region)?;
    region.sort();
    ensure!(region == ["region-machine", "site"], "{region:?}\n{}", state(&tree.region));
    let site = running_on(&tree.site)?;
    ensure!(site == ["site-machine"], "{site:?}");

    kubectl.apply(&set("2"))?;
    kubectl.run(&["rollout", "status", "daemonset/watch", "--timeout=120s"])?;
    wait::until("the new template on the deepest machine", PATIENCE, || {
        let pods = tree.site.kubectl().json(&["pods", "-A", "-l", "app=watch"])?;
        let value = &pods["items"][0]["spec"]["containers"][0]["env"][0]["value"];
        ensure!(*value == "2", "{value}");
        Ok(())
    })?;

    kubectl.run(&["delete", "daemonset", "watch", "--timeout=60s"])?;
    wait::until("all daemons gone", PATIENCE, || {
        for server in [&tree.region, &tree.site] {
            let left =
                server.kubectl().run(&["get", "pods,daemonsets", "-A", "-l", "app=watch", "-o", "name"])?;
            ensure!(left.trim().is_empty(), "{left}");
            let left = server.kubectl().run(&["get", "daemonsets", "-A", "-o", "name"])?;
            ensure!(left.trim().is_empty(), "{left}");
        }
        Ok(())
    })
}

#[test]
fn a_job_moves_from_one_cluster_to_another_and_spreads_over_both() -> Result<()> {
    let Pair { lan: _lan, root, one, two } = Pair::new()?;
    let kubectl = root.kubectl();
    kubectl.apply("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      containers: [{name: main, image: busybox:test, command: [sleep, \"1000\"]}]")?;
    let job = |state: &str| -> Result<Value> {
        wait::until(&format!("the job being {state}"), PATIENCE, || {
            let jobs: Value = serde_json::from_str(&root.dunlin(&["jobs", "-o", "json"])?)?;
            let all = jobs["jobs"].as_array().cloned().unwrap_or_default();
            let job = all.iter().find(|job| job["name"] == "web").context("no job")?;
            ensure!(job["state"] == state, "{job}");
            Ok(job.clone())
        })
    };
    let before = job("RUNNING")?.to_string();
    let (from, to) = if before.contains("root/one/one-machine") { ("one", "two") } else { ("two", "one") };
    ensure!(before.contains(&format!("root/{from}/{from}-machine")), "{before}");
    root.dunlin(&["migrate", "web", "--to", to, "--timeout", "60s"])?;
    let after = job("RUNNING")?.to_string();
    ensure!(after.contains(&format!("root/{to}/{to}-machine")), "{after}");
    let left = if from == "one" { &one } else { &two };
    let left = left.kubectl().run(&["get", "pods", "-A", "-l", "app=web", "-o", "name"])?;
    ensure!(left.trim().is_empty(), "{left}");

    root.dunlin(&["replicate", "web", "4", "--across", "clusters"])?;
    kubectl.run(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    let pods = kubectl.json(&["pods", "-l", "app=web", "--field-selector=status.phase=Running"])?;
    let on = |name: &str| {
        pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|pod| pod["spec"]["nodeName"] == name && pod["metadata"]["deletionTimestamp"].is_null())
            .count()
    };
    ensure!((on("one"), on("two")) == (2, 2), "{} and {}", on("one"), on("two"));

    root.dunlin(&["terminate", "web"])?;
    for server in [&one, &two] {
        let left = server.kubectl().run(&["get", "pods", "-A", "-l", "app=web", "-o", "name"])?;
        ensure!(left.trim().is_empty(), "{left}");
    }
    Ok(())
}

/// A claim, and a pod that has it at `/data` and is chosen by `more`.
fn on_claim(pod: &str, claim: &str, more: &str, script: &str) -> String {
    let script = serde_json::to_string(script).unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {claim}}}\nspec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 5Mi}}}}}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}}}\nspec:\n  terminationGracePeriodSeconds: 1\n{more}\n  containers: [{{name: main, image: busybox:test, command: [sh, -c, {script}], volumeMounts: [{{name: data, mountPath: /data}}]}}]\n  volumes: [{{name: data, persistentVolumeClaim: {{claimName: {claim}}}}}]\n"
    )
}

/// The only claim that was made for a parent, once there is one.
fn claim_below(server: &Dunlin) -> Result<Value> {
    wait::until("a claim below", PATIENCE, || {
        let all = server.kubectl().json(&["pvc", "-A", "-l", "dunlin.io/mirror"])?;
        let found = all["items"].as_array().filter(|items| items.len() == 1);
        Ok(found.with_context(|| format!("{}", all["items"]))?[0].clone())
    })
}

#[test]
fn a_claim_of_the_root_is_a_directory_two_levels_down() -> Result<()> {
    let tree = Tree::new()?;
    let kubectl = &tree.kubectl;
    let script = "echo kept >> /data/word; cat /data/word; sleep 1000";
    kubectl.apply(&on_claim("deep", "data", "  nodeSelector: {level: site}", script))?;
    pod_when(kubectl, "deep", running)
        .with_context(|| format!("region:\n{}\nsite:\n{}", state(&tree.region), state(&tree.site)))?;
    let claim = kubectl.json(&["pvc", "data"])?;
    let name = claim["spec"]["volumeName"].as_str().unwrap_or_default().to_owned();
    let volume = kubectl.json(&["pv", &name])?;
    ensure!(volume["spec"]["csi"]["driver"] == "cluster.dunlin.io", "{}", volume["spec"]);
    ensure!(claim["status"]["phase"] == "Bound" && volume["status"]["phase"] == "Bound");

    // Each level has a claim for it; at the end there is a directory.
    let region = claim_below(&tree.region)?;
    ensure!(region["metadata"]["annotations"]["dunlin.io/home-uid"] == claim["metadata"]["uid"]);
    let site = claim_below(&tree.site)?;
    ensure!(site["metadata"]["annotations"]["dunlin.io/home-uid"] == claim["metadata"]["uid"]);
    let last = tree.site.kubectl().json(&["pv", site["spec"]["volumeName"].as_str().unwrap_or_default()])?;
    let path = std::path::PathBuf::from(last["spec"]["local"]["path"].as_str().unwrap_or_default());
    let kept = wait::until("the pod's word", PATIENCE, || Ok(std::fs::read_to_string(path.join("word"))?))?;
    ensure!(kept == "kept\n", "{kept}");

    // The claims outlive the pod; everything goes with the root's claim, and not before.
    kubectl.run(&["delete", "pod", "deep", "--timeout=30s"])?;
    ensure!(claim_below(&tree.site)?["metadata"]["uid"] == site["metadata"]["uid"]);
    kubectl.apply(&on_claim("deep", "data", "  nodeSelector: {level: site}", script))?;
    pod_when(kubectl, "deep", running)?;
    let read = kubectl.run(&["exec", "deep", "--", "cat", "/data/word"])?;
    ensure!(read == "kept\nkept\n", "{read}");
    kubectl.run(&["delete", "pod/deep", "pvc/data", "--timeout=30s"])?;
    wait::until("all that stood for the claim being gone", PATIENCE, || {
        for server in [&tree.root, &tree.region, &tree.site] {
            let left = server.kubectl().run(&["get", "pv,pvc", "-A", "-o", "name"])?;
            ensure!(left.trim().is_empty(), "{left}");
        }
        ensure!(!path.exists(), "{} is left", path.display());
        Ok(())
    })
}

#[test]
fn a_pod_with_a_claim_stays_with_its_cluster() -> Result<()> {
    let Pair { lan: _lan, root, one, two } = Pair::new()?;
    for server in [&one, &two] {
        // Of the cluster's own, under the same name.
        server.kubectl().apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: shop}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}")?;
    }
    root.kubectl().apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}")?;
    let kubectl = root.kubectl().in_namespace("shop");
    let script = "hostname >> /data/word; cat /data/word; sleep 1000";
    let manifest = on_claim("db-0", "data", "", script);
    let run = || -> Result<String> {
        kubectl.apply(&manifest)?;
        let pod = pod_when(&kubectl, "db-0", running)
            .with_context(|| format!("one:\n{}\ntwo:\n{}", state(&one), state(&two)))?;
        Ok(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned())
    };
    let first = run()?;
    for round in 2..=3 {
        kubectl.run(&["delete", "pod", "db-0", "--timeout=30s"])?;
        ensure!(run()? == first, "it is where its claim is");
        let read = kubectl.run(&["exec", "db-0", "--", "cat", "/data/word"])?;
        ensure!(read.lines().count() == round, "{read}");
    }
    // A volume of the parent is none for a child, and the pod says so.
    kubectl.apply("apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: hand}\nspec:\n  capacity: {storage: 1Gi}\n  accessModes: [ReadWriteOnce]\n  storageClassName: hand\n  hostPath: {path: /tmp}")?;
    kubectl.apply(
        &on_claim("stuck", "hand", "", script)
            .replace("spec: {access", "spec: {storageClassName: hand, access"),
    )?;
    pod_when(&kubectl, "stuck", |pod| {
        pod["status"]["conditions"][0]["message"]
            == "0/2 nodes are available: 2 cluster(s) can't use volumes of their parent."
    })?;

    // What is retained above stays below.
    let claim = kubectl.json(&["pvc", "data"])?;
    let volume = claim["spec"]["volumeName"].as_str().unwrap_or_default().to_owned();
    kubectl.run(&["patch", "pv", &volume, "-p", r#"{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}"#])?;
    kubectl.run(&["delete", "pod/db-0", "pvc/data", "--timeout=30s"])?;
    kubectl.run(&["delete", "pv", &volume, "--timeout=30s"])?;
    let home = if first == "one" { &one } else { &two };
    ensure!(claim_below(home)?["status"]["phase"] == "Bound");
    Ok(())
}

#[test]
fn an_exclusive_pod_of_a_lost_child_is_given_up_only_when_the_child_has_ended_it() -> Result<()> {
    let lan = Lan::new()?;
    let times = "node-grace=3s heartbeat=1s ping=1s ping-timeout=1s silence=4s fence-margin=3s contact=1s \
                 reconnect-most=1s eviction-toleration=3s";
    let times: Vec<String> = times.split_whitespace().map(|time| format!("--time={time}")).collect();
    let with = |more: &[&str]| -> Vec<String> {
        more.iter().map(|word| (*word).to_owned()).chain(times.iter().cloned()).collect()
    };
    let flags = with(&["--name", "root", "--no-agent"]);
    let root = Dunlin::server(&lan, &flags.iter().map(String::as_str).collect::<Vec<_>>())?;
    let flags = with(&["--node-name", "site-machine"]);
    let site = Dunlin::child(&lan, &root, "site", &flags.iter().map(String::as_str).collect::<Vec<_>>())?;
    root.wait_for_node("site")?;
    site.import(&ImageBuilder::hello()?, "hello:test")?;
    let kubectl = root.kubectl();
    // Pods of a StatefulSet must never run twice. This one is of a group that nobody serves, so that no controller lets go
    // of its pods, or replaces them.
    let pod = |name: &str, annotations: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  annotations: {annotations}\n  ownerReferences: [{{apiVersion: example.com/v1, kind: StatefulSet, name: db, uid: by-hand, controller: true}}]\nspec:\n  terminationGracePeriodSeconds: 1\n  containers: [{{name: main, image: 'hello:test', args: [sleep]}}]"
        )
    };
    kubectl.apply(&pod("fenced", "{dunlin.io/fence-after: 8s}"))?;
    kubectl.apply(&pod("kept", "{}"))?;
    for name in ["fenced", "kept"] {
        pod_when(&kubectl, name, running)?;
    }
    ensure!(site.running("hello")? == 2);
    site.host.cable().cut()?;
    wait::until("the fenced pod being given up", PATIENCE, || {
        let pods = kubectl.run(&["get", "pods", "-o", "name"])?;
        let running = site.running("hello")?;
        ensure!(!pods.contains("fenced"), "{pods}, and {running} run");
        Ok(())
    })?;
    ensure!(site.running("hello")? == 1, "it was given up while it ran");
    let kept = pod_when(&kubectl, "kept", |pod| condition(pod, "dunlin.io/Dangling")["status"] == "True")?;
    ensure!(condition(&kept, "dunlin.io/Dangling")["reason"] == "NotReplaced", "{}", kept["status"]);
    site.host.cable().mend()?;
    root.wait_for_node("site")?;
    pod_when(&kubectl, "kept", |pod| {
        running(pod) && condition(pod, "dunlin.io/Dangling")["status"] != "True"
    })?;
    ensure!(site.running("hello")? == 1);
    Ok(())
}

#[test]
fn a_claim_of_a_pod_on_a_machine_of_a_child_is_on_that_machine() -> Result<()> {
    let lan = Lan::new()?;
    let root = Dunlin::server(&lan, &["--name", "root", "--no-agent"])?;
    let site = Dunlin::child(&lan, &root, "site", &["--node-name", "board", "--expose", "nodes"])?;
    site.import(&ImageBuilder::busybox()?, "busybox:test")?;
    root.wait_for_node("site-board")?;
    let kubectl = root.kubectl();
    kubectl.apply(&on_claim("db", "data", "", "echo kept >> /data/word; sleep 1000"))?;
    let pod = pod_when(&kubectl, "db", running).with_context(|| state(&site))?;
    ensure!(pod["spec"]["nodeName"] == "site-board", "{}", pod["spec"]["nodeName"]);
    let below = claim_below(&site)?;
    ensure!(below["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] == "board");
    kubectl.run(&["delete", "pod/db", "pvc/data", "--timeout=30s"])?;
    wait::until("all that stood for the claim being gone", PATIENCE, || {
        for server in [&root, &site] {
            let left = server.kubectl().run(&["get", "pv,pvc", "-A", "-o", "name"])?;
            ensure!(left.trim().is_empty(), "{left}");
        }
        Ok(())
    })
}
