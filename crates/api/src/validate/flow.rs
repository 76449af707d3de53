//! Flow schemas and priority levels.

use super::error::Shown;
use super::field::{At, Errors, same};
use super::{FieldError, syntax};
use crate::flowcontrol;

const LOWEST_PRECEDENCE: i64 = 10_000;
const MOST_QUEUES: i64 = 10_000_000;
/// The bits of a hash from which the queues of a flow are drawn.
const HASH_BITS: f64 = 60.0;
const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// An annotation that only an older version of the API may carry.
const ZERO_SHARES: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    match kind {
        "FlowSchema" => {
            schema(object, &spec, errors);
            fixed(kind, object, &spec, errors);
        }
        "PriorityLevelConfiguration" => {
            let annotations = object.path(&["metadata", "annotations"]);
            if annotations.get(ZERO_SHARES).is_set() {
                errors.forbidden(&annotations, &format!("annotation '{ZERO_SHARES}' is forbidden"));
            }
            level(object, &spec, errors);
            fixed(kind, object, &spec, errors);
        }
        _ => return,
    }
    status(object, errors);
}

pub(super) fn status(object: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for condition in object.path(&["status", "conditions"]).items() {
        let name = condition.get("type");
        if seen.contains(&name.text()) {
            errors.duplicate(&name);
        }
        seen.push(name.text());
        errors.need(&name);
    }
}

/// The objects without which nothing works are as they are.
fn fixed(kind: &str, object: &At, spec: &At, errors: &mut Errors) {
    let name = object.path(&["metadata", "name"]).text();
    let Some(mut wanted) = flowcontrol::mandatory(kind, name) else { return };
    let open = kind == "PriorityLevelConfiguration" && name == flowcontrol::EXEMPT;
    if open {
        wanted["exempt"] = spec.get("exempt").value.clone();
    }
    if !same(&wanted, spec.value) {
        let but = if open { " except the 'spec.exempt' field" } else { "" };
        errors.invalid(spec, format!("spec of '{name}'{but} must equal the fixed value"));
    }
}

fn schema(object: &At, spec: &At, errors: &mut Errors) {
    let precedence = spec.get("matchingPrecedence");
    let number = precedence.int().unwrap_or_default();
    if number <= 0 {
        errors.invalid_value(&precedence, number, "must be a positive value");
    }
    if number > LOWEST_PRECEDENCE {
        errors.invalid(&precedence, format!("must not be greater than {LOWEST_PRECEDENCE}"));
    }
    if number == 1 && object.path(&["metadata", "name"]).text() != flowcontrol::EXEMPT {
        errors.invalid(&precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    let method = spec.get("distinguisherMethod");
    let kind = method.get("type");
    if method.is_set() && !matches!(kind.text(), "ByNamespace" | "ByUser") {
        let error = FieldError::not_supported(&kind.path, "", &["ByNamespace", "ByUser"]);
        let shown = format!("{{\"Type\":{}}}", crate::status::quote(kind.text()));
        errors.push(FieldError { bad_value: Some(Shown::Text(shown)), ..error });
    }
    let level = spec.path(&["priorityLevelConfiguration", "name"]);
    if level.is_empty() {
        errors.required(&level, "must reference a priority level");
    }
    errors.form(&level, syntax::dns_subdomain);
    for rule in spec.get("rules").items() {
        subjects(&rule.get("subjects"), errors);
        let (resources, paths) = (rule.get("resourceRules"), rule.get("nonResourceRules"));
        if resources.is_empty() && paths.is_empty() {
            let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
            errors.required(&rule, why);
        }
        resources.items().iter().for_each(|rule| resource_rule(rule, errors));
        paths.items().iter().for_each(|rule| path_rule(rule, errors));
    }
}

fn subjects(list: &At, errors: &mut Errors) {
    if list.is_empty() {
        errors.required(list, "subjects must contain at least one value");
    }
    let kinds = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    for subject in list.items() {
        let kind = subject.get("kind");
        let Some((_, field)) = kinds.iter().find(|(name, _)| *name == kind.text()) else {
            errors.one_of(&kind, &["Group", "ServiceAccount", "User"]);
            continue;
        };
        let at = subject.get(field);
        if !at.is_set() {
            errors.required(&at, &format!("{field} is required when subject kind is '{}'", kind.text()));
        } else {
            let (name, namespace) = (at.get("name"), at.get("namespace"));
            errors.need(&name);
            if *field == "serviceAccount" {
                if name.text() != "*" {
                    errors.form(&name, syntax::dns_subdomain);
                }
                if namespace.is_empty() {
                    errors.required(&namespace, "must specify namespace for service account");
                }
                errors.form(&namespace, syntax::dns_label);
            }
        }
        for (other, field) in kinds.iter().filter(|(name, _)| *name != kind.text()) {
            if subject.get(field).is_set() {
                let why = format!("{field} is forbidden when subject kind is not '{other}'");
                errors.forbidden(&subject.get(field), &why);
            }
        }
    }
}

fn has_all(list: &At) -> bool {
    list.items().iter().any(|item| item.text() == "*")
}

/// `*` stands alone in a list.
fn alone(list: &At, what: &str, errors: &mut Errors) {
    if has_all(list) && list.items().len() > 1 {
        errors.invalid(list, format!("if '*' is present, must not specify other {what}"));
    }
}

fn verbs(list: &At, errors: &mut Errors) {
    if list.is_empty() {
        errors.required(list, "verbs must contain at least one value");
    } else if has_all(list) {
        alone(list, "verbs", errors);
    } else if list.items().iter().any(|verb| !VERBS.contains(&verb.text())) {
        errors.push(FieldError::not_supported(&list.path, list.value.clone(), VERBS));
    }
}

fn resource_rule(rule: &At, errors: &mut Errors) {
    verbs(&rule.get("verbs"), errors);
    for (field, missing, others) in [
        ("apiGroups", "resource rules must supply at least one api group", "api groups"),
        ("resources", "resource rules must supply at least one resource", "resources"),
    ] {
        let list = rule.get(field);
        if list.is_empty() {
            errors.required(&list, missing);
        }
        alone(&list, others, errors);
    }
    let namespaces = rule.get("namespaces");
    if namespaces.is_empty() && !rule.get("clusterScope").is_true() {
        let why = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.required(&namespaces, why);
    } else if has_all(&namespaces) {
        alone(&namespaces, "namespaces", errors);
    } else {
        for namespace in namespaces.items() {
            for why in syntax::dns_label(namespace.text()) {
                errors.invalid(
                    &namespace,
                    format!("each member of this list must be '*' or a DNS-1123 label; {why}"),
                );
            }
        }
    }
}

fn path_rule(rule: &At, errors: &mut Errors) {
    verbs(&rule.get("verbs"), errors);
    let paths = rule.get("nonResourceURLs");
    if paths.is_empty() {
        errors.required(&paths, "nonResourceURLs must contain at least one value");
    } else if has_all(&paths) {
        alone(&paths, "non-resource URLs", errors);
    } else {
        paths.items().iter().for_each(|path| one_path(path, errors));
    }
}

fn one_path(at: &At, errors: &mut Errors) {
    let path = at.text();
    let why = if path.is_empty() {
        return errors.invalid(at, "must not be empty");
    } else if path == "/" {
        return;
    } else if !path.starts_with('/') {
        "must start with slash"
    } else if path.contains(' ') {
        "must not contain white-space"
    } else if path.contains("//") {
        "must not contain double slash"
    } else if path.matches('*').count() > 1 || (path.contains('*') && !path.ends_with("/*")) {
        "wildcard can only do suffix matching"
    } else {
        return;
    };
    errors.invalid(at, why);
}

fn level(object: &At, spec: &At, errors: &mut Errors) {
    let (kind, limited, exempt) = (spec.get("type"), spec.get("limited"), spec.get("exempt"));
    let is_exempt = object.path(&["metadata", "name"]).text() == flowcontrol::EXEMPT;
    if is_exempt != (kind.text() == "Exempt") {
        let why = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.invalid_value(&kind, kind.text(), why);
    }
    match kind.text() {
        "Exempt" => {
            if limited.is_set() {
                errors.forbidden(&limited, "must be nil if the type is not Limited");
            }
            shares(&exempt, errors);
            percent(&exempt, errors);
        }
        "Limited" => {
            if exempt.is_set() {
                errors.forbidden(&exempt, "must be nil if the type is Limited");
            }
            if !limited.is_set() {
                return errors.required(&limited, "must not be empty when type is Limited");
            }
            shares(&limited, errors);
            response(&limited.get("limitResponse"), errors);
            percent(&limited, errors);
            let borrowing = limited.get("borrowingLimitPercent");
            if borrowing.int().is_some_and(|n| n < 0) {
                errors.invalid(&borrowing, "if specified, must be a non-negative integer");
            }
        }
        _ => errors.need_supported(&kind, &["Exempt", "Limited"]),
    }
}

fn shares(at: &At, errors: &mut Errors) {
    let shares = at.get("nominalConcurrencyShares");
    if shares.int().is_some_and(|n| n < 0) {
        errors.invalid(&shares, "must be a non-negative integer");
    }
}

fn percent(at: &At, errors: &mut Errors) {
    errors.range(&at.get("lendablePercent"), 0, 100);
}

fn response(response: &At, errors: &mut Errors) {
    let (kind, queuing) = (response.get("type"), response.get("queuing"));
    match kind.text() {
        "Reject" if queuing.is_set() => {
            errors.forbidden(&queuing, "must be nil if limited.limitResponse.type is not Limited");
        }
        "Reject" => {}
        "Queue" if !queuing.is_set() => {
            errors.required(&queuing, "must not be empty if limited.limitResponse.type is Limited");
        }
        "Queue" => queues(&queuing, errors),
        _ => errors.need_supported(&kind, &["Queue", "Reject"]),
    }
}

fn queues(at: &At, errors: &mut Errors) {
    let number = |name: &str| (at.get(name), at.get(name).int().unwrap_or_default());
    let ((length, long), (queues, many), (hand, size)) =
        (number("queueLengthLimit"), number("queues"), number("handSize"));
    if long <= 0 {
        errors.invalid_value(&length, long, "must be positive");
    }
    if many <= 0 {
        errors.invalid_value(&queues, many, "must be positive");
    } else if many > MOST_QUEUES {
        errors.invalid(&queues, format!("must not be greater than {MOST_QUEUES}"));
    }
    if size <= 0 {
        errors.invalid_value(&hand, size, "must be positive");
    } else if size > many {
        errors.invalid(&hand, format!("should not be greater than queues ({many})"));
    } else if ((many as f64).log2() * size as f64).ceil() > HASH_BITS {
        errors.invalid(
            &hand,
            format!(
                "required entropy bits of deckSize {many} and handSize {size} should not be greater than {HASH_BITS}"
            ),
        );
    }
}
