//! `status`: the tree below this server: its machines and child clusters with health, capacity and pods.

use std::collections::BTreeMap;

use dunlin_api::names::{annotation, label};
use dunlin_api::quantity::Quantity;
use serde_json::{Value, json};

use crate::connect::Connection;
use crate::get::align;
use crate::{Error, Output, list, print, request};

/// Prints the state of the cluster.
///
/// # Errors
/// When the server refuses.
pub async fn run(connection: &Connection, output: Output) -> Result<(), Error> {
    let version: Value = connection
        .client
        .request(request(http::Method::GET, "/version", Vec::new(), &[])?)
        .await
        .map_err(Error::api("asking for the server's version"))?;
    let tree = tree(
        &connection.server,
        version["gitVersion"].as_str().unwrap_or_default(),
        &list(connection, "/api/v1/nodes").await?,
        &list(connection, "/api/v1/pods").await?,
        &list(connection, "/apis/dunlin.io/v1alpha1/clusters").await?,
    );
    if matches!(output, Output::Json | Output::Yaml) {
        return print(&tree, output);
    }
    print!("{}", lines(&tree));
    Ok(())
}

/// Everything that is shown, for programs.
fn tree(server: &str, version: &str, nodes: &[Value], pods: &[Value], clusters: &[Value]) -> Value {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut machines = Vec::new();
    let mut children = Vec::new();
    // Machines of clusters that show each as a node.
    let mut below: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for node in nodes {
        let name = name(node);
        let here: Vec<&Value> = pods.iter().filter(|pod| pod["spec"]["nodeName"] == *name).collect();
        let running = here.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
        let ready = node["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        let allocatable = &node["status"]["allocatable"];
        let mut row = json!({
            "name": name, "ready": ready, "pods": here.len(), "running": running,
            "cpu": allocatable["cpu"], "memory": allocatable["memory"],
            "area": node["metadata"]["labels"][label::AREA], "version": node["status"]["nodeInfo"]["kubeletVersion"],
        });
        if let Some(cluster) = node["metadata"]["annotations"][annotation::EXPOSED_BY].as_str() {
            below.entry(cluster.to_owned()).or_default().push(row);
            continue;
        }
        if node["metadata"]["labels"].get(label::VIRTUAL_NODE).is_none() {
            machines.push(row);
            continue;
        }
        let own = node["metadata"]["labels"][label::CLUSTER].as_str().unwrap_or(&name);
        let cluster = clusters.iter().find(|cluster| cluster["metadata"]["name"] == own);
        describe(&mut row, cluster.unwrap_or(&Value::Null));
        children.push(row);
    }
    // A cluster that has no node (any more) is known all the same.
    for cluster in clusters {
        if !children.iter().any(|row| row["name"] == cluster["metadata"]["name"]) {
            let mut row = json!({"name": cluster["metadata"]["name"], "ready": false, "pods": 0, "running": 0,
                "cpu": null, "memory": null, "area": null, "version": null});
            describe(&mut row, cluster);
            if let Some(nodes) = below.remove(&name(cluster)) {
                let sum = |field: &str| nodes.iter().filter_map(|node| node[field].as_u64()).sum::<u64>();
                (row["pods"], row["running"]) = (json!(sum("pods")), json!(sum("running")));
                row["ready"] = json!(nodes.iter().any(|node| node["ready"] == true));
                row["nodes"] = json!(nodes);
            }
            children.push(row);
        }
    }
    machines.extend(below.into_values().flatten());
    let waiting =
        pods.iter().filter(|pod| pod["spec"]["nodeName"].is_null() && pod["status"]["phase"] == "Pending");
    json!({"name": server, "version": version, "nodes": machines, "clusters": children, "unscheduledPods": waiting.count()})
}

/// What a child says of itself.
fn describe(row: &mut Value, cluster: &Value) {
    let status = &cluster["status"];
    for (field, value) in [("area", &status["area"]), ("version", &status["version"])] {
        if !value.is_null() {
            row[field] = value.clone();
        }
    }
    row["machines"] = status["machines"].clone();
    row["readyMachines"] = status["readyMachines"].clone();
    row["observed"] = status["observedTime"].clone();
    row["pools"] = status["pools"].clone();
    let pools = status["pools"].as_array().map_or(&[][..], Vec::as_slice);
    for resource in ["cpu", "memory"] {
        let all = |which: &'static str| {
            pools.iter().filter_map(move |pool| Quantity::from_value(&pool[which][resource]).ok())
        };
        let sum = all("free").fold(None, |sum: Option<i128>, q| Some(sum.unwrap_or(0) + q.milli()));
        row["free"][resource] = amount(sum, resource);
        row["largest"][resource] = amount(all("largest").map(|q| q.milli()).max(), resource);
    }
}

/// Thousandths as people read them: cores, or MiB.
fn amount(milli: Option<i128>, resource: &str) -> Value {
    match milli.and_then(|milli| i64::try_from(milli).ok()) {
        None => Value::Null,
        Some(milli) if resource == "cpu" => json!(Quantity::from_milli(milli).to_string()),
        Some(milli) => json!(format!("{}Mi", milli / 1000 / (1 << 20))),
    }
}

/// The tree for people.
fn lines(tree: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let header =
        ["NAME", "READY", "PODS", "RUNNING", "CPU", "MEMORY", "FREE", "LARGEST FREE", "AREA", "VERSION"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let mut top = vec![String::new(); header.len()];
    top[0] = text(&tree["name"]);
    top[9] = text(&tree["version"]);
    rows.push(top);
    let list = |name: &str| tree[name].as_array().cloned().unwrap_or_default();
    let (machines, clusters) = (list("nodes"), list("clusters"));
    let last = machines.len() + clusters.len();
    let mut shown = Vec::new();
    for (n, row) in machines.iter().chain(&clusters).enumerate() {
        let is_last = n + 1 == last;
        shown.push((if is_last { "└─" } else { "├─" }.to_owned(), row.clone(), n >= machines.len()));
        let below = row["nodes"].as_array().map_or(&[][..], Vec::as_slice);
        for (m, node) in below.iter().enumerate() {
            let (trunk, branch) =
                (if is_last { "  " } else { "│ " }, if m + 1 == below.len() { "└─" } else { "├─" });
            shown.push((format!("{trunk} {branch}"), node.clone(), false));
        }
    }
    for (branch, row, is_cluster) in &shown {
        let ready = match (&row["readyMachines"], row["ready"] == true) {
            (ready, true) if *is_cluster && !ready.is_null() => format!("{ready}/{}", text(&row["machines"])),
            (_, true) => "yes".to_owned(),
            (_, false) => "no".to_owned(),
        };
        let pair = |name: &str| match row[name].is_null() {
            true => "-".to_owned(),
            false => format!("{} {}", text(&row[name]["cpu"]), text(&row[name]["memory"])),
        };
        let slash = if *is_cluster { "/" } else { "" };
        rows.push(vec![
            format!("{branch} {}{slash}", text(&row["name"])),
            ready,
            text(&row["pods"]),
            text(&row["running"]),
            text(&row["cpu"]),
            text(&row["memory"]),
            pair("free"),
            pair("largest"),
            text(&row["area"]),
            text(&row["version"]),
        ]);
    }
    let mut all = align(&rows);
    if let Some(waiting) = tree["unscheduledPods"].as_u64().filter(|n| *n > 0) {
        all.push_str(&format!(
            "{waiting} pods wait for a node: `dunlin get pods -A` shows them, `dunlin describe pod NAME` says why\n"
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_machines_and_clusters_as_a_tree() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let nodes = [
            json!({"metadata": {"name": "board", "labels": {"dunlin.io/area": "roof"}},
                "status": {"conditions": ready, "allocatable": {"cpu": "4", "memory": "8Gi"}, "nodeInfo": {"kubeletVersion": "v1.36.0"}}}),
            json!({"metadata": {"name": "garching", "labels": {"dunlin.io/virtual-node": "cluster", "dunlin.io/cluster": "garching"}},
                "status": {"conditions": ready, "allocatable": {"cpu": "12", "memory": "20Gi"}}}),
        ];
        let pods = [
            json!({"spec": {"nodeName": "board"}, "status": {"phase": "Running"}}),
            json!({"spec": {}, "status": {"phase": "Pending"}}),
        ];
        let pool = |cpu: &str, largest: &str| json!({"free": {"cpu": cpu, "memory": "1Gi"}, "largest": {"cpu": largest, "memory": "512Mi"}});
        let clusters =
            [json!({"metadata": {"name": "garching"}, "status": {"machines": 3, "readyMachines": 2,
            "area": "campus", "version": "0.1.0", "pools": [pool("1500m", "1"), pool("2", "2")]}})];
        let tree = tree("root", "v1.36.0", &nodes, &pods, &clusters);
        assert_eq!(tree["nodes"][0]["running"], 1);
        assert_eq!(tree["clusters"][0]["free"], json!({"cpu": "3500m", "memory": "2048Mi"}));
        assert_eq!(tree["clusters"][0]["largest"], json!({"cpu": "2", "memory": "512Mi"}));
        let shown = lines(&tree);
        let words = |n: usize| {
            shown.lines().nth(n).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words(1), "root v1.36.0");
        assert_eq!(words(2), "├─ board yes 1 1 4 8Gi - - roof v1.36.0");
        assert_eq!(words(3), "└─ garching/ 2/3 0 0 12 20Gi 3500m 2048Mi 2 512Mi campus 0.1.0");
        assert!(shown.contains("1 pods wait"), "{shown}");
    }

    #[test]
    fn machines_that_a_cluster_shows_stand_below_it() {
        let node = |name: &str, ready: &str| {
            json!({"metadata": {"name": name, "annotations": {"dunlin.io/exposed-by": "site"}, "labels": {"dunlin.io/cluster": "site"}},
                "status": {"conditions": [{"type": "Ready", "status": ready}], "allocatable": {"cpu": "4", "memory": "8Gi"}}})
        };
        let pods = [json!({"spec": {"nodeName": "site-a"}, "status": {"phase": "Running"}})];
        let clusters = [json!({"metadata": {"name": "site"}, "status": {"machines": 2, "readyMachines": 1}})];
        let tree = tree("root", "v1", &[node("site-a", "True"), node("site-b", "Unknown")], &pods, &clusters);
        let shown = lines(&tree);
        let words = |n: usize| {
            shown.lines().nth(n).unwrap_or_default().split_whitespace().take(5).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words(2), "└─ site/ 1/2 1 1", "{shown}");
        assert_eq!(words(3), "├─ site-a yes 1 1", "{shown}");
        assert_eq!(words(4), "└─ site-b no 0 0", "{shown}");
    }
}
