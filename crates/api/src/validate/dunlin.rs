//! Our own kinds (`dunlin.io`): migrations.

use super::field::{At, Errors};
use super::syntax;

/// A day; a pod that is not ready by then never will be.
const LONGEST_TIMEOUT: i64 = 24 * 3600;

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    if kind != "Migration" {
        return;
    }
    let spec = object.get("spec");
    errors.need_form(&spec.get("pod"), syntax::dns_subdomain);
    let (cluster, machine) = (spec.get("cluster"), spec.get("machine"));
    if cluster.text().is_empty() && machine.text().is_empty() {
        errors.required(&machine, "name the machine or the cluster to move to");
    }
    errors.form(&cluster, syntax::label_value);
    // A path below the cluster's node: names of nodes between slashes.
    for part in machine.text().split('/').filter(|_| !machine.text().is_empty()) {
        errors.complaints_about(&machine, machine.text(), syntax::dns_subdomain(part));
    }
    errors.range(&spec.get("timeoutSeconds"), 1, LONGEST_TIMEOUT);
}

pub(super) fn change(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    if kind == "Migration" {
        errors.immutable(&new.get("spec"), &old.get("spec"));
    }
}
