//! Three servers on one etcd, with agents: one is killed under load, and nothing that was acknowledged is lost.

mod load;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dunlin_reference::etcd::Etcd;
use dunlin_testkit::cluster::Dunlin;
use dunlin_testkit::host::{Lan, Network};
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::wait;
use serde_json::{Value, json};

use load::Load;

/// How long the others wait before one takes over.
const LEASE: Duration = Duration::from_secs(3);
const TIMES: [&str; 10] = [
    "--time",
    "leader-lease=3s",
    "--time",
    "heartbeat=1s",
    "--time",
    "node-grace=6s",
    "--time",
    "ping=2s",
    "--time",
    "ping-timeout=2s",
];

/// One that is killed at a moment that nobody has chosen: first the one that runs the controllers and holds the tunnels,
/// then any.
pub fn killed() -> Result<()> {
    let seed = seed();
    println!("servers/killed: seed {seed} (DUNLIN_SEED)");
    let lan = Lan::new()?;
    let store_host = lan.host()?;
    let etcd = Etcd::on(&store_host, 1)?;
    let mut servers = start(&lan, &etcd)?;
    let agent_times =
        ["--time", "reconnect-first=200ms", "--time", "reconnect-most=1s", "--time", "silence=4s"];
    let agent = Dunlin::agent_of(&lan, &servers.iter().collect::<Vec<_>>(), "worker", &agent_times)?;
    agent.import(&ImageBuilder::busybox()?, "busybox:test")?;
    let kubectl: Vec<Kubectl> = servers.iter().map(Dunlin::kubectl).collect();
    kubectl[1].apply(&deployment(1))?;
    ready(&kubectl[2], 1, Duration::from_secs(60))?;
    for kubectl in &kubectl {
        streams(kubectl)?;
    }
    ensure!(holder(&kubectl[1])? == id(&servers[0])?, "the first server runs the controllers");
    ensure!(tunnel(&kubectl[1])? == id(&servers[0])?, "the first server holds the tunnel");
    learned(&kubectl[2], 3)?;

    let client = lan.host()?;
    let mut victim = 0;
    for round in 0..2u64 {
        let configs: Vec<PathBuf> = servers.iter().map(|s| s.data.path().join("kubeconfig.yaml")).collect();
        let load = Load::start(client.namespace(), &configs, 6, &format!("round-{round}"))?;
        load.wait_for(100)?;
        std::thread::sleep(Duration::from_millis(seed.wrapping_mul(31 + round) % 1500));
        servers[victim].kill();
        let killed = Instant::now();
        let left: Vec<usize> = (0..3).filter(|n| *n != victim).collect();
        let wanted = 3 + usize::try_from(round)?;
        kubectl[left[0]].run(&["scale", "deployment/web", &format!("--replicas={wanted}")])?;
        ready(&kubectl[left[1]], wanted, Duration::from_secs(60))?;
        let took = killed.elapsed();
        ensure!(took < LEASE + Duration::from_secs(15), "the controllers went on after {took:?}");
        ensure!(holder(&kubectl[left[0]])? != id(&servers[victim])?, "the dead one still holds the Lease");
        for n in &left {
            streams(&kubectl[*n]).with_context(|| format!("after {victim} was killed, through {n}"))?;
        }
        load.wait_for(100)?;
        load.check(&configs[left[1]], left[1])?;
        learned(&kubectl[left[0]], 2)?;
        servers[victim].start()?;
        wait::until("the server's return", Duration::from_secs(30), || {
            kubectl[victim].run(&["get", "--raw", "/readyz"]).map(drop)
        })?;
        learned(&kubectl[victim], 3)?;
        victim = usize::try_from(seed.wrapping_add(round) % 3)?;
    }
    drop(agent);
    Ok(())
}

/// What one server does counts at the others: addresses are given once, custom resources are served, nodes that joined
/// elsewhere are let in, and a server that does not belong is told so.
pub fn apart() -> Result<()> {
    let lan = Lan::new()?;
    let store_host = lan.host()?;
    let etcd = Etcd::on(&store_host, 1)?;
    let servers = start(&lan, &etcd)?;
    let kubectl: Vec<Kubectl> = servers.iter().map(Dunlin::kubectl).collect();

    // Each server makes twenty services at once; two ask for one address.
    let made: Vec<Result<()>> = std::thread::scope(|scope| {
        let running: Vec<_> = kubectl
            .iter()
            .enumerate()
            .map(|(n, kubectl)| {
                scope.spawn(move || {
                    let all: Vec<String> =
                        (0..20).map(|m| service(&format!("s-{n}-{m}"), None).to_string()).collect();
                    kubectl.apply(&all.join("\n")).map(drop)
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    made.into_iter().collect::<Result<()>>()?;
    let all = kubectl[0].json(&["services"])?;
    let items = all["items"].as_array().context("a list")?;
    for pointer in ["/spec/clusterIP", "/spec/ports/0/nodePort"] {
        let mut numbers: Vec<String> =
            items.iter().filter_map(|s| s.pointer(pointer)).map(Value::to_string).collect();
        let count = numbers.len();
        numbers.sort();
        numbers.dedup();
        ensure!(
            count >= 60 && numbers.len() == count,
            "{pointer}: {} of {count} are different",
            numbers.len()
        );
    }
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let running: Vec<_> = kubectl
            .iter()
            .enumerate()
            .map(|(n, kubectl)| {
                let service = service(&format!("same-{n}"), Some("10.43.0.77"));
                scope.spawn(move || kubectl.apply(&service.to_string()).map(drop))
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    ensure!(won == 1, "{won} services have one address: {outcomes:?}");
    for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        ensure!(format!("{refused:#}").contains("provided IP is already allocated"), "{refused:#}");
    }
    // What a service gives up can be had at another server.
    let holder = (0..3).find(|n| outcomes[*n].is_ok()).context("one won")?;
    kubectl[holder].run(&["delete", "service", &format!("same-{holder}")])?;
    kubectl[(holder + 1) % 3].apply(&service("next", Some("10.43.0.77")).to_string())?;

    kubectl[0].apply(DEFINITION)?;
    for kubectl in &kubectl[1..] {
        wait::until("the custom resource at the others", Duration::from_secs(5), || {
            kubectl.run(&["get", "--raw", "/apis/example.org/v1/namespaces/default/widgets"]).map(drop)
        })?;
    }

    // A server without the key, or with another cluster's CA, is told what is missing.
    let stranger = tempfile::tempdir()?;
    let host = lan.host()?;
    let mut command = host.command(&dunlin_testkit::program::dunlin()?);
    command.args(["server", "--no-agent", "--store", &etcd.store(), "--data-dir"]).arg(stranger.path());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains("server/cluster.key"), "{said}");
    Ok(())
}

fn start(lan: &Lan, etcd: &Etcd<'_>) -> Result<Vec<Dunlin>> {
    let store = etcd.store();
    let mut flags = vec!["--store", &store, "--no-agent"];
    flags.extend(TIMES);
    let first = Dunlin::server(lan, &flags)?;
    // So that it runs the controllers before there are others.
    wait::until("the first election", Duration::from_secs(20), || holder(&first.kubectl()).map(drop))?;
    let second = Dunlin::further_server(lan, &first, &flags)?;
    let third = Dunlin::further_server(lan, &first, &flags)?;
    Ok(vec![first, second, third])
}

fn seed() -> u64 {
    let given = std::env::var("DUNLIN_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().map_or(0, |d| u64::from(d.subsec_micros())))
}

fn id(server: &Dunlin) -> Result<String> {
    Ok(std::fs::read_to_string(server.data.path().join("agent/id"))?.trim().to_owned())
}

/// Who runs the controllers.
fn holder(kubectl: &Kubectl) -> Result<String> {
    let lease = kubectl.in_namespace("kube-system").json(&["lease", "dunlin-controllers"])?;
    let holder = lease.pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default();
    ensure!(!holder.is_empty(), "nobody holds the Lease");
    Ok(holder.to_owned())
}

/// Who holds the agent's tunnel.
fn tunnel(kubectl: &Kubectl) -> Result<String> {
    let lease = kubectl.in_namespace("kube-node-lease").json(&["lease", "worker"])?;
    Ok(lease["metadata"]["annotations"]["dunlin.io/held-by"].as_str().unwrap_or_default().to_owned())
}

/// The service `kubernetes` leads to `count` servers.
fn learned(kubectl: &Kubectl, count: usize) -> Result<()> {
    wait::until("the endpoints of the servers", Duration::from_secs(60), || {
        let slices = kubectl.json(&["endpointslices", "-l", "kubernetes.io/service-name=kubernetes"])?;
        let found = slices["items"].as_array().map_or(0, Vec::len);
        if found == count { Ok(()) } else { bail!("{found} of {count}: {slices}") }
    })
}

fn ready(kubectl: &Kubectl, count: usize, most: Duration) -> Result<()> {
    wait::until(&format!("{count} ready pods"), most, || {
        let web = kubectl.json(&["deployment", "web"])?;
        ensure!(web["status"]["readyReplicas"] == count, "{}", web["status"]);
        Ok(())
    })
}

/// Log and exec of every ready pod reach it through this server.
fn streams(kubectl: &Kubectl) -> Result<()> {
    let pods = kubectl.json(&["pods", "-l", "app=web"])?;
    let names: Vec<&str> = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|p| p["metadata"]["name"].as_str())
        .collect();
    ensure!(!names.is_empty(), "there are no pods");
    for name in names {
        wait::until("log and exec", Duration::from_secs(20), || {
            let log = kubectl.run(&["logs", name])?;
            ensure!(log.contains("hello from"), "the log of {name} is {log:?}");
            let said = kubectl.run(&["exec", name, "--", "sh", "-c", "echo in $(hostname)"])?;
            ensure!(said.trim() == format!("in {name}"), "{name} says {said:?}");
            Ok(())
        })?;
    }
    Ok(())
}

fn deployment(replicas: usize) -> String {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
                "name": "web", "image": "busybox:test",
                "command": ["sh", "-c", "echo hello from $(hostname); exec sleep 100000"],
            }]},
        }},
    })
    .to_string()
}

fn service(name: &str, address: Option<&str>) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    if let Some(address) = address {
        service["spec"]["clusterIP"] = json!(address);
    }
    service
}

const DEFINITION: &str = r#"{
  "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
  "metadata": {"name": "widgets.example.org"},
  "spec": {"group": "example.org", "scope": "Namespaced",
    "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
    "versions": [{"name": "v1", "served": true, "storage": true,
      "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}
}"#;
