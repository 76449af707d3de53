//! Security contexts of pods and containers.

use super::field::{At, Errors};
use super::{FieldError, volumes, windows};

/// The largest id of a user or a group.
const MAX_ID: i64 = i32::MAX as i64;

fn ids(context: &At, names: &[&str], errors: &mut Errors) {
    for name in names {
        errors.range(&context.get(name), 0, MAX_ID);
    }
}

const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

fn seccomp(profile: &At, errors: &mut Errors) {
    if !profile.is_set() {
        return;
    }
    let (kind, file) = (profile.get("type"), profile.get("localhostProfile"));
    if kind.is_empty() {
        errors.required(&kind, "type is required when seccompProfile is set");
    } else {
        errors.supported(&kind, PROFILES);
    }
    if kind.text() != "Localhost" {
        if file.is_set() {
            errors.invalid(&file, "can only be set when seccomp type is Localhost");
        }
    } else if file.is_set() {
        volumes::descending(&file, errors);
    } else {
        errors.required(&file, "must be set when seccomp type is Localhost");
    }
}

fn app_armor(profile: &At, errors: &mut Errors) {
    if !profile.is_set() {
        return;
    }
    let (kind, file) = (profile.get("type"), profile.get("localhostProfile"));
    match kind.text() {
        "" => errors.required(&kind, "type is required when appArmorProfile is set"),
        "Localhost" => {
            if file.text() != file.text().trim() {
                errors.invalid(&file, "must not be padded with whitespace");
            } else if file.is_empty() {
                errors.required(&file, "must be set when AppArmor type is Localhost");
            }
            if file.text().len() > 4095 {
                errors.push(FieldError::too_long(&file.path, 4095));
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if file.is_set() {
                errors.invalid(&file, "can only be set when AppArmor type is Localhost");
            }
        }
        _ => errors.supported(&kind, PROFILES),
    }
}

/// `securityContext` of a pod; `spec` is the pod's.
pub(super) fn pod(spec: &At, errors: &mut Errors) {
    let context = &spec.get("securityContext");
    ids(context, &["fsGroup", "runAsUser", "runAsGroup"], errors);
    for group in context.get("supplementalGroups").items() {
        errors.range(&group, 0, MAX_ID);
    }
    let shared = spec.get("shareProcessNamespace");
    if spec.get("hostPID").is_true() && shared.is_true() {
        // In Kubernetes' own form of a pod, this field stands in the security context.
        let at = shared.at(context.get("shareProcessNamespace").path);
        errors.invalid(&at, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    sysctls(&context.get("sysctls"), errors);
    let among = |name: &str, values: &[&str], errors: &mut Errors| {
        let field = context.get(name);
        if field.is_set() {
            errors.one_of(&field, values);
        }
    };
    among("fsGroupChangePolicy", &["Always", "OnRootMismatch"], errors);
    seccomp(&context.get("seccompProfile"), errors);
    windows::options(&context.get("windowsOptions"), errors);
    app_armor(&context.get("appArmorProfile"), errors);
    among("supplementalGroupsPolicy", &["Merge", "Strict"], errors);
    among("seLinuxChangePolicy", &["Recursive"], errors);
}

fn sysctls(list: &At, errors: &mut Errors) {
    let mut names = Vec::new();
    for sysctl in list.items() {
        let name = sysctl.get("name");
        if !errors.need(&name) {
            continue;
        }
        if !sysctl_name(name.text()) {
            let form = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.invalid(&name, format!("must have at most 253 characters and match regex {form}"));
        } else if names.contains(&name.text()) {
            errors.duplicate(&name);
        }
        names.push(name.text());
    }
}

fn sysctl_name(name: &str) -> bool {
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            edge(part.bytes().next())
                && edge(part.bytes().last())
                && part.bytes().all(|b| edge(Some(b)) || matches!(b, b'-' | b'_'))
        })
}

/// `securityContext` of a container.
pub(super) fn container(context: &At, host_users: bool, errors: &mut Errors) {
    if !context.is_set() {
        return;
    }
    ids(context, &["runAsUser", "runAsGroup"], errors);
    let mount = context.get("procMount");
    errors.supported(&mount, &["Default", "Unmasked"]);
    if host_users && mount.text() == "Unmasked" {
        errors.invalid(&mount, "`hostUsers` must be false to use `Unmasked`");
    }
    seccomp(&context.get("seccompProfile"), errors);
    if context.get("allowPrivilegeEscalation").value == &serde_json::Value::Bool(false) {
        if context.get("privileged").is_true() {
            errors
                .invalid(context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        let added = context.path(&["capabilities", "add"]);
        for _ in added.items().iter().filter(|capability| capability.text() == "CAP_SYS_ADMIN") {
            errors.invalid(
                context,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
    windows::options(&context.get("windowsOptions"), errors);
    app_armor(&context.get("appArmorProfile"), errors);
}
