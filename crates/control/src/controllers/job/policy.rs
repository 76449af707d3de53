//! What a failed pod means, and which successes are enough.

use std::collections::BTreeSet;

use serde_json::Value;

use super::indexes;
use crate::model::{ContainerStatus, Job, Pod};

/// What to do about one failed pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    Count,
    Ignore,
    FailIndex,
    /// With the words for the job's condition.
    FailJob(String),
}

/// Applies `podFailurePolicy`: the first rule that matches decides.
pub fn failure(job: &Job, pod: &Pod) -> Failure {
    let Some(policy) = job.spec.pod_failure_policy.as_deref() else { return Failure::Count };
    if &*pod.status.phase != "Failed" {
        return Failure::Count;
    }
    for (n, rule) in policy["rules"].as_array().into_iter().flatten().enumerate() {
        let action = rule["action"].as_str().unwrap_or_default();
        let what = match rule.get("onExitCodes").filter(|r| !r.is_null()) {
            Some(codes) => on_exit_codes(codes, pod),
            None => on_conditions(&rule["onPodConditions"], pod),
        };
        let Some(what) = what else { continue };
        return match action {
            "Ignore" => Failure::Ignore,
            "FailIndex" if job.spec.backoff_limit_per_index.is_some() => Failure::FailIndex,
            "FailJob" => Failure::FailJob(format!("{what} matching FailJob rule at index {n}")),
            _ => Failure::Count,
        };
    }
    Failure::Count
}

fn on_exit_codes(rule: &Value, pod: &Pod) -> Option<String> {
    let values = || rule["values"].as_array().into_iter().flatten().filter_map(Value::as_i64);
    let name = rule["containerName"].as_str();
    let fits = |container: &&ContainerStatus| {
        let code = container.state.terminated.as_ref().map_or(0, |t| i64::from(t.exit_code));
        let listed = values().any(|value| value == code);
        let matches = if rule["operator"] == "NotIn" { !listed } else { listed };
        code != 0 && matches && name.is_none_or(|name| name == &*container.name)
    };
    let all = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    let container = all.clone().find(fits)?;
    let code = container.state.terminated.as_ref()?.exit_code;
    Some(format!(
        "Container {} for pod {}/{} failed with exit code {code}",
        container.name, pod.metadata.namespace, pod.metadata.name
    ))
}

fn on_conditions(rule: &Value, pod: &Pod) -> Option<String> {
    let patterns = rule.as_array()?;
    let found = patterns.iter().find(|pattern| {
        let status = pattern["status"].as_str().unwrap_or("True");
        let kind = pattern["type"].as_str().unwrap_or_default();
        pod.condition(kind).is_some_and(|condition| &*condition.status == status)
    })?;
    let kind = found["type"].as_str().unwrap_or_default();
    Some(format!("Pod {}/{} has condition {kind}", pod.metadata.namespace, pod.metadata.name))
}

/// The first rule of `successPolicy` that the done indexes fulfil.
pub fn success(job: &Job, done: &BTreeSet<i64>) -> Option<usize> {
    let rules = job.spec.success_policy.as_deref()?["rules"].as_array()?;
    let end = i64::from(job.spec.completions.unwrap_or(0));
    rules.iter().position(|rule| {
        let among = rule["succeededIndexes"].as_str().map(|text| indexes::read(text, end));
        let count = match &among {
            Some(among) => among.intersection(done).count(),
            None => done.len(),
        };
        let least = rule["succeededCount"].as_u64().and_then(|n| usize::try_from(n).ok());
        match (least, &among) {
            (Some(least), _) => count >= least,
            (None, Some(among)) => count == among.len(),
            (None, None) => false,
        }
    })
}
