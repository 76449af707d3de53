//! What a scenario may expect. Each check looks once; `eventually` and `for` repeat it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::world::{World, unknown};

/// Pods by uid.
pub type Pods = BTreeMap<String, Value>;

/// The pods that a selector matches, those that are being deleted left out.
pub fn pods(world: &World, selector: &str) -> Result<Pods> {
    let list = world.json(&["pods", "-A", "-l", selector])?;
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| (pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned(), pod.clone()))
        .collect())
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let all = object["status"]["conditions"].as_array().into_iter().flatten();
    all.filter(|c| c["type"] == kind).find_map(|c| c["status"].as_str()).unwrap_or("absent")
}

/// The machine that a pod is on: its node, or the machine of that cluster that its path ends with.
fn machine_of(pod: &Value) -> &str {
    let all = pod["status"]["conditions"].as_array().into_iter().flatten();
    let placed = all.filter(|c| c["type"] == "dunlin.io/Placed" && c["status"] == "True");
    let path = placed.filter_map(|c| c["message"].as_str()).next();
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    path.map_or(node, |path| path.rsplit('/').next().unwrap_or(path))
}

fn number(word: &str) -> Result<usize> {
    word.parse().with_context(|| format!("{word:?} is no number"))
}

/// One line for each pod, for messages.
fn shown(pods: &Pods) -> String {
    let line = |pod: &Value| {
        format!(
            "{} on {}: {} ready={} dangling={}",
            pod["metadata"]["name"],
            pod["spec"]["nodeName"],
            pod["status"]["phase"],
            condition(pod, "Ready"),
            condition(pod, "dunlin.io/Dangling"),
        )
    };
    pods.values().map(line).collect::<Vec<_>>().join("\n")
}

pub fn check(world: &World, words: &[&str]) -> Result<()> {
    match words {
        ["pods", selector, rest @ ..] => {
            let pods = pods(world, selector)?;
            let count = |test: &dyn Fn(&Value) -> bool| pods.values().filter(|pod| test(pod)).count();
            let (found, wanted) = match rest {
                ["count", n] => (pods.len(), number(n)?),
                ["ready", n] => (count(&|pod| condition(pod, "Ready") == "True"), number(n)?),
                ["on", node, n] => (count(&|pod| pod["spec"]["nodeName"] == *node), number(n)?),
                ["phase", phase, n] => (count(&|pod| pod["status"]["phase"] == *phase), number(n)?),
                ["reason", reason, n] => (count(&|pod| pod["status"]["reason"] == *reason), number(n)?),
                ["condition", kind, status, n] => (count(&|pod| condition(pod, kind) == *status), number(n)?),
                _ => return unknown(words),
            };
            ensure!(found == wanted, "there are {found}, of\n{}", shown(&pods));
        }
        ["never", "restarted", selector] => never_restarted(world, selector, &[])?,
        ["kept", selector, n] => {
            let now = pods(world, selector)?;
            let kept = world.noted(selector)?.keys().filter(|uid| now.contains_key(*uid)).count();
            ensure!(kept == number(n)?, "{kept} of the noted pods are left, of\n{}", shown(&now));
        }
        ["restarts", selector, n] => {
            let now = pods(world, selector)?;
            let most = now.values().map(|pod| pod["status"]["containerStatuses"][0]["restartCount"].as_u64());
            let most = most.map(|n| n.unwrap_or(0)).sum::<u64>();
            ensure!(most >= number(n)? as u64, "there were {most} restarts, of\n{}", shown(&now));
        }
        ["node", name, status] => {
            let node = world.json(&["node", name])?;
            let (found, wanted) = (
                condition(&node, "Ready"),
                match *status {
                    "ready" => "True",
                    "lost" => "Unknown",
                    other => bail!("a node is `ready` or `lost`, not {other:?}"),
                },
            );
            ensure!(found == wanted, "its condition Ready is {found}");
        }
        ["condition", object, kind, status] => {
            let found = world.json(&[object])?;
            ensure!(condition(&found, kind) == *status, "it is {}", condition(&found, kind));
        }
        ["runs", machine, command, n] => {
            let found = world.get(machine)?.running(command)?;
            ensure!(found == number(n)?, "{found} processes run {command}");
        }
        ["log", machine, text @ ..] => {
            ensure!(world.get(machine)?.log().contains(&text.join(" ")), "the log does not say so");
        }
        ["traffic", name, "below", bytes, "bytes"] => {
            let used = world.traffic_since(name)?;
            let total = used.sent_bytes + used.received_bytes;
            ensure!(total < number(bytes)? as u64, "{total} bytes went over the cable: {used:?}");
        }
        _ => return unknown(words),
    }
    Ok(())
}

/// Every noted pod that is still there has the container that it had, on all machines but those in `except`.
pub fn never_restarted(world: &World, selector: &str, except: &[String]) -> Result<()> {
    let now = pods(world, selector)?;
    for (uid, before) in world.noted(selector)? {
        let Some(pod) = now.get(uid) else { continue };
        if except.iter().any(|machine| machine == machine_of(before)) {
            continue;
        }
        let facts = |pod: &Value| {
            let container = &pod["status"]["containerStatuses"][0];
            format!("{} after {} restarts", container["containerID"], container["restartCount"])
        };
        let name = &pod["metadata"]["name"];
        ensure!(facts(before) == facts(pod), "{name} was {} and is {}", facts(before), facts(pod));
    }
    Ok(())
}
