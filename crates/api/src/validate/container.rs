//! Containers: of pods, before them, and beside them for debugging.

use super::field::{At, Errors};
use super::{handler, resources, security, syntax, volumes};

/// What the checks of one container need to know of its pod.
pub(super) struct Context<'a> {
    /// Names of the volumes.
    pub(super) volumes: Vec<&'a str>,
    /// Names of the volumes that are claims, which alone can be devices.
    pub(super) claims: Vec<&'a str>,
    /// Names of `resourceClaims`.
    pub(super) resource_claims: Vec<&'a str>,
    /// Whether it runs in the user namespace of its node.
    pub(super) host_users: bool,
    /// Whether the pod's `restartPolicy` is `Never`.
    pub(super) never_restarted: bool,
    pub(super) grace: Option<i64>,
    /// `linux`, `windows` or nothing.
    pub(super) os: &'a str,
}

/// A container of any kind.
pub(super) fn container(at: &At, context: &Context, errors: &mut Errors) {
    errors.need_form(&at.get("name"), syntax::dns_label);
    errors.need(&at.get("image"));
    errors.need_supported(&at.get("terminationMessagePolicy"), &["File", "FallbackToLogsOnError"]);
    ports(&at.get("ports"), errors);
    for variable in at.get("env").items() {
        env(&variable, errors);
    }
    for source in at.get("envFrom").items() {
        env_from(&source, &at.get("envFrom"), errors);
    }
    mounts(at, context, errors);
    devices(at, context, errors);
    errors.need_supported(&at.get("imagePullPolicy"), &["Always", "IfNotPresent", "Never"]);
    resources::container(&at.get("resources"), &context.resource_claims, errors);
    resize_policy(&at.get("resizePolicy"), context, errors);
    security::container(&at.get("securityContext"), context.host_users, errors);
}

/// What is checked in pods, but for compatibility not in templates.
pub(super) fn image_of_pod(at: &At, errors: &mut Errors) {
    let image = at.get("image");
    if image.text().trim() != image.text() {
        errors.invalid(&image, "must not have leading or trailing whitespace");
    }
}

fn resize_policy(list: &At, context: &Context, errors: &mut Errors) {
    let mut seen = Vec::new();
    for item in list.items() {
        let (name, policy) = (item.get("resourceName"), item.get("restartPolicy"));
        if seen.contains(&name.text()) {
            errors.push(super::FieldError::duplicate(&item.path, name.text()));
        }
        seen.push(name.text());
        // Kubernetes reports what is in an item at the list.
        errors.need_supported(&name.at(list.path.clone()), &["cpu", "memory"]);
        let policy = policy.at(list.path.clone());
        errors.need_supported(&policy, &["NotRequired", "RestartContainer"]);
        if context.never_restarted && policy.text() != "NotRequired" {
            let words = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.invalid_value(&policy, policy.text(), words);
        }
    }
}

/// `restartPolicy` and `restartPolicyRules` of a container.
pub(super) fn restart_policy(at: &At, errors: &mut Errors) {
    let (policy, rules) = (at.get("restartPolicy"), at.get("restartPolicyRules"));
    if policy.is_set() {
        errors.one_of(&policy, &["Always", "Never", "OnFailure"]);
    } else if !rules.is_empty() {
        errors.required(&policy, "must specify restartPolicy when restart rules are used");
    }
    let too_many = |at: &At, limit: usize, errors: &mut Errors| {
        let count = at.items().len();
        if count > limit {
            errors.push(super::FieldError::too_many(&at.path, count, limit));
        }
    };
    too_many(&rules, 20, errors);
    for rule in rules.items() {
        errors.one_of(&rule.get("action"), &["Restart", "RestartAllContainers"]);
        let codes = rule.get("exitCodes");
        if codes.is_set() {
            errors.one_of(&codes.get("operator"), &["In", "NotIn"]);
            too_many(&codes.get("values"), 255, errors);
        } else {
            errors.required(&codes, "must be specified");
        }
    }
}

/// Probes and hooks, which only containers that keep running have.
pub(super) fn running(at: &At, context: &Context, errors: &mut Errors) {
    handler::lifecycle(&at.get("lifecycle"), context.grace, context.os, errors);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        handler::probe(&at.get(name), name, errors);
    }
}

/// An init container that ends has neither.
pub(super) fn ending(at: &At, errors: &mut Errors) {
    for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        let field = at.get(name);
        if field.is_set() {
            errors.forbidden(&field, "may not be set for init containers without restartPolicy=Always");
        }
    }
}

fn ports(list: &At, errors: &mut Errors) {
    let mut names = Vec::new();
    for port in list.items() {
        let name = port.get("name");
        if !name.is_empty() {
            let found = syntax::port_name(name.text());
            if found.is_empty() && names.contains(&name.text()) {
                errors.duplicate(&name);
            }
            errors.complaints(&name, found);
            names.push(name.text());
        }
        let (inside, outside) = (port.get("containerPort"), port.get("hostPort"));
        match inside.int() {
            None | Some(0) => errors.required(&inside, ""),
            Some(number) => errors.complaints(&inside, syntax::port_number(number)),
        }
        if let Some(number) = outside.int().filter(|n| *n != 0) {
            errors.complaints(&outside, syntax::port_number(number));
        }
        errors.need_supported(&port.get("protocol"), &["SCTP", "TCP", "UDP"]);
    }
}

fn env(variable: &At, errors: &mut Errors) {
    let name = variable.get("name");
    if errors.need(&name) {
        errors.complaints(&name, syntax::env_name(name.text()));
    }
    let from = variable.get("valueFrom");
    if !from.is_set() {
        return;
    }
    let mut count = 0;
    for kind in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let source = from.get(kind);
        if !source.is_set() {
            continue;
        }
        count += 1;
        match kind {
            "fieldRef" => field_ref(&source, ENV_FIELDS, errors),
            "resourceFieldRef" => resource_field_ref(&source, errors),
            "fileKeyRef" => {
                errors.need_form(&source.get("key"), syntax::env_name);
                errors.need_form(&source.get("volumeName"), syntax::dns_label);
                if errors.need(&source.get("path")) {
                    volumes::no_backsteps(&source.get("path"), errors);
                }
            }
            _ => {
                let name = source.get("name");
                errors.complaints_about(&name, name.text(), syntax::dns_subdomain(name.text()));
                errors.need_form(&source.get("key"), syntax::config_key);
            }
        }
    }
    if count == 0 {
        errors.invalid_value(
            &from,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if !variable.get("value").is_empty() {
        errors.invalid_value(&from, "", "may not be specified when `value` is not empty");
    } else if count > 1 {
        errors.invalid_value(&from, "", "may not have more than one field specified at a time");
    }
}

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields that files of the downward API can show.
pub(super) const FILE_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// A reference to a field of the pod.
pub(super) fn field_ref(source: &At, known: &[&str], errors: &mut Errors) {
    let (version, path) = (source.get("apiVersion"), source.get("fieldPath"));
    if !errors.need(&version) || !errors.need(&path) {
        return;
    }
    if version.text() != "v1" {
        let words = format!("error converting fieldPath: unsupported pod version: {}", version.text());
        return errors.invalid(&path, words);
    }
    let subscript =
        path.text().split_once("['").and_then(|(map, rest)| Some((map, rest.strip_suffix("']")?)));
    match subscript {
        Some(("metadata.labels", key)) => errors.complaints_about(source, key, syntax::qualified_name(key)),
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            errors.complaints_about(source, &key, syntax::qualified_name(&key));
        }
        None if known.contains(&path.text()) => {}
        None if POD_FIELDS.contains(&path.text()) => errors.supported(&path, known),
        _ => {
            let words = format!("error converting fieldPath: field label not supported: {}", path.text());
            errors.invalid(&path, words);
        }
    }
}

/// Fields that are known, though not everywhere allowed.
const POD_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.hostNetwork",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];

/// A reference to a request or limit of a container.
pub(super) fn resource_field_ref(source: &At, errors: &mut Errors) {
    let resource = source.get("resource");
    if !errors.need(&resource) {
        return;
    }
    let known = ["cpu", "memory", "ephemeral-storage"];
    let name = resource.text().strip_prefix("limits.").or_else(|| resource.text().strip_prefix("requests."));
    let supported: Vec<String> =
        ["limits", "requests"].iter().flat_map(|list| known.map(|name| format!("{list}.{name}"))).collect();
    let Some(name) = name.filter(|name| known.contains(name) || name.starts_with("hugepages-")) else {
        let mut supported: Vec<&str> = supported.iter().map(String::as_str).collect();
        supported.sort_unstable();
        errors.supported(&resource, &supported);
        return;
    };
    let divisor = source.get("divisor");
    let allowed: &[&str] = match name {
        "cpu" => &["0", "1m", "1"],
        _ => &["0", "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"],
    };
    if let Some(found) = resources::quantity(&divisor, errors)
        && !allowed.contains(&found.to_string().as_str())
    {
        let words = if name == "cpu" { "1m and 1".to_owned() } else { allowed[1..].join(", ") };
        let name = match name {
            "ephemeral-storage" => "local ephemeral storage",
            _ if name.starts_with("hugepages-") => "hugepages",
            name => name,
        };
        let words = format!("only divisor's values {words} are supported with the {name} resource");
        errors.invalid_value(&divisor, resource.text(), words);
    }
}

fn env_from(source: &At, list: &At, errors: &mut Errors) {
    errors.form(&source.get("prefix"), syntax::env_name);
    let found: Vec<At> = ["configMapRef", "secretRef"].iter().map(|kind| source.get(kind)).collect();
    let count = found.iter().filter(|reference| reference.is_set()).count();
    for reference in found.iter().filter(|reference| reference.is_set()) {
        errors.need_form(&reference.get("name"), syntax::dns_subdomain);
    }
    match count {
        0 => errors.invalid_value(list, "", "must specify one of: `configMapRef` or `secretRef`"),
        1 => {}
        _ => errors.invalid_value(list, "", "may not have more than one field specified at a time"),
    }
}

fn mounts(at: &At, context: &Context, errors: &mut Errors) {
    let list = at.get("volumeMounts");
    let devices = at.get("volumeDevices").items();
    let taken = |field: &str, text: &str| devices.iter().any(|device| device.get(field).text() == text);
    let privileged = at.path(&["securityContext", "privileged"]).is_true();
    let mut paths = Vec::new();
    for mount in list.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        errors.need(&name);
        if !context.volumes.contains(&name.text()) {
            errors.push(super::FieldError::not_found(&name.path, name.text()));
        }
        errors.need(&path);
        if paths.contains(&path.text()) {
            errors.invalid_value(&path, path.text(), "must be unique");
        }
        paths.push(path.text());
        if taken("name", name.text()) {
            errors.invalid_value(&name, name.text(), "must not already exist in volumeDevices");
        }
        if taken("devicePath", path.text()) {
            errors.invalid_value(&path, path.text(), "must not already exist as a path in volumeDevices");
        }
        // Kubernetes reports some fields of a mount at the list.
        let of_list = |name: &str| mount.get(name).at(list.get(name).path);
        volumes::descending(&of_list("subPath"), errors);
        if !mount.get("subPathExpr").is_empty() && !mount.get("subPath").is_empty() {
            errors.invalid(&mount.get("subPathExpr"), "subPathExpr and subPath are mutually exclusive");
        }
        volumes::descending(&of_list("subPathExpr"), errors);
        propagation(&of_list("mountPropagation"), privileged, errors);
        read_only(&mount, &of_list("recursiveReadOnly"), errors);
    }
}

fn propagation(mode: &At, privileged: bool, errors: &mut Errors) {
    if !mode.is_set() {
        return;
    }
    errors.one_of(mode, &["Bidirectional", "HostToContainer", "None"]);
    if mode.text() == "Bidirectional" && !privileged {
        let words = "Bidirectional mount propagation is available only to privileged containers";
        errors.forbidden(mode, words);
    }
}

fn read_only(mount: &At, mode: &At, errors: &mut Errors) {
    match mode.text() {
        "Enabled" | "IfPossible" => {
            if !mount.get("readOnly").is_true() {
                errors.forbidden(mode, "may only be specified when readOnly is true");
            }
            if !matches!(mount.get("mountPropagation").text(), "" | "None") {
                errors
                    .forbidden(mode, "may only be specified when mountPropagation is None or not specified");
            }
        }
        _ => errors.supported(mode, &["Disabled", "Enabled", "IfPossible"]),
    }
}

fn devices(at: &At, context: &Context, errors: &mut Errors) {
    let mounts = at.get("volumeMounts").items();
    let taken = |field: &str, text: &str| mounts.iter().any(|mount| mount.get(field).text() == text);
    let (mut names, mut paths) = (Vec::new(), Vec::new());
    for device in at.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        errors.need(&name);
        if names.contains(&name.text()) {
            errors.invalid_value(&name, name.text(), "must be unique");
        }
        if !context.volumes.contains(&name.text()) {
            errors.push(super::FieldError::not_found(&name.path, name.text()));
        } else if !context.claims.contains(&name.text()) {
            errors.invalid(
                &name,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            );
        }
        errors.need(&path);
        if paths.contains(&path.text()) {
            errors.invalid_value(&path, path.text(), "must be unique");
        }
        if path.text().split('/').any(|part| part == "..") {
            errors.invalid(&path, "can not contain backsteps ('..')");
        } else {
            paths.push(path.text());
        }
        if taken("name", name.text()) {
            errors.invalid_value(&name, name.text(), "must not already exist in volumeMounts");
        }
        if taken("mountPath", path.text()) {
            errors.invalid_value(&path, path.text(), "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            names.push(name.text());
        }
    }
}
