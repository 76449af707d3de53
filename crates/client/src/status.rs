//! `status`: nodes with their health, capacity and pods.

use serde_json::{Value, json};

use crate::connect::Connection;
use crate::get::align;
use crate::{Error, Output, print, request};

/// Prints the state of the cluster.
///
/// # Errors
/// When the server refuses.
pub async fn run(connection: &Connection, output: Output) -> Result<(), Error> {
    let list = async |path: &str| -> Result<Vec<Value>, Error> {
        let mut answer: Value = connection
            .client
            .request(request(http::Method::GET, path, Vec::new(), &[])?)
            .await
            .map_err(Error::api(format!("getting {path}")))?;
        Ok(answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    };
    let (nodes, pods) = (list("/api/v1/nodes").await?, list("/api/v1/pods").await?);
    let mut rows = Vec::new();
    for node in &nodes {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        let here: Vec<&Value> = pods.iter().filter(|pod| pod["spec"]["nodeName"] == name).collect();
        let running = here.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
        let ready = node["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        rows.push(json!({
            "name": name, "ready": ready, "pods": here.len(), "running": running,
            "cpu": node["status"]["allocatable"]["cpu"], "memory": node["status"]["allocatable"]["memory"],
            "area": node["metadata"]["labels"]["dunlin.io/area"],
        }));
    }
    let waiting = pods.iter().filter(|pod| pod["spec"]["nodeName"].is_null()).count();
    if matches!(output, Output::Json | Output::Yaml) {
        return print(&json!({"nodes": rows, "unscheduledPods": waiting}), output);
    }
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| if value.is_null() { "-".to_owned() } else { value.to_string() }, str::to_owned)
    };
    let mut table =
        vec![["NODE", "READY", "PODS", "RUNNING", "CPU", "MEMORY", "AREA"].map(str::to_owned).to_vec()];
    for row in &rows {
        table.push(
            ["name", "ready", "pods", "running", "cpu", "memory", "area"]
                .map(|field| text(&row[field]))
                .to_vec(),
        );
    }
    print!("{}", align(&table));
    if waiting > 0 {
        println!(
            "{waiting} pods wait for a node: `dunlin get pods -A` shows them, `dunlin describe pod NAME` says why"
        );
    }
    Ok(())
}
