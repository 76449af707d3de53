//! Metrics that an extension server tells: of pods, of an object, of something outside (`custom.metrics.k8s.io`,
//! `external.metrics.k8s.io`).
//!
//! A metric is known by the path at which the API tells it. [`paths`] says which ones an autoscaler needs; the driver asks for
//! them now and then and puts the answers into the view.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use dunlin_api::quantity::Quantity;
use dunlin_api::selector::LabelSelector;
use serde_json::{Value, json};

use super::calculator::{Goal, Question, tolerates};
use super::metrics::{Failure, Proposed, failure};
use crate::model::{ContainerMetrics, HorizontalPodAutoscaler, Meta, Pod, PodMetrics, Quantities, milli};
use crate::view::View;

/// What the API told of a metric, or why it did not.
pub type Measured = Result<Vec<Measure>, Arc<str>>;

/// One value of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// What it was measured of; empty for something outside.
    pub of: Arc<str>,
    /// Thousandths.
    pub value: i64,
}

/// What is asked of a metric beside its goal.
pub struct Asked<'a> {
    pub view: &'a View,
    pub scaler: &'a HorizontalPodAutoscaler,
    /// The selector of the target's pods.
    pub selector: &'a Value,
    pub pods: &'a [Arc<Pod>],
    pub current: i32,
    pub tolerance: (f64, f64),
    pub now: i64,
}

/// The paths of all metrics that an autoscaler needs and that are told elsewhere.
pub fn paths(view: &View, scaler: &HorizontalPodAutoscaler, selector: &Value) -> Vec<Arc<str>> {
    let paths = scaler.spec.metrics.iter().filter_map(|metric| path(view, scaler, selector, metric).ok());
    paths.map(Arc::from).collect()
}

/// Where the API tells a metric.
///
/// # Errors
/// When it is none of these, or of an object of a kind that is not known.
fn path(
    view: &View,
    scaler: &HorizontalPodAutoscaler,
    selector: &Value,
    metric: &Value,
) -> Result<String, String> {
    let source = source(metric)?;
    let asked = &metric[source]["metric"];
    let (name, namespace) = (escaped(asked["name"].as_str().unwrap_or_default()), &scaler.metadata.namespace);
    let custom = "/apis/custom.metrics.k8s.io/v1beta2";
    let mut path = match source {
        "pods" => {
            let pods = parameter(selector)?;
            format!("{custom}/namespaces/{namespace}/pods/*/{name}?labelSelector={pods}&")
        }
        "object" => {
            let object = &metric["object"]["describedObject"];
            let text = |field: &str| object[field].as_str().unwrap_or_default();
            let (version, kind, of) = (text("apiVersion"), text("kind"), escaped(text("name")));
            let unknown = || format!("{kind} of {version} is not known here");
            let resource = view.resources.of_kind(version, kind).ok_or_else(unknown)?;
            match (&*resource.name, resource.namespaced) {
                ("namespaces", _) => format!("{custom}/namespaces/{of}/metrics/{name}?"),
                (plural, true) => format!("{custom}/namespaces/{namespace}/{plural}/{of}/{name}?"),
                (plural, false) => format!("{custom}/{plural}/{of}/{name}?"),
            }
        }
        _ => format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{name}?"),
    };
    if asked["selector"].is_object() {
        let selector = parameter(&asked["selector"])?;
        let parameter = if source == "external" { "labelSelector" } else { "metricLabelSelector" };
        path = format!("{path}{parameter}={selector}");
    }
    Ok(path.trim_end_matches(['?', '&']).to_owned())
}

/// The field of a metric that says where it comes from.
fn source(metric: &Value) -> Result<&'static str, String> {
    match metric["type"].as_str() {
        Some("Pods") => Ok("pods"),
        Some("Object") => Ok("object"),
        Some("External") => Ok("external"),
        other => Err(format!("unknown metric source type {:?}", other.unwrap_or_default())),
    }
}

/// A selector as a request has it.
fn parameter(selector: &Value) -> Result<String, String> {
    LabelSelector::from_value(selector).map(|s| escaped(&s.to_string())).map_err(|e| e.to_string())
}

/// A part of a URL.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte))
            }
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

/// What one of these metrics proposes.
pub fn one(asked: &Asked<'_>, metric: &Value) -> Result<Proposed, Failure> {
    let source = source(metric).map_err(|why| failure("InvalidMetricSourceType", why))?;
    let (reason, kind, api) = match source {
        "pods" => ("FailedGetPodsMetric", "pods metric", "custom metrics API"),
        "object" => ("FailedGetObjectMetric", "object metric", "custom metrics API"),
        _ => ("FailedGetExternalMetric", "external metric", "external metrics API"),
    };
    let name = metric[source]["metric"]["name"].as_str().unwrap_or_default();
    let failed = |why: &str| failure(reason, format!("failed to get {kind} {name}: {why}"));
    let path = path(asked.view, asked.scaler, asked.selector, metric).map_err(|why| failed(&why))?;
    let measured = match asked.view.measured.get(&*path) {
        None => return Err(failed(&format!("no answer from {api} yet"))),
        Some(Err(why)) => return Err(failed(&format!("unable to fetch metrics from {api}: {why}"))),
        Some(Ok(measured)) if measured.is_empty() => {
            return Err(failed(&format!("no metrics returned from {api}")));
        }
        Some(Ok(measured)) => measured,
    };
    let target = &metric[source]["target"];
    let goal = |field: &str| Quantity::from_value(&target[field]).ok().map(|q| milli(&q).max(1));
    let sum = measured.iter().fold(0i64, |sum, measure| sum.saturating_add(measure.value));
    let (replicas, current) = match (source, goal("averageValue"), goal("value")) {
        ("pods", Some(average), _) => {
            let (replicas, used) = of_pods(asked, measured, average).map_err(|why| failed(&why))?;
            (replicas, json!({"averageValue": shown(used)}))
        }
        ("object" | "external", Some(average), _) => {
            let each = sum / i64::from(asked.current.max(1));
            let ratio = each as f64 / average as f64;
            let size = (sum as f64 / average as f64).ceil() as i32;
            let replicas = if tolerates(asked.tolerance, ratio) { asked.current } else { size };
            (replicas, json!({"averageValue": shown(each)}))
        }
        ("object" | "external", None, Some(value)) => {
            let ratio = sum as f64 / value as f64;
            let ready = asked.pods.iter().filter(|pod| !pod.metadata.is_deleting() && pod.is_ready()).count();
            let size = (ratio * ready as f64).ceil() as i32;
            let replicas = if tolerates(asked.tolerance, ratio) { asked.current } else { size };
            (replicas, json!({"value": shown(sum)}))
        }
        _ => return Err(failed("its target names no value")),
    };
    let mut status =
        json!({"type": metric["type"], source: {"metric": metric[source]["metric"], "current": current}});
    let mut words = format!("{kind} {name}");
    if source == "object" {
        let object = &metric["object"]["describedObject"];
        status[source]["describedObject"] = object.clone();
        words = format!("{} metric {name}", object["kind"].as_str().unwrap_or_default());
    }
    Ok((replicas, words, status))
}

/// The size by what each pod has on average, and that.
fn of_pods(asked: &Asked<'_>, measured: &[Measure], average: i64) -> Result<(i32, i64), String> {
    const NAME: &str = "value";
    let metrics: HashMap<Arc<str>, Arc<PodMetrics>> = measured
        .iter()
        .map(|measure| {
            let usage = Quantities([(NAME.into(), measure.value)].into());
            let containers = vec![ContainerMetrics { usage, ..ContainerMetrics::default() }];
            let metadata = Arc::new(Meta { name: measure.of.clone(), ..Meta::default() });
            (measure.of.clone(), Arc::new(PodMetrics { metadata, containers, ..PodMetrics::default() }))
        })
        .collect();
    let question = Question {
        pods: asked.pods,
        metrics: &metrics,
        resource: NAME,
        container: None,
        goal: Goal::AverageValue(average),
        current: asked.current,
        tolerance: asked.tolerance,
        now: asked.now,
    };
    question.answer().map(|answer| (answer.replicas, answer.average))
}

fn shown(milli: i64) -> String {
    if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") }
}
