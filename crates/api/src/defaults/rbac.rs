//! Role bindings: the groups of the role and of the subjects.

use super::fill::{Object, child, items, set_text, text};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn apply(kind: &str, object: &mut Object) {
    if !matches!(kind, "RoleBinding" | "ClusterRoleBinding") {
        return;
    }
    if let Some(role) = child(object, "roleRef") {
        set_text(role, "apiGroup", GROUP);
    }
    for subject in items(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            set_text(subject, "apiGroup", GROUP);
        }
    }
}
