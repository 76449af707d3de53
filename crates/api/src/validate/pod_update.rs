//! What may change in a pod once it exists, and what may not be there when it is created.

use serde_json::Value;

use super::error::Shown;
use super::field::{At, Errors, same};
use super::{FieldError, container, pod, pod_annotations};
use crate::quantity::Quantity;

/// Pods are created without ephemeral containers, and those that wait have no node.
pub(super) fn create_only(pod: &At, errors: &mut Errors) {
    let spec = pod.get("spec");
    pod::only_pod(&spec, errors);
    let ephemeral = spec.get("ephemeralContainers");
    if !ephemeral.is_empty() {
        errors.forbidden(&ephemeral, "cannot be set on create");
    }
    if !spec.get("schedulingGates").is_empty() && !spec.get("nodeName").is_empty() {
        errors.forbidden(&spec.get("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    pod_annotations::agree(pod, errors);
}

/// An ordinary update: images, deadlines, more tolerations, gates taken away; nothing else of the spec.
pub(super) fn change(new: &At, old: &At, errors: &mut Errors) {
    let (new, old) = (new.get("spec"), old.get("spec"));
    pod::only_pod(&new, errors);
    for list in ["containers", "initContainers"] {
        if new.get(list).items().len() != old.get(list).items().len() {
            errors.forbidden(&new.get(list), "pod updates may not add or remove containers");
            return;
        }
        // Kubernetes looks at the images a second time here.
        for container in new.get(list).items() {
            errors.need(&container.get("image"));
            container::image_of_pod(&container, errors);
        }
    }
    if !deadline(&new.get("activeDeadlineSeconds"), &old.get("activeDeadlineSeconds"), errors) {
        return;
    }
    only_added(&new.get("tolerations"), &old.get("tolerations"), errors);
    let gated = !old.get("schedulingGates").is_empty();
    gates(&new.get("schedulingGates"), &old.get("schedulingGates"), errors);

    // What may differ is made equal; if anything still differs, it is what may not.
    let mut copy = new.value.clone();
    let mut allow = |field: &str| {
        if let Some(copy) = copy.as_object_mut() {
            copy.insert(field.into(), old.value[field].clone());
        }
    };
    allow("activeDeadlineSeconds");
    allow("schedulingGates");
    allow("tolerations");
    if gated && added_pairs(&new.get("nodeSelector"), &old.get("nodeSelector")) {
        allow("nodeSelector");
    }
    if gated && added_node_affinity(new.value, old.value) {
        allow("affinity");
    }
    let grace = |at: &At| at.get("terminationGracePeriodSeconds").int();
    if grace(&old).is_some_and(|n| n < 0) && grace(&new) == Some(1) {
        allow("terminationGracePeriodSeconds");
    }
    for list in ["containers", "initContainers"] {
        for (index, before) in old.get(list).items().iter().enumerate() {
            if let Some(container) =
                copy.get_mut(list).and_then(|l| l.get_mut(index)).and_then(Value::as_object_mut)
            {
                container.insert("image".into(), before.value["image"].clone());
            }
        }
    }
    let changed = differences(&copy, old.value);
    if !changed.is_empty() {
        errors.push(FieldError::forbidden(
            &new.path,
            format!(
                "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\nchanged: {}",
                changed.join(", ")
            ),
        ));
    }
}

/// The fields of a spec that differ, for people to read.
fn differences(new: &Value, old: &Value) -> Vec<String> {
    let (Some(a), Some(b)) = (new.as_object(), old.as_object()) else {
        return if same(new, old) { Vec::new() } else { vec!["spec".into()] };
    };
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| !same(&new[*name], &old[*name]))
        .map(|name| format!("spec.{name}"))
        .collect()
}

/// A deadline may come and come nearer; whether anything else is worth looking at.
fn deadline(new: &At, old: &At, errors: &mut Errors) -> bool {
    let limit = i64::from(i32::MAX);
    match (new.int(), old.int()) {
        (Some(now), _) if !(0..=limit).contains(&now) => {
            errors.range(new, 0, limit);
            return false;
        }
        (Some(now), Some(before)) if now > before => {
            errors.invalid(new, "must be less than or equal to previous value");
            return false;
        }
        (None, Some(_)) => {
            let words = "must not update from a positive integer to nil value";
            let mut error = FieldError::invalid(&new.path, "", words);
            error.bad_value = Some(Shown::Null);
            errors.push(error);
        }
        _ => {}
    }
    true
}

/// Every toleration that was there must still be; the seconds may change.
fn only_added(new: &At, old: &At, errors: &mut Errors) {
    let strip = |at: &At| {
        let mut value = at.value.clone();
        if let Some(map) = value.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        value
    };
    let now: Vec<Value> = new.items().iter().map(strip).collect();
    let kept = old.items().iter().all(|before| now.iter().any(|n| same(n, &strip(before))));
    if !kept {
        errors.forbidden(new, "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn gates(new: &At, old: &At, errors: &mut Errors) {
    let before: Vec<&str> = old.items().iter().map(|gate| gate.get("name").text()).collect();
    for gate in new.items() {
        if !before.contains(&gate.get("name").text()) {
            errors.forbidden(new, "only deletion is allowed, but found new scheduling gate");
            return;
        }
    }
}

fn added_pairs(new: &At, old: &At) -> bool {
    old.entries().iter().all(|(key, value)| new.value.get(*key) == Some(value.value))
}

/// While a pod waits behind a gate, its node affinity may become narrower; the rest of its affinity stays.
fn added_node_affinity(new: &Value, old: &Value) -> bool {
    let rest = |spec: &Value| {
        let mut affinity = spec["affinity"].clone();
        if let Some(map) = affinity.as_object_mut() {
            map.remove("nodeAffinity");
        }
        affinity
    };
    if !same(&rest(new), &rest(old)) {
        return false;
    }
    let terms = |spec: &Value| {
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let (now, before) = (terms(new), terms(old));
    if before.is_empty() {
        return true;
    }
    let holds = |now: &Value, before: &Value, list: &str| {
        let before = before[list].as_array().into_iter().flatten();
        before.into_iter().all(|e| now[list].as_array().is_some_and(|now| now.contains(e)))
    };
    now.len() == before.len()
        && now.iter().zip(&before).all(|(n, b)| holds(n, b, "matchExpressions") && holds(n, b, "matchFields"))
}

/// The subresource `ephemeralcontainers`: they can be added, never changed or taken away.
pub(super) fn ephemeral_containers(new: &At, old: &At, errors: &mut Errors) {
    let spec = new.get("spec");
    let (now, before) = (spec.get("ephemeralContainers"), old.path(&["spec", "ephemeralContainers"]));
    let context = pod::context(&spec);
    let mut names: Vec<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| spec.get(list).items())
        .map(|container| container.get("name").text())
        .collect();
    for container in now.items() {
        pod::ephemeral(&container, &spec, &context, &mut names, errors);
    }
    for container in before.items() {
        let name = container.get("name").text();
        match now.items().iter().find(|c| c.get("name").text() == name) {
            None => {
                let words = format!(
                    "existing ephemeral containers {} may not be removed\n",
                    crate::status::quote(name)
                );
                errors.forbidden(&now, &words);
            }
            Some(found) if !same(found.value, container.value) => {
                let words = format!(
                    "existing ephemeral containers {} may not be changed\n",
                    crate::status::quote(name)
                );
                errors.forbidden(&now, &words);
            }
            Some(_) => {}
        }
    }
}

/// The subresource `resize`: CPU and memory of containers, nothing else, and not the class of service.
pub(super) fn resize(new: &At, old: &At, errors: &mut Errors) {
    let (new, old) = (new.get("spec"), old.get("spec"));
    let qos = crate::defaults::qos_class;
    if qos(new.value) != qos(old.value) {
        errors.invalid_value(&new, qos(new.value), "Pod QOS Class may not change as a result of resizing");
    }
    let mut copy = new.value.clone();
    for list in ["containers", "initContainers"] {
        for (index, before) in old.get(list).items().iter().enumerate() {
            let Some(container) =
                copy.get_mut(list).and_then(|l| l.get_mut(index)).and_then(Value::as_object_mut)
            else {
                continue;
            };
            for kind in ["requests", "limits"] {
                let read = |resources: &Value, name: &str| Quantity::from_value(&resources[kind][name]).ok();
                let now = container.get("resources").cloned().unwrap_or_default();
                let was = &before.value["resources"];
                for name in ["cpu", "memory"] {
                    if read(was, name).is_some() && read(&now, name).is_none() {
                        let at = before.get("resources").get(kind);
                        errors.forbidden(&at, &format!("resource {kind} cannot be removed"));
                    }
                }
            }
            let mut resources = container.get("resources").cloned().unwrap_or_default();
            for kind in ["requests", "limits"] {
                for name in ["cpu", "memory"] {
                    let before = before.value["resources"][kind].get(name).cloned();
                    if let Some(list) = resources.get_mut(kind).and_then(Value::as_object_mut) {
                        match before {
                            Some(value) => list.insert(name.into(), value),
                            None => list.remove(name),
                        };
                    }
                }
            }
            container.insert("resources".into(), resources);
        }
    }
    if !same(&copy, old.value) {
        errors.forbidden(&new, "only cpu and memory resources are mutable");
    }
}

/// The subresource `status`: a node reports, it does not move the pod.
pub(super) fn status(new: &At, old: &At, errors: &mut Errors) {
    let (status, before) = (new.get("status"), old.get("status"));
    for condition in status.get("conditions").items() {
        let kind = condition.get("type");
        // The name that Kubernetes prints.
        let at = kind.at(condition.get("Type").path);
        errors.complaints_about(&at, kind.text(), super::syntax::qualified_name(kind.text()));
    }
    let name = new.path(&["spec", "nodeName"]);
    if !same(name.value, old.path(&["spec", "nodeName"]).value) {
        errors.forbidden(&name.at("status.nodeName".to_owned()), "may not be changed directly");
    }
    let nominated = status.get("nominatedNodeName");
    if nominated.text() != before.get("nominatedNodeName").text() {
        errors.form(&nominated, super::syntax::dns_subdomain);
    }
    let class = status.get("qosClass");
    if class.text() != before.get("qosClass").text() {
        errors.push(FieldError::immutable(&class.path, class.text()));
    }
    transitions(new, old, errors);
    addresses(&status.get("podIPs"), "IP", errors);
    let hosts = status.get("hostIPs");
    if let Some(first) = hosts.items().first()
        && first.get("ip").text() != status.get("hostIP").text()
    {
        errors.invalid(&first.get("ip"), "must be equal to `hostIP`");
    }
    addresses(&hosts, "IP", errors);
}

/// Addresses of a pod or of its host: at most one of each family.
fn addresses(list: &At, shown: &str, errors: &mut Errors) {
    let all = list.items();
    for item in &all {
        let ip = item.get("ip").text();
        errors.complaints_about(item, ip, super::syntax::ip(ip));
    }
    if all.len() < 2 {
        return;
    }
    let bad = |item: &At| item.get("ip").text().parse::<std::net::IpAddr>().is_err();
    if let Some((index, item)) = all.iter().enumerate().find(|(_, item)| bad(item)) {
        let ip = item.get("ip").text();
        let words = format!("failed to check for dual stack with error:invalid IP[{index}]: {ip}");
        errors.push(FieldError::internal(&list.path, words));
    }
    let six = |item: &At| item.get("ip").text().contains(':');
    if all.len() > 2 || six(&all[0]) == six(&all[1]) || all.iter().any(bad) {
        let values: Vec<Value> =
            all.iter().map(|item| serde_json::json!({shown: item.get("ip").text()})).collect();
        errors.invalid_value(list, values, "may specify no more than one IP for each IP family");
    }
}

/// A container that has ended stays so, unless its restart policy says that it starts again.
fn transitions(new: &At, old: &At, errors: &mut Errors) {
    let spec = old.get("spec");
    let restarts = |name: &str, list: &str, code: i64| {
        let all = spec.get(list).items();
        let Some(container) = all.iter().find(|container| container.get("name").text() == name) else {
            return false;
        };
        let own = container.get("restartPolicy").text();
        let policy = if own.is_empty() { spec.get("restartPolicy").text() } else { own };
        let matching = container.get("restartPolicyRules").items().into_iter().any(|rule| {
            let codes = rule.get("exitCodes");
            let named = codes.get("values").items().iter().any(|value| value.int() == Some(code));
            named == (codes.get("operator").text() == "In")
        });
        matching || policy == "Always" || (policy == "OnFailure" && code != 0)
    };
    let ended = |status: &At| status.path(&["state", "terminated"]).is_set();
    for (statuses, list) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
        ("ephemeralContainerStatuses", ""),
    ] {
        let now = new.path(&["status", statuses]).items();
        for (index, before) in old.path(&["status", statuses]).items().iter().enumerate() {
            let name = before.get("name").text();
            let Some(after) = now.iter().find(|status| status.get("name").text() == name) else { continue };
            let code = before.path(&["state", "terminated", "exitCode"]).int().unwrap_or_default();
            if ended(before) && !ended(after) && !restarts(name, list, code) {
                let path = format!("status.{statuses}[{index}].state");
                errors.push(FieldError::forbidden(&path, "may not be transitioned to non-terminated state"));
            }
        }
    }
}
