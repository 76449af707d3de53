//! LimitRanges: what containers get that ask for nothing, and what pods and claims may ask for.

use std::collections::BTreeMap;

use dunlin_api::quantity::Quantity;
use dunlin_api::quota::{self, Amounts};
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::object::{self, list, text};
use crate::resources::known;
use crate::server::Call;

const SET: &str = "kubernetes.io/limit-ranger";

/// Fills in and checks a new pod, or checks a new claim.
pub async fn create(call: &Call, value: &mut Value) -> Result<()> {
    let ranges = call.server.all(known("", "limitranges"), Some(call.ns())).await?;
    let items: Vec<&Value> = ranges.iter().flat_map(|range| list(range, &["spec", "limits"])).collect();
    let pods = call.resource.plural == "pods";
    if pods {
        items.iter().filter(|item| item["type"] == "Container").for_each(|item| fill(item, value));
    }
    let mut complaints = Vec::new();
    for item in items {
        let kind = text(item, &["type"]);
        match kind {
            "Container" if pods => {
                for container in containers(value) {
                    let of = |list: &str| quota::read(&container["resources"][list]);
                    check(item, kind, &of("requests"), &of("limits"), &mut complaints);
                }
            }
            "Pod" if pods => {
                let (requests, limits) =
                    (quota::needed(&value["spec"], "requests"), quota::needed(&value["spec"], "limits"));
                check(item, kind, &requests, &limits, &mut complaints);
            }
            "PersistentVolumeClaim" if !pods => {
                let requests = quota::read(&value["spec"]["resources"]["requests"]);
                check(item, kind, &requests, &requests, &mut complaints);
            }
            _ => {}
        }
    }
    match complaints.as_slice() {
        [] => Ok(()),
        [one] => Err(Failure::forbidden(&call.resource, object::name(value), one)),
        all => {
            let why = format!("[{}]", all.join(", "));
            Err(Failure::forbidden(&call.resource, object::name(value), &why))
        }
    }
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers"].into_iter().flat_map(|field| list(pod, &["spec", field]))
}

/// Gives every container the requests and limits that it does not name, and says so on the pod.
fn fill(item: &Value, pod: &mut Value) {
    let mut told = Vec::new();
    for (field, words) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod["spec"][field].as_array_mut().into_iter().flatten() {
            let name = text(container, &["name"]).to_owned();
            for (from, to, word) in
                [("defaultRequest", "requests", "request"), ("default", "limits", "limit")]
            {
                let mut set = Vec::new();
                for (resource, amount) in item[from].as_object().into_iter().flatten() {
                    if container["resources"][to][resource].is_null() {
                        container["resources"][to][resource] = amount.clone();
                        set.push(resource.as_str());
                    }
                }
                if !set.is_empty() {
                    told.push(format!("{} {word} for {words} {name}", set.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        pod["metadata"]["annotations"][SET] = json!(format!("LimitRanger plugin set: {}", told.join("; ")));
    }
}

/// Complains in Kubernetes' words.
fn check(item: &Value, kind: &str, requests: &Amounts, limits: &Amounts, complaints: &mut Vec<String>) {
    let bounds = |field: &str| -> BTreeMap<String, Quantity> { quota::read(&item[field]) };
    for (name, least) in bounds("min") {
        let text = format!("minimum {name} usage per {kind} is {least}");
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => complaints.push(format!("{text}.  No request is specified")),
            (Some(request), _) if *request < least => {
                complaints.push(format!("{text}, but request is {request}"));
            }
            (_, Some(limit)) if *limit < least => complaints.push(format!("{text}, but limit is {limit}")),
            _ => {}
        }
    }
    for (name, most) in bounds("max") {
        let text = format!("maximum {name} usage per {kind} is {most}");
        // A claim has no limits, only what it asks for.
        let word = if kind == "PersistentVolumeClaim" { "request" } else { "limit" };
        match (requests.get(&name), limits.get(&name)) {
            (_, None) => complaints.push(format!("{text}.  No {word} is specified")),
            (_, Some(limit)) if *limit > most => complaints.push(format!("{text}, but {word} is {limit}")),
            (Some(request), _) if *request > most => {
                complaints.push(format!("{text}, but request is {request}"));
            }
            _ => {}
        }
    }
    for (name, most) in bounds("maxLimitRequestRatio") {
        let text = format!("{name} max limit to request ratio per {kind} is {most}");
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => complaints.push(format!("{text}, but no request is specified or request is 0")),
            (Some(request), _) if request.is_zero() => {
                complaints.push(format!("{text}, but no request is specified or request is 0"));
            }
            (_, None) => complaints.push(format!("{text}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let ratio = limit.as_f64() / request.as_f64();
                if ratio > most.as_f64() {
                    complaints.push(format!("{text}, but provided ratio is {ratio:.6}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_must_be_in_range() {
        let item = json!({"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1", "memory": "1Gi"},
            "maxLimitRequestRatio": {"cpu": "2"}});
        for (requests, limits, want) in [
            (json!({"cpu": "500m"}), json!({"cpu": "1", "memory": "1Gi"}), vec![]),
            (
                json!({"cpu": "50m"}),
                json!({"cpu": "100m", "memory": "2Gi"}),
                vec![
                    "minimum cpu usage per Container is 100m, but request is 50m",
                    "maximum memory usage per Container is 1Gi, but limit is 2Gi",
                ],
            ),
            (
                json!({}),
                json!({}),
                vec![
                    "minimum cpu usage per Container is 100m.  No request is specified",
                    "maximum cpu usage per Container is 1.  No limit is specified",
                    "maximum memory usage per Container is 1Gi.  No limit is specified",
                    "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
                ],
            ),
            (
                json!({"cpu": "200m"}),
                json!({"cpu": "1", "memory": "1Mi"}),
                vec!["cpu max limit to request ratio per Container is 2, but provided ratio is 5.000000"],
            ),
        ] {
            let mut complaints = Vec::new();
            check(&item, "Container", &quota::read(&requests), &quota::read(&limits), &mut complaints);
            assert_eq!(complaints, want, "{requests} {limits}");
        }
    }

    #[test]
    fn containers_get_what_they_do_not_name() {
        let item = json!({"type": "Container", "default": {"cpu": "1", "memory": "64Mi"}, "defaultRequest": {"cpu": "100m"}});
        let mut pod = json!({"metadata": {}, "spec": {"containers": [
            {"name": "a"}, {"name": "b", "resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "2"}}}]}});
        fill(&item, &mut pod);
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "64Mi"}})
        );
        assert_eq!(pod["spec"]["containers"][1]["resources"]["limits"]["cpu"], "2");
        assert_eq!(
            pod["metadata"]["annotations"][SET],
            "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a"
        );
    }
}
