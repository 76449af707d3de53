//! Pods and pod templates.
//!
//! A template gets less than a pod: what Kubernetes sets on pods alone (requests out of limits, `enableServiceLinks`)
//! would change the hash of templates that are already stored.

use serde_json::{Value, json};

use super::fill::{self, Object, at, child, ensure, has, items, set, set_number, set_text, text};
use crate::quantity::Quantity;

/// A whole pod.
pub(super) fn pod(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else { return };
    pod_spec(spec, true);
    set(spec, "enableServiceLinks", true);
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            requests_from_limits(container);
        }
    }
    pod_level_requests(spec);
    if let Some(status) = child(object, "status") {
        for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
            for container in items(status, list) {
                fill::resource_list(container, "allocatedResources");
                fill::resources(container);
            }
        }
    }
}

/// The pod template in `object.template`.
pub(super) fn template(object: &mut Object) {
    if let Some(spec) = at(object, &["template", "spec"]) {
        pod_spec(spec, false);
    }
}

/// A `PodSpec`, in a pod or in a template; only a whole pod gets ports of its host.
pub(super) fn pod_spec(spec: &mut Object, whole: bool) {
    set_text(spec, "dnsPolicy", "ClusterFirst");
    set_text(spec, "restartPolicy", "Always");
    set_text(spec, "schedulerName", "default-scheduler");
    set(spec, "securityContext", Object::new());
    set(spec, "terminationGracePeriodSeconds", 30);
    // The two names of the service account are one field.
    let names = [text(spec, "serviceAccountName"), text(spec, "serviceAccount")];
    let account = names.into_iter().find(|name| !name.is_empty()).map(str::to_owned);
    if let Some(account) = account {
        spec.insert("serviceAccountName".into(), account.clone().into());
        spec.insert("serviceAccount".into(), account.into());
    }
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(spec, list) {
            container_defaults(container, host_network && whole);
        }
    }
    for volume in items(spec, "volumes") {
        volume_defaults(volume);
    }
    fill::resources(spec);
    fill::resource_list(spec, "overhead");
}

fn container_defaults(container: &mut Object, host_network: bool) {
    set_text(container, "terminationMessagePath", "/dev/termination-log");
    set_text(container, "terminationMessagePolicy", "File");
    let policy = image_pull_policy(text(container, "image"));
    set_text(container, "imagePullPolicy", policy);
    set(container, "resources", Object::new());
    fill::resources(container);
    for port in items(container, "ports") {
        set_text(port, "protocol", "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            set(port, "hostPort", number.clone());
            if port.get("hostPort").and_then(Value::as_i64) == Some(0) {
                port.insert("hostPort".into(), number);
            }
        }
    }
    for variable in items(container, "env") {
        if let Some(source) = child(variable, "valueFrom") {
            field_sources(source);
            if let Some(file) = child(source, "fileKeyRef") {
                set(file, "optional", false);
            }
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = child(container, name) {
            set_number(probe, "timeoutSeconds", 1);
            set_number(probe, "periodSeconds", 10);
            set_number(probe, "successThreshold", 1);
            set_number(probe, "failureThreshold", 3);
            http_get(probe);
            if let Some(grpc) = child(probe, "grpc") {
                set(grpc, "service", "");
            }
        }
    }
    if let Some(lifecycle) = child(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(handler) = child(lifecycle, hook) {
                http_get(handler);
            }
        }
    }
}

fn http_get(handler: &mut Object) {
    if let Some(get) = child(handler, "httpGet") {
        set_text(get, "path", "/");
        set_text(get, "scheme", "HTTP");
    }
}

/// `fieldRef` and `resourceFieldRef` of variables and downward API files.
fn field_sources(source: &mut Object) {
    if let Some(field) = child(source, "fieldRef") {
        set_text(field, "apiVersion", "v1");
    }
    if let Some(resource) = child(source, "resourceFieldRef") {
        if has(resource, "divisor") {
            fill::quantity(resource, "divisor");
        } else {
            resource.insert("divisor".into(), "0".into());
        }
    }
}

/// `Always` for images without a tag or with the tag `latest`, else `IfNotPresent`.
pub fn image_pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':').map(|(_, tag)| tag) {
        Some("latest") => "Always",
        None if digest.is_none() => "Always",
        _ => "IfNotPresent",
    }
}

fn volume_defaults(volume: &mut Object) {
    if volume.iter().all(|(key, value)| key == "name" || value.is_null()) {
        volume.insert("emptyDir".into(), json!({}));
    }
    for kind in ["secret", "configMap", "downwardAPI"] {
        if let Some(source) = child(volume, kind) {
            set(source, "defaultMode", 0o644);
        }
    }
    if let Some(files) = child(volume, "downwardAPI") {
        items(files, "items").for_each(field_sources);
    }
    if let Some(projected) = child(volume, "projected") {
        set(projected, "defaultMode", 0o644);
        for source in items(projected, "sources") {
            // Behind feature gates that are off, where Kubernetes drops them.
            source.remove("clusterTrustBundle");
            source.remove("podCertificate");
            if let Some(token) = child(source, "serviceAccountToken") {
                set(token, "expirationSeconds", 3600);
            }
            if let Some(files) = child(source, "downwardAPI") {
                items(files, "items").for_each(field_sources);
            }
        }
    }
    if let Some(empty) = child(volume, "emptyDir") {
        fill::quantity(empty, "sizeLimit");
    }
    if let Some(claim) = at(volume, &["ephemeral", "volumeClaimTemplate", "spec"]) {
        super::core::claim_spec(claim);
    }
    if let Some(image) = child(volume, "image") {
        let policy = image_pull_policy(text(image, "reference"));
        set_text(image, "pullPolicy", policy);
    }
    super::core::volume_source(volume);
}

fn requests_from_limits(container: &mut Object) {
    let Some(resources) = child(container, "resources") else { return };
    let Some(limits) = child(resources, "limits").cloned() else { return };
    if limits.is_empty() {
        return;
    }
    if let Some(requests) = ensure(resources, "requests") {
        for (name, limit) in limits {
            set(requests, &name, limit);
        }
    }
}

/// Requests of the pod as a whole, where it has limits of its own: what its containers ask for, else the limit.
fn pod_level_requests(spec: &mut Object) {
    let Some(limits) = at(spec, &["resources", "limits"]).cloned() else { return };
    let mut found = Vec::new();
    for (name, limit) in limits {
        let asked = requests(&Value::Object(without_pod_level(spec)), &name);
        found.push((name, asked.map_or(limit, |quantity| quantity.to_string().into())));
    }
    if let Some(resources) = child(spec, "resources")
        && let Some(requests) = ensure(resources, "requests")
    {
        for (name, request) in found {
            set(requests, &name, request);
        }
    }
}

fn without_pod_level(spec: &Object) -> Object {
    ["containers", "initContainers"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), spec.get(key)?.clone())))
        .collect()
}

/// What a pod asks of one resource: its own request, else that of its containers together or of an init container
/// before them, whichever is more, and the overhead. `None` when nothing asks for it.
pub fn requests(spec: &Value, resource: &str) -> Option<Quantity> {
    let read = |value: &Value| Quantity::from_value(value).ok();
    let of = |container: &Value| read(&container["resources"]["requests"][resource]);
    let plus = |a: Option<Quantity>, b: Option<Quantity>| match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    };
    let overhead = read(&spec["overhead"][resource]);
    if let Some(own) = read(&spec["resources"]["requests"][resource]) {
        return plus(Some(own), overhead);
    }
    let list = |key: &str| spec[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut sidecars = None;
    let mut starting = None;
    for container in list("initContainers") {
        if container["restartPolicy"] == "Always" {
            sidecars = plus(sidecars, of(container));
            starting = starting.max(sidecars);
        } else {
            starting = starting.max(plus(sidecars, of(container)));
        }
    }
    let running = list("containers").iter().fold(sidecars, |sum, container| plus(sum, of(container)));
    plus(running.max(starting), overhead)
}

/// The quality of service class of a pod: `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(spec: &Value) -> &'static str {
    const COUNTED: [&str; 2] = ["cpu", "memory"];
    let containers: Vec<&Value> = if spec["resources"].as_object().is_some_and(|r| !r.is_empty()) {
        vec![spec]
    } else {
        ["initContainers", "containers"]
            .iter()
            .flat_map(|key| spec[*key].as_array().into_iter().flatten())
            .collect()
    };
    let read = |container: &Value, list: &str, resource: &str| {
        let value = Quantity::from_value(&container["resources"][list][resource]).ok();
        value.filter(|quantity| !quantity.is_zero())
    };
    let mut any = false;
    let mut guaranteed = !containers.is_empty();
    for container in containers {
        for resource in COUNTED {
            let limit = read(container, "limits", resource);
            let request = read(container, "requests", resource);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
