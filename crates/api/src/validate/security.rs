//! Security contexts of pods and containers.

use super::field::{At, Errors};
use super::syntax;

/// User and group ids are 32 bits wide.
const MAX_ID: i64 = 0xffff_ffff;

fn ids(context: &At, names: &[&str], errors: &mut Errors) {
    for name in names {
        errors.range(&context.get(name), 0, MAX_ID);
    }
}

/// `seccompProfile` or `appArmorProfile`.
fn profile(profile: &At, errors: &mut Errors) {
    if !profile.is_set() {
        return;
    }
    errors.need_supported(&profile.get("type"), &["Localhost", "RuntimeDefault", "Unconfined"]);
    let file = profile.get("localhostProfile");
    match (profile.get("type").text() == "Localhost", file.is_empty()) {
        (true, true) => errors.required(&file, "must be set when type is Localhost"),
        (false, false) => errors.invalid(&file, "can only be set when type is Localhost"),
        _ => {}
    }
}

/// `securityContext` of a pod.
pub(super) fn pod(context: &At, errors: &mut Errors) {
    ids(context, &["runAsUser", "runAsGroup", "fsGroup"], errors);
    for group in context.get("supplementalGroups").items() {
        errors.range(&group, 0, MAX_ID);
    }
    errors.supported(&context.get("fsGroupChangePolicy"), &["Always", "OnRootMismatch"]);
    errors.supported(&context.get("supplementalGroupsPolicy"), &["Merge", "Strict"]);
    profile(&context.get("seccompProfile"), errors);
    profile(&context.get("appArmorProfile"), errors);
    let mut names = Vec::new();
    for sysctl in context.get("sysctls").items() {
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
pub(super) fn container(context: &At, errors: &mut Errors) {
    ids(context, &["runAsUser", "runAsGroup"], errors);
    errors.supported(&context.get("procMount"), &["Default", "Unmasked"]);
    profile(&context.get("seccompProfile"), errors);
    profile(&context.get("appArmorProfile"), errors);
    if context.get("allowPrivilegeEscalation").value == &serde_json::Value::Bool(false) {
        if context.get("privileged").is_true() {
            errors
                .invalid(context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        let added = context.path(&["capabilities", "add"]);
        if added.items().iter().any(|capability| matches!(capability.text(), "CAP_SYS_ADMIN" | "SYS_ADMIN")) {
            errors.invalid(
                context,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
}

/// References to secrets by name alone.
pub(super) fn pull_secrets(list: &At, errors: &mut Errors) {
    for item in list.items() {
        errors.need_form(&item.get("name"), syntax::dns_subdomain);
    }
}
