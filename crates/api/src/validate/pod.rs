//! The spec of a pod, in pods and in templates.

use super::container::{self, Context};
use super::field::{At, Errors};
use super::{FieldError, metadata, resources, scheduling, security, syntax, volumes};

/// `template` of a workload, with its metadata.
pub(super) fn template(template: &At, errors: &mut Errors) {
    metadata::template(&template.get("metadata"), errors);
    spec(&template.get("spec"), errors);
    let ephemeral = template.path(&["spec", "ephemeralContainers"]);
    if !ephemeral.is_empty() {
        errors.forbidden(&ephemeral, "ephemeral containers not allowed in pod template");
    }
}

/// A `PodSpec`.
pub(super) fn spec(spec: &At, errors: &mut Errors) {
    volumes::list(&spec.get("volumes"), errors);
    let context = context(spec);
    containers(spec, &context, errors);
    errors.need_supported(&spec.get("restartPolicy"), &["Always", "Never", "OnFailure"]);
    dns(spec, errors);
    metadata::labels(&spec.get("nodeSelector"), errors);
    errors.form(&spec.get("serviceAccountName"), syntax::dns_subdomain);
    errors.form(&spec.get("nodeName"), syntax::dns_subdomain);
    errors.form(&spec.get("hostname"), syntax::dns_label);
    errors.form(&spec.get("subdomain"), syntax::dns_label);
    errors.range(&spec.get("activeDeadlineSeconds"), 1, i64::from(i32::MAX));
    errors.non_negative(&spec.get("terminationGracePeriodSeconds"));
    for name in ["priorityClassName", "runtimeClassName"] {
        errors.form(&spec.get(name), syntax::dns_subdomain);
    }
    errors.supported(&spec.get("preemptionPolicy"), &["Never", "PreemptLowerPriority"]);
    errors.supported(&spec.path(&["os", "name"]), &["linux", "windows"]);
    scheduling::tolerations(&spec.get("tolerations"), errors);
    scheduling::affinity(&spec.get("affinity"), errors);
    scheduling::spread(&spec.get("topologySpreadConstraints"), errors);
    security::pod(&spec.get("securityContext"), errors);
    security::pull_secrets(&spec.get("imagePullSecrets"), errors);
    resources::list(&spec.get("overhead"), errors);
    if spec.get("resources").is_set() {
        resources::container(&spec.get("resources"), errors);
    }
    host(spec, errors);
    for gate in spec.get("readinessGates").items() {
        let kind = gate.get("conditionType");
        errors.complaints_about(&kind, kind.text(), syntax::qualified_name(kind.text()));
    }
    gates(&spec.get("schedulingGates"), errors);
}

pub(super) fn context<'a>(spec: &At<'a>) -> Context<'a> {
    let volumes = spec.get("volumes").items();
    let is_claim = |v: &&At| v.get("persistentVolumeClaim").is_set() || v.get("ephemeral").is_set();
    Context {
        claims: volumes.iter().filter(is_claim).map(|v| v.get("name").text()).collect(),
        volumes: volumes.iter().map(|v| v.get("name").text()).collect(),
        host_network: spec.get("hostNetwork").is_true(),
        grace: spec.get("terminationGracePeriodSeconds").int(),
    }
}

fn containers(spec: &At, context: &Context, errors: &mut Errors) {
    let (list, before) = (spec.get("containers"), spec.get("initContainers"));
    if list.is_empty() {
        errors.required(&list, "");
    }
    let mut names = Vec::new();
    let mut host_ports = Vec::new();
    for at in list.items() {
        container::container(&at, context, errors);
        container::running(&at, context, errors);
        unique(&at, &mut names, errors);
        claim_host_ports(&at, &mut host_ports, errors);
    }
    for at in before.items() {
        container::container(&at, context, errors);
        unique(&at, &mut names, errors);
        if at.get("restartPolicy").text() == "Always" {
            container::running(&at, context, errors);
            claim_host_ports(&at, &mut host_ports, errors);
        } else {
            container::ending(&at, errors);
        }
    }
    for at in spec.get("ephemeralContainers").items() {
        ephemeral(&at, spec, context, errors);
        unique(&at, &mut names, errors);
    }
}

fn unique<'a>(container: &At<'a>, names: &mut Vec<&'a str>, errors: &mut Errors) {
    let name = container.get("name");
    if !name.is_empty() && names.contains(&name.text()) {
        errors.duplicate(&name);
    }
    names.push(name.text());
}

/// Two containers of a pod cannot have the same port of the host.
fn claim_host_ports(container: &At, taken: &mut Vec<String>, errors: &mut Errors) {
    for port in container.get("ports").items() {
        let Some(number) = port.get("hostPort").int().filter(|n| *n != 0) else { continue };
        let claim = format!("{}/{}/{number}", port.get("protocol").text(), port.get("hostIP").text());
        if taken.contains(&claim) {
            errors.push(FieldError::duplicate(&port.get("hostPort").path, claim));
        } else {
            taken.push(claim);
        }
    }
}

/// A container for debugging.
pub(super) fn ephemeral(at: &At, spec: &At, context: &Context, errors: &mut Errors) {
    container::container(at, context, errors);
    for name in ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources"] {
        let field = at.get(name);
        if !field.is_empty() {
            errors.forbidden(&field, "cannot be set for an Ephemeral Container");
        }
    }
    let target = at.get("targetContainerName");
    let known = ["containers", "initContainers"];
    let exists = |name: &str| {
        known.iter().any(|list| spec.get(list).items().iter().any(|c| c.get("name").text() == name))
    };
    if !target.is_empty() && !exists(target.text()) {
        errors.push(FieldError::not_found(&target.path, target.value.clone()));
    }
}

fn dns(spec: &At, errors: &mut Errors) {
    let (policy, config) = (spec.get("dnsPolicy"), spec.get("dnsConfig"));
    errors.need_supported(&policy, &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]);
    let servers = config.get("nameservers");
    if policy.text() == "None" {
        if !config.is_set() {
            errors.required(&config, "must provide `dnsConfig` when `dnsPolicy` is None");
        } else if servers.is_empty() {
            errors.required(&servers, "must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
    }
    if servers.items().len() > 3 {
        errors.invalid(&servers, "must not have more than 3 nameservers");
    }
    for server in servers.items() {
        errors.complaints(&server, syntax::ip(server.text()));
    }
    let searches = config.get("searches");
    if searches.items().len() > 32 {
        errors.invalid(&searches, "must not have more than 32 search paths");
    }
    for option in config.get("options").items() {
        errors.need(&option.get("name"));
    }
}

fn host(spec: &At, errors: &mut Errors) {
    if spec.get("hostPID").is_true() && spec.get("shareProcessNamespace").is_true() {
        errors.invalid(
            &spec.get("shareProcessNamespace"),
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    for alias in spec.get("hostAliases").items() {
        errors.need_form(&alias.get("ip"), syntax::ip);
        for name in alias.get("hostnames").items() {
            errors.complaints(&name, syntax::dns_subdomain(name.text()));
        }
    }
    let users = spec.get("hostUsers");
    if users.value == &serde_json::Value::Bool(false) {
        for name in ["hostNetwork", "hostPID", "hostIPC"] {
            if spec.get(name).is_true() {
                errors.forbidden(&spec.get(name), "when `hostUsers` is false");
            }
        }
    }
}

fn gates(list: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for gate in list.items() {
        let name = gate.get("name");
        errors.complaints_about(&name, name.text(), syntax::qualified_name(name.text()));
        if seen.contains(&name.text()) {
            errors.duplicate(&name);
        }
        seen.push(name.text());
    }
}
