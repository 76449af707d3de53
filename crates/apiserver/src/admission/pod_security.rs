//! Pods that are less secure than their namespace wants are refused; their authors are told, and those of templates too,
//! and so is the audit log.

use std::collections::BTreeMap;

use dunlin_api::defaults::template_path;
use dunlin_api::pod_security::{Level, Mode, Standard, Violation, violations, wanted};
use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::object::{self, at};
use crate::resources::known;
use crate::server::Call;

/// How many pods of a namespace are looked at when it becomes stricter.
const PODS: usize = 3000;

fn shown(found: &[Violation]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Judges a pod, or the template of a workload, that is about to be stored.
pub async fn judge(call: &mut Call, old: Option<&Value>, new: &Value) -> Result<()> {
    let is_pod = call.resource.is("", "pods");
    let pod =
        if is_pod { Some(new) } else { template_path(&call.resource.gvk()).and_then(|path| at(new, path)) };
    let (Some(pod), Some(namespace)) = (pod, call.namespace.clone()) else { return Ok(()) };
    if is_pod && old.is_some_and(|old| unchanged(&old["spec"], &new["spec"])) {
        return Ok(());
    }
    let Some(namespace) = call.server.find(known("", "namespaces"), "", &namespace).await? else {
        return Ok(());
    };
    let labels = &namespace.value["metadata"]["labels"];
    if call.trail.is_on() {
        note(call, labels, pod, is_pod);
    }
    if is_pod {
        let standard = wanted(labels, Mode::Enforce);
        let found = violations(standard, &pod["metadata"], &pod["spec"]);
        if !found.is_empty() {
            let why = format!("violates PodSecurity \"{standard}\": {}", shown(&found));
            return Err(Failure::forbidden(&call.resource, object::name(new), &why));
        }
    }
    let standard = wanted(labels, Mode::Warn);
    let found = violations(standard, &pod["metadata"], &pod["spec"]);
    if !found.is_empty() {
        call.warnings.push(format!("would violate PodSecurity \"{standard}\": {}", shown(&found)));
    }
    Ok(())
}

/// Leaves in the trail what was enforced, and what the audit log is to be told.
fn note(call: &Call, labels: &Value, pod: &Value, is_pod: bool) {
    if is_pod {
        let enforced = wanted(labels, Mode::Enforce).to_string();
        call.trail.annotate("pod-security.kubernetes.io/enforce-policy", enforced);
    }
    let standard = wanted(labels, Mode::Audit);
    let found = violations(standard, &pod["metadata"], &pod["spec"]);
    if !found.is_empty() {
        let text = format!("would violate PodSecurity \"{standard}\": {}", shown(&found));
        call.trail.annotate("pod-security.kubernetes.io/audit-violations", text);
    }
}

/// Whether a change of a pod touches nothing that is judged: its images and security contexts.
fn unchanged(old: &Value, new: &Value) -> bool {
    let judged = |spec: &Value| -> Vec<(Value, Value)> {
        ["initContainers", "containers", "ephemeralContainers"]
            .iter()
            .flat_map(|list| spec[*list].as_array().cloned().unwrap_or_default())
            .map(|container| (container["image"].clone(), container["securityContext"].clone()))
            .collect()
    };
    judged(old) == judged(new)
}

/// A namespace that becomes stricter: tells which of its pods are too free for it.
pub async fn tightened(call: &mut Call, old: &Value, new: &Value) -> Result<()> {
    let of = |value: &Value| wanted(&value["metadata"]["labels"], Mode::Enforce);
    let (before, now) = (of(old), of(new));
    if now == before || now.level == Level::Privileged || is_relaxed(before, now) {
        return Ok(());
    }
    let namespace = object::name(new).to_owned();
    let pods = call.server.all(known("", "pods"), Some(&namespace)).await?;
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in pods.iter().take(PODS) {
        let reasons: Vec<&str> = violations(now, &pod["metadata"], &pod["spec"])
            .iter()
            .map(|violation| violation.reason)
            .collect();
        if reasons.is_empty() {
            continue;
        }
        let name = object::name(pod).to_owned();
        let entry = found.entry(reasons.join(", ")).or_insert_with(|| (name.clone(), 0));
        entry.0 = entry.0.clone().min(name);
        entry.1 += 1;
    }
    if pods.len() > PODS {
        call.warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS} of {} existing pods",
            pods.len()
        ));
    }
    if !found.is_empty() {
        call.warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{now}\""
        ));
    }
    let mut lines: Vec<String> = found
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            count => format!("{name} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    lines.sort();
    call.warnings.append(&mut lines);
    Ok(())
}

fn is_relaxed(before: Standard, now: Standard) -> bool {
    now.same_version(before) && now.level <= before.level
}
