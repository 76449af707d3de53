//! The metrics of an autoscaler: each proposes a size, and the largest counts.

use std::collections::HashMap;
use std::sync::Arc;

use dunlin_api::quantity::Quantity;
use serde_json::{Value, json};

use super::calculator::{Goal, Question};
use super::custom::{self, Asked};
use crate::model::{HorizontalPodAutoscaler, Pod, PodMetrics, milli};
use crate::view::View;

/// By which part use may be off the target, unless the autoscaler says otherwise.
const TOLERANCE: f64 = 0.1;

/// The size that the metrics ask for.
#[derive(Debug)]
pub struct Proposal {
    pub replicas: i32,
    /// The metric that asks for most, in words.
    pub metric: String,
    /// `status.currentMetrics`.
    pub statuses: Vec<Value>,
}

/// A size, the metric in words, and its part of `status.currentMetrics`.
pub type Proposed = (i32, String, Value);

/// Why a metric cannot be followed.
#[derive(Debug)]
pub struct Failure {
    pub reason: &'static str,
    /// For the event.
    pub message: String,
    /// For the condition.
    pub condition: String,
}

/// # Errors
/// When no metric can be read, or one cannot and the others would shrink the target.
pub fn propose(
    view: &View,
    scaler: &HorizontalPodAutoscaler,
    selector: &Value,
    pods: &[Arc<Pod>],
    current: i32,
    now: i64,
) -> Result<Proposal, Failure> {
    let namespace = &scaler.metadata.namespace;
    let known = pods.iter().filter_map(|pod| view.pod_metrics.get(namespace, &pod.metadata.name).cloned());
    let known: HashMap<Arc<str>, Arc<PodMetrics>> =
        known.map(|metrics| (metrics.metadata.name.clone(), metrics)).collect();
    let mut best: Option<(i32, String)> = None;
    let mut failed = None;
    let mut statuses = Vec::new();
    // What `autoscaling/v1` leaves out is this.
    let target = json!({"type": "Utilization", "averageUtilization": 80});
    let usual = [Arc::new(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}))];
    let metrics = if scaler.spec.metrics.is_empty() { &usual[..] } else { &scaler.spec.metrics };
    let tolerance = (tolerance(scaler, "scaleUp"), tolerance(scaler, "scaleDown"));
    let asked = Asked { view, scaler, selector, pods, current, tolerance, now };
    for metric in metrics {
        let proposed = match metric["type"].as_str() {
            Some("Resource") => one(&asked, metric, "resource", &known),
            Some("ContainerResource") => one(&asked, metric, "containerResource", &known),
            _ => custom::one(&asked, metric),
        };
        match proposed {
            Ok((replicas, name, status)) => {
                statuses.push(status);
                if best.as_ref().is_none_or(|(most, _)| replicas > *most) {
                    best = Some((replicas, name));
                }
            }
            Err(failure) => failed = failed.or(Some(failure)),
        }
    }
    match (best, failed) {
        // What one metric asks for more stands, whatever the unknown one would say.
        (Some((replicas, metric)), None) => Ok(Proposal { replicas, metric, statuses }),
        (Some((replicas, metric)), Some(_)) if replicas >= current => {
            Ok(Proposal { replicas, metric, statuses })
        }
        (_, Some(failure)) => Err(failure),
        (None, None) => Err(failure("InvalidMetricSourceType", "the autoscaler names no metric".to_owned())),
    }
}

fn one(
    asked: &Asked<'_>,
    metric: &Value,
    source: &str,
    known: &HashMap<Arc<str>, Arc<PodMetrics>>,
) -> Result<Proposed, Failure> {
    let Asked { pods, current, tolerance, now, .. } = *asked;
    let reason = match source {
        "resource" => "FailedGetResourceMetric",
        _ => "FailedGetContainerResourceMetric",
    };
    let source_of = &metric[source];
    let resource = source_of["name"].as_str().unwrap_or_default();
    let container = source_of["container"].as_str();
    let target = &source_of["target"];
    let average = Quantity::from_value(&target["averageValue"]).ok();
    let goal = match (average, target["averageUtilization"].as_i64()) {
        (Some(quantity), _) if resource == "cpu" => Goal::AverageValue(milli(&quantity)),
        (Some(quantity), _) => Goal::AverageValue(quantity.value()),
        (None, utilization) => Goal::Utilization(utilization.unwrap_or(80)),
    };
    let question = Question { pods, metrics: known, resource, container, goal, current, tolerance, now };
    let answer = question.answer().map_err(|why| {
        let what = match goal {
            Goal::Utilization(_) => format!("{resource} utilization"),
            Goal::AverageValue(_) => format!("{resource} usage"),
        };
        let why = match known.is_empty() && !pods.is_empty() {
            true => format!(
                "unable to get metrics for resource {resource}: no metrics returned from resource metrics API"
            ),
            false => why,
        };
        failure(reason, format!("failed to get {what}: {why}"))
    })?;
    let shown = if resource == "cpu" { format!("{}m", answer.average) } else { answer.average.to_string() };
    let mut now_used = json!({"averageValue": shown});
    if let Some(utilization) = answer.utilization {
        now_used["averageUtilization"] = json!(utilization);
    }
    let mut status = json!({"type": metric["type"], source: {"name": resource, "current": now_used}});
    if let Some(container) = container {
        status[source]["container"] = json!(container);
    }
    let of = if container.is_some() { "container resource" } else { "resource" };
    let name = match goal {
        Goal::Utilization(_) => format!("{resource} {of} utilization (percentage of request)"),
        Goal::AverageValue(_) => format!("{resource} {of}"),
    };
    Ok((answer.replicas, name, status))
}

fn tolerance(scaler: &HorizontalPodAutoscaler, direction: &str) -> f64 {
    let rules = scaler.spec.behavior.as_deref().map(|behavior| &behavior[direction]["tolerance"]);
    let quantity = rules.and_then(|tolerance| Quantity::from_value(tolerance).ok());
    quantity.map_or(TOLERANCE, |quantity| quantity.milli() as f64 / 1000.0)
}

/// A failure whose condition says what it is for.
pub fn failure(reason: &'static str, message: String) -> Failure {
    let condition = format!("the HPA was unable to compute the replica count: {message}");
    Failure { reason, message, condition }
}
