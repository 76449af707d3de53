//! What is used, as scrapers read it: `/metrics/resource`, `/metrics`, and the summary in a kubelet's form. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use dunlin_node::{PodRef, Readings, Usage};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// One kind of metric with its samples.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    samples: Vec<(String, f64)>,
}

fn render(families: &[Family], milliseconds: Option<i64>) -> String {
    let mut out = String::new();
    let at = milliseconds.map(|at| format!(" {at}")).unwrap_or_default();
    for Family { name, help, kind, samples } in families.iter().filter(|family| !family.samples.is_empty()) {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}{labels} {value}{at}");
        }
    }
    out
}

/// The value of a label in its quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn seconds(usage: Usage) -> f64 {
    usage.cpu_nanoseconds as f64 / 1e9
}

/// `/metrics/resource`: CPU and memory of the node, its pods and their containers, at `milliseconds` since 1970.
pub fn resource(readings: &Readings, pods: &[Pod], milliseconds: i64) -> String {
    let mut containers = [const { Vec::new() }; 3];
    let mut sums: BTreeMap<(&str, &str), Usage> = BTreeMap::new();
    let started = started(pods);
    for (of, usage) in &readings.containers {
        let PodRef { namespace, name, uid } = &of.pod;
        let labels = format!(
            "{{container={},namespace={},pod={}}}",
            quoted(&of.container),
            quoted(namespace),
            quoted(name)
        );
        if let Some(at) = started.get(&(uid.as_str(), of.container.as_str())) {
            containers[2].push((labels.clone(), *at));
        }
        containers[0].push((labels.clone(), seconds(*usage)));
        containers[1].push((labels, usage.memory_working_set as f64));
        let sum = sums.entry((namespace, name)).or_default();
        sum.cpu_nanoseconds += usage.cpu_nanoseconds;
        sum.memory_working_set += usage.memory_working_set;
    }
    let pod = |value: fn(Usage) -> f64| -> Vec<(String, f64)> {
        let label = |(namespace, name): &(&str, &str)| {
            format!("{{namespace={},pod={}}}", quoted(namespace), quoted(name))
        };
        sums.iter().map(|(key, usage)| (label(key), value(*usage))).collect()
    };
    let memory = |usage: Usage| usage.memory_working_set as f64;
    let family = |name, kind, help, samples| Family { name, help, kind, samples };
    let [cpu, working_set, start] = containers;
    let families = [
        family("container_cpu_usage_seconds_total", "counter", "CPU time of the container in seconds", cpu),
        family(
            "container_memory_working_set_bytes",
            "gauge",
            "Working set of the container in bytes",
            working_set,
        ),
        family("container_start_time_seconds", "gauge", "Start of the container, seconds since 1970", start),
        family(
            "node_cpu_usage_seconds_total",
            "counter",
            "CPU time of the node in seconds",
            vec![(String::new(), seconds(readings.node))],
        ),
        family(
            "node_memory_working_set_bytes",
            "gauge",
            "Working set of the node in bytes",
            vec![(String::new(), memory(readings.node))],
        ),
        family("pod_cpu_usage_seconds_total", "counter", "CPU time of the pod in seconds", pod(seconds)),
        family("pod_memory_working_set_bytes", "gauge", "Working set of the pod in bytes", pod(memory)),
    ];
    let mut text = render(&families, Some(milliseconds));
    // Without a time: it is about this answer.
    let errors = family(
        "resource_scrape_error",
        "gauge",
        "1 if something could not be measured",
        vec![(String::new(), 0.0)],
    );
    text.push_str(&render(&[errors], None));
    text
}

/// When each running container was started, by the pod's uid and its name; seconds since 1970.
fn started(pods: &[Pod]) -> BTreeMap<(&str, &str), f64> {
    let mut found = BTreeMap::new();
    for pod in pods {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let Some(status) = &pod.status else { continue };
        let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        for container in all {
            let running = container.state.as_ref().and_then(|state| state.running.as_ref());
            if let Some(at) = running.and_then(|running| running.started_at.as_ref()) {
                found.insert((uid, container.name.as_str()), at.0.as_millisecond() as f64 / 1e3);
            }
        }
    }
    found
}

/// `/metrics`: the agent itself.
pub fn own(node: &str, pods: &[Pod], resident_bytes: u64) -> String {
    let running = pods.iter().filter(|pod| crate::pods::runs(pod)).count();
    let containers: usize = started(pods).len();
    let one =
        |name, help, value: f64| Family { name, help, kind: "gauge", samples: vec![(String::new(), value)] };
    render(
        &[
            Family {
                name: "kubelet_node_name",
                help: "The node's name; the value is always 1",
                kind: "gauge",
                samples: vec![(format!("{{node={}}}", quoted(node)), 1.0)],
            },
            one("kubelet_running_pods", "Pods of which a container runs", running as f64),
            Family {
                name: "kubelet_running_containers",
                help: "Containers by state",
                kind: "gauge",
                samples: vec![("{container_state=\"running\"}".to_owned(), containers as f64)],
            },
            one(
                "process_resident_memory_bytes",
                "Resident memory of the agent in bytes",
                resident_bytes as f64,
            ),
        ],
        None,
    )
}

/// The summary of [`dunlin_node::NodeService::summary`] in the form of a kubelet's.
pub fn summary(mut summary: Value, node: &str) -> Value {
    if let Some(fields) = summary.as_object_mut() {
        fields.remove("windowSeconds");
    }
    summary["node"]["nodeName"] = json!(node);
    for pod in summary["pods"].as_array_mut().into_iter().flatten() {
        let containers = pod["containers"].as_array().cloned().unwrap_or_default();
        let sum = |part: &str, field: &str| -> u64 {
            containers.iter().filter_map(|container| container[part][field].as_u64()).sum()
        };
        let time = containers.first().map(|first| first["cpu"]["time"].clone()).unwrap_or_default();
        pod["cpu"] = json!({
            "time": time,
            "usageNanoCores": sum("cpu", "usageNanoCores"),
            "usageCoreNanoSeconds": sum("cpu", "usageCoreNanoSeconds"),
        });
        pod["memory"] = json!({"time": time, "workingSetBytes": sum("memory", "workingSetBytes")});
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_node::ContainerRef;

    #[test]
    fn resources_of_containers_pods_and_the_node() {
        let of = |container: &str| ContainerRef {
            pod: PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() },
            container: container.into(),
        };
        let usage = |cpu_nanoseconds, memory_working_set| Usage { cpu_nanoseconds, memory_working_set };
        let readings = Readings {
            node: usage(3_500_000_000, 100),
            containers: vec![(of("a"), usage(500_000_000, 7)), (of("b"), usage(1_000_000_000, 8))],
        };
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "status": {"containerStatuses": [{"name": "a", "ready": true, "restartCount": 0, "image": "", "imageID": "",
                "state": {"running": {"startedAt": "1970-01-01T00:00:10Z"}}}]}}))
        .expect("a pod");
        let text = resource(&readings, &[pod.clone()], 12);
        for line in [
            "container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"p\"} 0.5 12",
            "container_start_time_seconds{container=\"a\",namespace=\"n\",pod=\"p\"} 10 12",
            "node_cpu_usage_seconds_total 3.5 12",
            "pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 1.5 12",
            "pod_memory_working_set_bytes{namespace=\"n\",pod=\"p\"} 15 12",
            "resource_scrape_error 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is missing in\n{text}");
        }
        assert!(own("n", &[pod], 5).contains("kubelet_running_containers{container_state=\"running\"} 1\n"));
    }
}
