//! What an object takes of a ResourceQuota, and which quotas it concerns: for admission and for the counting of what is
//! there, so that both come to the same numbers.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::quantity::Quantity;

/// Amounts by the names that quotas give them: `pods`, `requests.cpu`, `count/deployments.apps`.
pub type Amounts = BTreeMap<String, Quantity>;

/// Core resources that can be counted by their plain names.
const PLAIN: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];
/// What containers must name if a quota limits it, so that nobody gets around it.
const MUST_NAME: &[&str] =
    &["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// What is known of one object.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Plural with group, as in `deployments.apps`.
    pub resource: String,
    pub pod: Option<PodFacts>,
    pub service: Option<ServiceFacts>,
    pub claim: Option<ClaimFacts>,
}

/// A pod, as far as quotas care.
#[derive(Debug, Clone, Default)]
pub struct PodFacts {
    /// Of all its containers, by resource.
    pub requests: Amounts,
    pub limits: Amounts,
    /// It has ended: only the object itself counts.
    pub is_finished: bool,
    /// It has an `activeDeadlineSeconds`.
    pub is_terminating: bool,
    pub is_best_effort: bool,
    pub priority_class: String,
    /// Its affinity looks into other namespaces.
    pub crosses_namespaces: bool,
}

#[derive(Debug, Clone, Default)]
pub struct ServiceFacts {
    pub kind: String,
    pub ports: i64,
}

#[derive(Debug, Clone, Default)]
pub struct ClaimFacts {
    pub storage: Quantity,
    pub class: String,
}

impl Facts {
    /// Reads an object of `resource`.
    pub fn read(resource: &str, object: &Value) -> Self {
        let mut facts = Self { resource: resource.to_owned(), ..Self::default() };
        let spec = &object["spec"];
        match resource {
            "pods" => facts.pod = Some(PodFacts::read(object)),
            "services" => {
                let ports = spec["ports"].as_array().map_or(0, Vec::len);
                let kind = spec["type"].as_str().unwrap_or("ClusterIP").to_owned();
                facts.service = Some(ServiceFacts { kind, ports: i64::try_from(ports).unwrap_or(i64::MAX) });
            }
            "persistentvolumeclaims" => {
                facts.claim = Some(ClaimFacts {
                    storage: Quantity::from_value(&spec["resources"]["requests"]["storage"])
                        .unwrap_or_default(),
                    class: spec["storageClassName"].as_str().unwrap_or_default().to_owned(),
                });
            }
            _ => {}
        }
        facts
    }

    /// Everything that the object takes, by all names that a quota may use for it.
    pub fn usage(&self) -> Amounts {
        let one = Quantity::new(1);
        let mut usage = Amounts::from([(format!("count/{}", self.resource), one)]);
        if self.pod.as_ref().is_some_and(|pod| pod.is_finished) {
            return usage;
        }
        if PLAIN.contains(&self.resource.as_str()) {
            usage.insert(self.resource.clone(), one);
        }
        if let Some(pod) = &self.pod {
            for (name, amount) in &pod.requests {
                usage.insert(format!("requests.{name}"), *amount);
                if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                    usage.insert(name.clone(), *amount);
                }
            }
            let limits = pod.limits.iter().map(|(name, amount)| (format!("limits.{name}"), *amount));
            usage.extend(limits);
        }
        if let Some(service) = &self.service {
            let balanced = service.kind == "LoadBalancer";
            if balanced {
                usage.insert("services.loadbalancers".to_owned(), one);
            }
            if balanced || service.kind == "NodePort" {
                usage.insert("services.nodeports".to_owned(), Quantity::new(service.ports));
            }
        }
        if let Some(claim) = &self.claim {
            usage.insert("requests.storage".to_owned(), claim.storage);
            if !claim.class.is_empty() {
                let of = format!("{}.storageclass.storage.k8s.io", claim.class);
                usage.insert(format!("{of}/requests.storage"), claim.storage);
                usage.insert(format!("{of}/persistentvolumeclaims"), one);
            }
        }
        usage
    }

    /// Whether the scopes of a quota's `spec` cover the object. Scopes are about pods only.
    pub fn is_covered(&self, spec: &Value) -> bool {
        let scopes = spec["scopes"].as_array().into_iter().flatten();
        let scopes = scopes.map(|scope| (scope.as_str().unwrap_or_default(), "Exists", Value::Null));
        let selector = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
        let selector = selector.map(|e| {
            let scope = e["scopeName"].as_str().unwrap_or_default();
            (scope, e["operator"].as_str().unwrap_or_default(), e["values"].clone())
        });
        scopes.chain(selector).all(|(scope, operator, values)| {
            self.pod.as_ref().is_some_and(|pod| pod.is_in(scope, operator, &values))
        })
    }
}

impl PodFacts {
    fn read(pod: &Value) -> Self {
        let spec = &pod["spec"];
        Self {
            requests: needed(spec, "requests"),
            limits: needed(spec, "limits"),
            is_finished: matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")),
            is_terminating: spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0),
            is_best_effort: crate::defaults::qos_class(spec) == "BestEffort",
            priority_class: spec["priorityClassName"].as_str().unwrap_or_default().to_owned(),
            crosses_namespaces: crosses_namespaces(&spec["affinity"]),
        }
    }

    fn is_in(&self, scope: &str, operator: &str, values: &Value) -> bool {
        let exists = match scope {
            "Terminating" => self.is_terminating,
            "NotTerminating" => !self.is_terminating,
            "BestEffort" => self.is_best_effort,
            "NotBestEffort" => !self.is_best_effort,
            "CrossNamespacePodAffinity" => self.crosses_namespaces,
            "PriorityClass" => {
                let named = || {
                    values
                        .as_array()
                        .into_iter()
                        .flatten()
                        .any(|one| one.as_str() == Some(&self.priority_class))
                };
                return match operator {
                    "In" => named(),
                    "NotIn" => !named(),
                    "DoesNotExist" => self.priority_class.is_empty(),
                    _ => !self.priority_class.is_empty(),
                };
            }
            _ => false,
        };
        if operator == "DoesNotExist" { !exists } else { exists }
    }
}

/// Whether an affinity names other namespaces than the pod's own.
pub fn crosses_namespaces(affinity: &Value) -> bool {
    let crosses = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|all| !all.is_empty())
            || term["namespaceSelector"].is_object()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let of = &affinity[*kind];
        let required = of["requiredDuringSchedulingIgnoredDuringExecution"].as_array().into_iter().flatten();
        let preferred =
            of["preferredDuringSchedulingIgnoredDuringExecution"].as_array().into_iter().flatten();
        required.chain(preferred.map(|item| &item["podAffinityTerm"])).any(crosses)
    })
}

/// What all containers together need at the most at once: those that run, or one that initialises beside its sidecars.
pub fn needed(spec: &Value, what: &str) -> Amounts {
    let of = |container: &Value| -> Amounts {
        let list = container["resources"][what].as_object().into_iter().flatten();
        list.filter_map(|(name, value)| Some((name.clone(), Quantity::from_value(value).ok()?))).collect()
    };
    let raise = |most: &mut Amounts, amounts: &Amounts| {
        for (name, amount) in amounts {
            let slot = most.entry(name.clone()).or_insert(*amount);
            *slot = (*slot).max(*amount);
        }
    };
    let (mut running, mut sidecars, mut starting) = (Amounts::new(), Amounts::new(), Amounts::new());
    for container in spec["containers"].as_array().into_iter().flatten() {
        add(&mut running, &of(container));
    }
    for container in spec["initContainers"].as_array().into_iter().flatten() {
        let mut moment = sidecars.clone();
        add(&mut moment, &of(container));
        raise(&mut starting, &moment);
        if container["restartPolicy"] == "Always" {
            sidecars = moment;
        }
    }
    add(&mut running, &sidecars);
    raise(&mut running, &starting);
    // What the whole pod asks for replaces the sums (KEP-2837); what its runtime needs comes on top.
    running.extend(of(spec));
    let overhead = read(&spec["overhead"]);
    let overhead =
        overhead.into_iter().filter(|(name, _)| what == "requests" || running.contains_key(name)).collect();
    add(&mut running, &overhead);
    running
}

/// Adds every amount.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        match sum.get_mut(name) {
            Some(slot) => *slot += *amount,
            None => drop(sum.insert(name.clone(), *amount)),
        }
    }
}

/// A list of amounts of an object.
pub fn read(list: &Value) -> Amounts {
    let entries = list.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), Quantity::from_value(value).ok()?))).collect()
}

/// What the containers of a pod have to name because a quota limits it and do not, as in `limits.cpu for: a,b`.
pub fn unnamed(hard: &Amounts, pod: &Value) -> Vec<String> {
    let containers = ["containers", "initContainers"];
    let containers = containers.iter().flat_map(|field| pod["spec"][*field].as_array().into_iter().flatten());
    let containers: Vec<&Value> = containers.collect();
    let limited = MUST_NAME.iter().filter(|name| hard.contains_key(**name));
    let lacking = limited.filter_map(|name| {
        let (list, resource) = name.split_once('.').unwrap_or(("requests", name));
        let lacking = containers.iter().filter(|c| c["resources"][list][resource].is_null());
        let names: Vec<&str> = lacking.filter_map(|c| c["name"].as_str()).collect();
        (!names.is_empty()).then(|| format!("{name} for: {}", names.join(",")))
    });
    lacking.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(amounts: &Amounts) -> String {
        amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn objects_are_counted_by_every_name() {
        let pod = json!({"spec": {
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "200m", "example.com/gpu": "1"}}}],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "1"}}}]}});
        for (resource, object, want) in [
            (
                "pods",
                pod.clone(),
                "count/pods=1,cpu=1,limits.memory=1Gi,pods=1,requests.cpu=1,requests.example.com/gpu=1",
            ),
            ("pods", json!({"spec": {}, "status": {"phase": "Succeeded"}}), "count/pods=1"),
            ("deployments.apps", json!({}), "count/deployments.apps=1"),
            (
                "services",
                json!({"spec": {"type": "NodePort", "ports": [{}, {}]}}),
                "count/services=1,services=1,services.nodeports=2",
            ),
            (
                "services",
                json!({"spec": {"type": "LoadBalancer", "ports": [{}]}}),
                "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1",
            ),
            (
                "persistentvolumeclaims",
                json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}}),
                "count/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
                 fast.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi",
            ),
        ] {
            assert_eq!(shown(&Facts::read(resource, &object).usage()), want, "{object}");
        }
        let hard = read(&json!({"limits.memory": "1", "requests.cpu": "1", "pods": "1"}));
        assert_eq!(unnamed(&hard, &pod), ["limits.memory for: b,i"]);
    }

    #[test]
    fn scopes_choose_pods() {
        let pod = |more: Value| {
            let mut pod = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "1"}}}], "priorityClassName": "high"}});
            for (name, value) in more.as_object().expect("an object") {
                pod["spec"][name] = value.clone();
            }
            Facts::read("pods", &pod)
        };
        let plain = pod(json!({}));
        let brief = pod(json!({"activeDeadlineSeconds": 5, "containers": [{}]}));
        let far = pod(
            json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["x"]}]}}}),
        );
        let scopes = |scope: &str| json!({"scopes": [scope]});
        let class = |operator: &str, values: Value| json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}});
        for (facts, spec, want) in [
            (&plain, json!({}), true),
            (&plain, scopes("Terminating"), false),
            (&brief, scopes("Terminating"), true),
            (&plain, scopes("NotTerminating"), true),
            (&brief, scopes("BestEffort"), true),
            (&plain, scopes("BestEffort"), false),
            (&plain, scopes("NotBestEffort"), true),
            (&far, scopes("CrossNamespacePodAffinity"), true),
            (&plain, scopes("CrossNamespacePodAffinity"), false),
            (&plain, class("In", json!(["high"])), true),
            (&plain, class("NotIn", json!(["high"])), false),
            (&plain, class("Exists", json!(null)), true),
            (&plain, class("DoesNotExist", json!(null)), false),
        ] {
            assert_eq!(facts.is_covered(&spec), want, "{spec}");
        }
        assert!(!Facts::read("services", &json!({})).is_covered(&scopes("NotTerminating")));
    }
}
