//! The spec of a pod, in pods and in templates.

use super::container::{self, Context};
use super::field::{At, Errors};
use super::{FieldError, metadata, resources, scheduling, security, syntax, volumes, windows};

/// `template` of a workload, with its metadata.
pub(super) fn template(template: &At, errors: &mut Errors) {
    metadata::template(&template.get("metadata"), errors);
    spec(&template.get("spec"), errors);
    let ephemeral = template.path(&["spec", "ephemeralContainers"]);
    if !ephemeral.is_empty() {
        errors.forbidden(&ephemeral, "ephemeral containers not allowed in pod template");
    }
}

/// A `PodSpec`, in the order in which Kubernetes checks it.
pub(super) fn spec(spec: &At, errors: &mut Errors) {
    let volumes = volumes::list(&spec.get("volumes"), errors);
    resource_claims(&spec.get("resourceClaims"), errors);
    let context = Context { volumes, ..context(spec) };
    containers(spec, &context, errors);
    resources::pod(spec, &context.resource_claims, errors);
    host_ports(spec, spec.path == "spec", errors);
    errors.need_supported(&spec.get("restartPolicy"), &["Always", "OnFailure", "Never"]);
    let policies = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    errors.need_supported(&spec.get("dnsPolicy"), policies);
    metadata::labels(&spec.get("nodeSelector"), errors);
    security::pod(spec, errors);
    scheduling::affinity(&spec.get("affinity"), errors);
    dns(spec, errors);
    for gate in spec.get("readinessGates").items() {
        let kind = gate.get("conditionType");
        errors.complaints_about(&kind, kind.text(), syntax::qualified_name(kind.text()));
    }
    gates(&spec.get("schedulingGates"), errors);
    scheduling::spread(&spec.get("topologySpreadConstraints"), errors);
    windows::host_process(spec, errors);
    host_users(spec, errors);
    host_name(spec, errors);
    errors.form(&spec.get("serviceAccountName"), syntax::dns_subdomain);
    errors.form(&spec.get("nodeName"), syntax::dns_subdomain);
    errors.range(&spec.get("activeDeadlineSeconds"), 1, i64::from(i32::MAX));
    errors.form(&spec.get("hostname"), syntax::dns_label);
    errors.form(&spec.get("subdomain"), syntax::dns_label);
    scheduling::tolerations(&spec.get("tolerations"), errors);
    host_aliases(&spec.get("hostAliases"), errors);
    for name in ["priorityClassName", "runtimeClassName"] {
        errors.form(&spec.get(name), syntax::dns_subdomain);
    }
    errors.supported(&spec.get("preemptionPolicy"), &["PreemptLowerPriority", "Never"]);
    resources::list(&spec.get("overhead"), errors);
    windows::system(spec, errors);
    file_variables(spec, errors);
}

pub(super) fn context<'a>(spec: &At<'a>) -> Context<'a> {
    let volumes = spec.get("volumes").items();
    let is_claim = |v: &&At| v.get("persistentVolumeClaim").is_set() || v.get("ephemeral").is_set();
    Context {
        claims: volumes.iter().filter(is_claim).map(|v| v.get("name").text()).collect(),
        volumes: volumes.iter().map(|v| v.get("name").text()).collect(),
        resource_claims: spec.get("resourceClaims").items().iter().map(|c| c.get("name").text()).collect(),
        host_users: spec.get("hostUsers").value != &serde_json::Value::Bool(false),
        never_restarted: spec.get("restartPolicy").text() == "Never",
        grace: spec.get("terminationGracePeriodSeconds").int(),
        os: spec.path(&["os", "name"]).text(),
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
        unique(&at, &mut names, errors);
        container::running(&at, context, errors);
        container::restart_policy(&at, errors);
    }
    for at in list.items() {
        claim_host_ports(&at, &mut host_ports, errors);
    }
    for at in before.items() {
        container::container(&at, context, errors);
        container::restart_policy(&at, errors);
        unique(&at, &mut names, errors);
        // They run one by one, so that only one of them has to agree with itself.
        claim_host_ports(&at, &mut Vec::new(), errors);
        let stays = at.get("restartPolicy").text() == "Always";
        if stays {
            container::running(&at, context, errors);
        } else {
            container::ending(&at, errors);
            for (index, policy) in at.get("resizePolicy").items().iter().enumerate() {
                if policy.get("restartPolicy").text() == "RestartContainer" {
                    let policy = policy
                        .get("restartPolicy")
                        .at(format!("{}.resizePolicy[{index}].restartPolicy", at.path));
                    let words = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                    errors.invalid(&policy, words);
                }
            }
        }
    }
    for at in spec.get("ephemeralContainers").items() {
        ephemeral(&at, spec, context, &mut names, errors);
    }
}

/// What is checked in pods, but for compatibility not in templates.
pub(super) fn only_pod(spec: &At, errors: &mut Errors) {
    for list in ["containers", "initContainers"] {
        spec.get(list).items().iter().for_each(|at| container::image_of_pod(at, errors));
    }
}

fn resource_claims(list: &At, errors: &mut Errors) {
    let mut names = Vec::new();
    for claim in list.items() {
        let name = claim.get("name");
        if name.is_empty() {
            errors.required(&name, "");
        } else if names.contains(&name.text()) {
            errors.duplicate(&name);
        } else {
            errors.complaints(&name, syntax::dns_label(name.text()));
            names.push(name.text());
        }
        let (one, template) = (claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName"));
        match (one.is_set(), template.is_set()) {
            (true, true) => errors.invalid(
                &claim,
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (false, false) => {
                errors
                    .invalid(&claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`");
            }
            _ => {}
        }
        for name in [one, template] {
            if name.is_set() {
                errors.complaints(&name, syntax::dns_subdomain(name.text()));
            }
        }
    }
}

/// In the network of its host, a container's ports are the host's.
fn host_ports(spec: &At, whole: bool, errors: &mut Errors) {
    if !spec.get("hostNetwork").is_true() {
        return;
    }
    for container in spec.get("containers").items() {
        for port in container.get("ports").items() {
            let host = port.get("hostPort").int().unwrap_or_default();
            // What a template leaves out, its pods get.
            if (whole || host != 0) && Some(host) != port.get("containerPort").int() {
                let words = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid_value(&port.get("hostPort"), host, words);
            }
        }
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

/// A container for debugging; `names` are those of the containers before it.
pub(super) fn ephemeral<'a>(
    at: &At<'a>,
    spec: &At,
    context: &Context,
    names: &mut Vec<&'a str>,
    errors: &mut Errors,
) {
    container::container(at, context, errors);
    container::image_of_pod(at, errors);
    unique(at, names, errors);
    let target = at.get("targetContainerName");
    let known = ["containers", "initContainers"];
    let exists = |name: &str| {
        known.iter().any(|list| spec.get(list).items().iter().any(|c| c.get("name").text() == name))
    };
    if !target.is_empty() && !exists(target.text()) {
        errors.push(FieldError::not_found(&target.path, target.value.clone()));
    }
    let words = "cannot be set for an Ephemeral Container";
    for name in [
        "ports",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ] {
        let field = at.get(name);
        if !field.is_empty() {
            errors.forbidden(&field, words);
        }
    }
    for mount in at.get("volumeMounts").items() {
        for name in ["subPath", "subPathExpr"] {
            if !mount.get(name).is_empty() {
                errors.forbidden(&mount.get(name), words);
            }
        }
    }
}

/// The most name servers, search paths, and characters of all search paths together that a pod may have.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;

fn dns(spec: &At, errors: &mut Errors) {
    let config = spec.get("dnsConfig");
    let servers = config.get("nameservers");
    if spec.get("dnsPolicy").text() == "None" {
        if !config.is_set() {
            return errors.required(&config, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.is_empty() {
            let words = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.required(&servers, words);
        }
    }
    if servers.items().len() > MAX_SERVERS {
        errors.invalid(&servers, format!("must not have more than {MAX_SERVERS} nameservers"));
    }
    for server in servers.items() {
        errors.complaints(&server, syntax::ip(server.text()));
    }
    let searches = config.get("searches");
    if searches.items().len() > MAX_SEARCHES {
        errors.invalid(&searches, format!("must not have more than {MAX_SEARCHES} search paths"));
    }
    let characters: usize = searches.items().iter().map(|search| search.text().len() + 1).sum();
    if characters > MAX_SEARCH_CHARACTERS + 1 {
        let words = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(&searches, words);
    }
    for search in searches.items() {
        if search.text() != "." {
            let text = search.text().strip_suffix('.').unwrap_or(search.text());
            errors.complaints_about(&search, text, syntax::dns_subdomain_with_underscore(text));
        }
    }
    for option in config.get("options").items() {
        if option.get("name").is_empty() {
            errors.required(&option, "must not be empty");
        }
    }
}

fn host_aliases(list: &At, errors: &mut Errors) {
    for alias in list.items() {
        let ip = alias.get("ip");
        errors.complaints_about(&ip, ip.text(), syntax::ip(ip.text()));
        for name in alias.get("hostnames").items() {
            errors.complaints(&name, syntax::dns_subdomain(name.text()));
        }
    }
}

/// A pod in a user namespace of its own shares no namespace of the host.
fn host_users(spec: &At, errors: &mut Errors) {
    if spec.get("hostUsers").value != &serde_json::Value::Bool(false) {
        return;
    }
    let words = "when `hostUsers` is false";
    // These are the names that Kubernetes prints.
    for (name, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.get(name).is_true() {
            errors.forbidden(&spec.get(shown), words);
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.get(list).items() {
            if !container.get("volumeDevices").is_empty() {
                errors.forbidden(&container.get("volumeDevices"), words);
            }
        }
    }
}

fn host_name(spec: &At, errors: &mut Errors) {
    let name = spec.get("hostnameOverride");
    if !name.is_set() {
        return;
    }
    for flag in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec.get(flag).is_true() {
            errors.forbidden(&name, &format!("may not be specified when {flag} is true"));
        }
    }
    if name.text().len() > 64 {
        errors.push(FieldError::too_long(&name.path, 64));
    }
    errors.complaints(&name, syntax::dns_subdomain(name.text()));
}

fn gates(list: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for gate in list.items() {
        let name = gate.get("name").text();
        errors.complaints_about(&gate, name, syntax::qualified_name(name));
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(&gate.path, name));
        }
        seen.push(name);
    }
}

/// Variables from files: the file lies in a volume of the pod that is empty at first.
fn file_variables(spec: &At, errors: &mut Errors) {
    let volumes = spec.get("volumes").items();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for variable in spec.get(list).items().iter().flat_map(|container| container.get("env").items()) {
            let file = variable.path(&["valueFrom", "fileKeyRef"]);
            if !file.is_set() {
                continue;
            }
            let name = file.get("volumeName");
            match volumes.iter().find(|volume| volume.get("name").text() == name.text()) {
                None => errors.push(FieldError::not_found(&name.path, name.text())),
                Some(volume) if !volume.get("emptyDir").is_set() => {
                    errors.invalid(&name, "referenced volume must be of type emptyDir");
                }
                Some(_) => {}
            }
        }
    }
}
