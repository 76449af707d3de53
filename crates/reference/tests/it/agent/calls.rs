//! Who may call the kubelet API on the node's own port, and what it answers.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use dunlin_reference::side::{Answer, Side};
use serde_json::Value;

use super::{World, config_file};

/// One request to the node, from the cluster's machine.
fn ask(world: &World, config: &Path, method: &'static str, path: &str) -> Result<Answer> {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| -> Result<Answer> {
            world.kubernetes.host.namespace().enter()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                Side::new("the node", config).await?.send(method, path, &[], String::new()).await
            })
        });
        asking.join().map_err(|_| anyhow::anyhow!("the asking thread panicked"))?
    })
}

pub fn check(world: &World) -> Result<()> {
    let kubernetes = &world.kubernetes;
    let url = format!("https://{}:10250", world.agent.host.address);
    let config = |name: &str, user: &str| config_file(kubernetes, name, &url, user);
    let life = std::time::Duration::from_secs(3600);
    let certificate = |user: &str, groups: &[&str]| -> Result<String> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let identity = kubernetes.authority()?.issue_client(user, &groups, life)?;
        let (cert, key) =
            (kubernetes.file(&format!("{user}.pem")), kubernetes.file(&format!("{user}-key.pem")));
        std::fs::write(&cert, identity.cert_pem)?;
        std::fs::write(&key, identity.key_pem)?;
        Ok(format!("client-certificate: '{cert}', client-key: '{key}'"))
    };
    let token = |account: &str| -> Result<String> {
        world.kubectl.run(&["create", "serviceaccount", account])?;
        Ok(format!("token: '{}'", world.kubectl.run(&["create", "token", account])?.trim()))
    };
    let (viewer, scraper) = (token("viewer")?, token("scraper")?);
    world.kubectl.run(&[
        "create",
        "clusterrole",
        "scraper",
        "--verb=get",
        "--resource=nodes/metrics,nodes/stats",
    ])?;
    let account = "--serviceaccount=default:scraper";
    world.kubectl.run(&["create", "clusterrolebinding", "scraper", "--clusterrole=scraper", account])?;

    let anonymous = config("anonymous", "")?;
    let bad = config("bad", "token: 'e30.e30.e30'")?;
    let jane = config("jane-node", &certificate("jane", &[])?)?;
    let root = config("root", &certificate("root", &["system:masters"])?)?;
    let (viewer, scraper) = (config("viewer", &viewer)?, config("scraper", &scraper)?);
    let pod = world.pod()?;
    let logs = format!("/containerLogs/default/{pod}/main?tailLines=1");
    for (config, path, code) in [
        (&anonymous, "/pods", 401),
        (&anonymous, "/healthz", 401),
        (&bad, "/pods", 401),
        (&jane, "/pods", 403),
        (&viewer, "/pods", 403),
        (&viewer, &logs, 403),
        (&scraper, "/pods", 403),
        (&scraper, &logs, 403),
        (&scraper, "/metrics/resource", 200),
        (&scraper, "/stats/summary", 200),
        (&root, "/healthz", 200),
        (&root, "/configz", 200),
        (&root, "/runningpods/", 200),
        (&root, "/metrics", 200),
        (&root, &logs, 200),
        (&root, "/containerLogs/default/nobody/main", 404),
        (&root, &format!("/containerLogs/default/{pod}/nothing"), 404),
        (&root, &format!("/exec/default/{pod}/main?command=true&output=1"), 400),
        (&root, "/nothing", 404),
    ] {
        let answer = ask(world, config, "GET", path)?;
        ensure!(answer.code == code, "{} {path}: {} {}", config.display(), answer.code, answer.body);
    }
    let refused = ask(world, &jane, "GET", "/pods")?.body;
    let expect = "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[\"pods\", \"proxy\"])";
    ensure!(refused.as_str().is_some_and(|text| text.trim() == expect), "{refused}");
    let pods = ask(world, &root, "GET", "/pods")?.body;
    let items = pods["items"].as_array().context("a list")?;
    ensure!(items.len() == 2 && items.iter().all(|pod| pod["status"]["phase"] == "Running"), "{pods}");
    let ran = ask(world, &root, "POST", &format!("/run/default/{pod}/main?cmd=echo%20here"))?;
    ensure!(ran.code == 200 && ran.body == "here\n", "{} {}", ran.code, ran.body);
    numbers(world, &scraper)?;
    through_the_api(world)?;
    println!("  callers of the kubelet API");
    Ok(())
}

fn numbers(world: &World, scraper: &Path) -> Result<()> {
    let text = ask(world, scraper, "GET", "/metrics/resource")?.body;
    let text = text.as_str().context("text")?;
    for line in [
        "node_cpu_usage_seconds_total ",
        "container_memory_working_set_bytes{container=\"main\",namespace=\"default\"",
        "resource_scrape_error 0",
    ] {
        ensure!(text.contains(line), "{line:?} is missing in\n{text}");
    }
    let summary = ask(world, scraper, "GET", "/stats/summary")?.body;
    ensure!(summary["node"]["nodeName"] == "edge", "{summary}");
    let pods = summary["pods"].as_array().context("pods")?;
    ensure!(pods.iter().all(|pod| pod["memory"]["workingSetBytes"].as_u64() > Some(0)), "{summary}");
    Ok(())
}

/// The API server's own way to the node.
fn through_the_api(world: &World) -> Result<()> {
    let config: Value =
        serde_json::from_str(&world.kubectl.run(&["get", "--raw", "/api/v1/nodes/edge/proxy/configz"])?)?;
    ensure!(config["kubeletconfig"]["port"] == 10250, "{config}");
    let healthy = world.kubectl.run(&["get", "--raw", "/api/v1/nodes/edge/proxy/healthz"])?;
    ensure!(healthy == "ok", "{healthy}");
    Ok(())
}
