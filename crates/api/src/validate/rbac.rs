//! Roles and bindings. Whether the one who writes them may grant what they grant is decided elsewhere.

use super::error::Shown;
use super::field::{At, Errors, same};
use super::{FieldError, selectors, syntax};
use crate::selector::LabelSelector;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    match kind {
        "Role" | "ClusterRole" => {
            for rule in object.get("rules").items() {
                policy_rule(&rule, kind == "Role", errors);
            }
            let aggregation = object.get("aggregationRule");
            let list = aggregation.get("clusterRoleSelectors");
            if aggregation.is_set() && list.is_empty() {
                errors.required(
                    &list,
                    "at least one clusterRoleSelector required if aggregationRule is non-nil",
                );
            }
            for selector in list.items() {
                selectors::label_selector(&selector, errors);
                if LabelSelector::from_value(selector.value).is_err() {
                    let error = FieldError::invalid(&selector.path, "", "invalid label selector.");
                    errors.push(FieldError { bad_value: Some(Shown::Null), ..error });
                }
            }
        }
        "RoleBinding" | "ClusterRoleBinding" => binding(object, kind == "RoleBinding", errors),
        _ => {}
    }
}

pub(super) fn change(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    let role = new.get("roleRef");
    if matches!(kind, "RoleBinding" | "ClusterRoleBinding") && !same(role.value, old.get("roleRef").value) {
        // As Kubernetes prints its own form of a reference.
        let text = |name: &str| crate::status::quote(role.get(name).text());
        let shown =
            format!(r#"{{"APIGroup":{},"Kind":{},"Name":{}}}"#, text("apiGroup"), text("kind"), text("name"));
        let error = FieldError::invalid(&role.path, "", "cannot change roleRef");
        errors.push(FieldError { bad_value: Some(Shown::Text(shown)), ..error });
    }
}

fn policy_rule(rule: &At, namespaced: bool, errors: &mut Errors) {
    if rule.get("verbs").is_empty() {
        errors.required(&rule.get("verbs"), "verbs must contain at least one value");
    }
    let (urls, groups, resources) =
        (rule.get("nonResourceURLs"), rule.get("apiGroups"), rule.get("resources"));
    if !urls.is_empty() {
        if namespaced {
            errors.invalid(&urls, "namespaced rules cannot apply to non-resource URLs");
        }
        if !groups.is_empty() || !resources.is_empty() || !rule.get("resourceNames").is_empty() {
            errors.invalid(&urls, "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if groups.is_empty() {
        errors.required(&groups, "resource rules must supply at least one api group");
    }
    if resources.is_empty() {
        errors.required(&resources, "resource rules must supply at least one resource");
    }
}

fn binding(object: &At, namespaced: bool, errors: &mut Errors) {
    let role = object.get("roleRef");
    if role.get("apiGroup").text() != GROUP {
        let group = role.get("apiGroup");
        errors.push(FieldError::not_supported(&group.path, group.text(), &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    let kind = role.get("kind");
    if !kinds.contains(&kind.text()) {
        errors.push(FieldError::not_supported(&kind.path, kind.text(), kinds));
    }
    errors.need_form(&role.get("name"), syntax::path_segment);
    for subject in object.get("subjects").items() {
        let (name, group, kind) = (subject.get("name"), subject.get("apiGroup"), subject.get("kind"));
        errors.need(&name);
        match kind.text() {
            "ServiceAccount" => {
                errors.form(&name, syntax::dns_subdomain);
                if !group.is_empty() {
                    errors.push(FieldError::not_supported(&group.path, group.text(), &[""]));
                }
                if !namespaced {
                    errors.need(&subject.get("namespace"));
                }
            }
            "User" | "Group" => {
                if group.text() != GROUP {
                    errors.push(FieldError::not_supported(&group.path, group.text(), &[GROUP]));
                }
            }
            other => errors.push(FieldError::not_supported(
                &kind.path,
                other,
                &["ServiceAccount", "User", "Group"],
            )),
        }
    }
}
