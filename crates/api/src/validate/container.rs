//! Containers: of pods, before them, and beside them for debugging.

use super::field::{At, Errors};
use super::{handler, resources, security, syntax, volumes};

/// What the checks of one container need to know of its pod.
pub(super) struct Context<'a> {
    /// Names of the volumes.
    pub(super) volumes: Vec<&'a str>,
    /// Names of the volumes that are claims, which alone can be devices.
    pub(super) claims: Vec<&'a str>,
    pub(super) host_network: bool,
    pub(super) grace: Option<i64>,
}

/// A container of any kind.
pub(super) fn container(at: &At, context: &Context, errors: &mut Errors) {
    errors.need_form(&at.get("name"), syntax::dns_label);
    errors.need_supported(&at.get("terminationMessagePolicy"), &["FallbackToLogsOnError", "File"]);
    let image = at.get("image");
    if errors.need(&image) && image.text().trim() != image.text() {
        errors.invalid(&image, "must not have leading or trailing whitespace");
    }
    errors.need_supported(&at.get("imagePullPolicy"), &["Always", "IfNotPresent", "Never"]);
    errors.supported(&at.get("restartPolicy"), &["Always", "Never", "OnFailure"]);
    ports(&at.get("ports"), context.host_network, errors);
    for variable in at.get("env").items() {
        env(&variable, errors);
    }
    for source in at.get("envFrom").items() {
        env_from(&source, errors);
    }
    mounts(at, context, errors);
    resources::container(&at.get("resources"), errors);
    security::container(&at.get("securityContext"), errors);
}

/// Probes and hooks, which only containers that keep running have.
pub(super) fn running(at: &At, context: &Context, errors: &mut Errors) {
    handler::lifecycle(&at.get("lifecycle"), context.grace, errors);
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

fn ports(list: &At, host_network: bool, errors: &mut Errors) {
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
        if host_network && outside.int() != inside.int() {
            errors.invalid(&inside, "must match `hostPort` when `hostNetwork` is true");
        }
        errors.need_supported(&port.get("protocol"), &["SCTP", "TCP", "UDP"]);
        errors.form(&port.get("hostIP"), syntax::ip);
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
                errors.need(&source.get("volumeName"));
                errors.need(&source.get("path"));
                errors.need(&source.get("key"));
            }
            _ => {
                errors.need(&source.get("name"));
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
    errors.need(&source.get("apiVersion"));
    let path = source.get("fieldPath");
    if !errors.need(&path) {
        return;
    }
    let subscript =
        path.text().split_once("['").and_then(|(map, rest)| Some((map, rest.strip_suffix("']")?)));
    match subscript {
        Some(("metadata.labels", key)) => errors.complaints_about(&path, key, syntax::qualified_name(key)),
        Some(("metadata.annotations", key)) => {
            errors.complaints_about(&path, key, syntax::qualified_name(&key.to_lowercase()));
        }
        Some(_) => errors.invalid(&path, "does not support subscript"),
        None => errors.supported(&path, known),
    }
}

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
        errors.supported(&resource, &supported.iter().map(String::as_str).collect::<Vec<_>>());
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
        errors.invalid(
            &divisor,
            format!("only divisor's values {words} are supported with the {name} resource"),
        );
    }
}

fn env_from(source: &At, errors: &mut Errors) {
    errors.form(&source.get("prefix"), syntax::env_name);
    let found: Vec<At> = ["configMapRef", "secretRef"].iter().map(|kind| source.get(kind)).collect();
    let count = found.iter().filter(|reference| reference.is_set()).count();
    for reference in found.iter().filter(|reference| reference.is_set()) {
        errors.need(&reference.get("name"));
    }
    match count {
        0 => errors.invalid_value(source, "", "must specify one of: `configMapRef` or `secretRef`"),
        1 => {}
        _ => errors.invalid_value(source, "", "may not have more than one field specified at a time"),
    }
}

fn mounts(at: &At, context: &Context, errors: &mut Errors) {
    let mut paths = Vec::new();
    for mount in at.get("volumeMounts").items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        if errors.need(&name) && !context.volumes.contains(&name.text()) {
            errors.push(super::FieldError::not_found(&name.path, name.value.clone()));
        }
        if errors.need(&path) {
            if paths.contains(&path.text()) {
                errors.invalid(&path, "must be unique");
            }
            paths.push(path.text());
        }
        let (sub, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
        volumes::descending(&sub, errors);
        volumes::descending(&expression, errors);
        if !sub.is_empty() && !expression.is_empty() {
            errors.invalid(&expression, "subPathExpr and subPath are mutually exclusive");
        }
        errors.supported(&mount.get("mountPropagation"), &["Bidirectional", "HostToContainer", "None"]);
        if mount.get("mountPropagation").text() == "Bidirectional"
            && !at.path(&["securityContext", "privileged"]).is_true()
        {
            errors.forbidden(
                &mount.get("mountPropagation"),
                "Bidirectional mount propagation is available only to privileged containers",
            );
        }
        errors.supported(&mount.get("recursiveReadOnly"), &["Disabled", "Enabled", "IfPossible"]);
    }
    let mut devices = Vec::new();
    for device in at.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        if errors.need(&name) {
            if !context.volumes.contains(&name.text()) {
                errors.push(super::FieldError::not_found(&name.path, name.value.clone()));
            } else if !context.claims.contains(&name.text()) {
                errors.invalid(
                    &name,
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                );
            }
        }
        if errors.need(&path) {
            if devices.contains(&path.text()) || paths.contains(&path.text()) {
                errors.invalid(&path, "must be unique");
            }
            devices.push(path.text());
        }
    }
}
