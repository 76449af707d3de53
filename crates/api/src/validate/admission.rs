//! Webhooks of admission (`admissionregistration.k8s.io`), and the rules that say what they are about.

use super::error::Shown;
use super::field::{At, Errors};
use super::{FieldError, policies, selectors, syntax, webhook};
use crate::policy::{Expression, Returns, Scope};

/// The versions of `AdmissionReview` that the server speaks.
const REVIEWS: &[&str] = &["v1", "v1beta1"];
/// Webhooks that do something beside answering could not be asked in a dry run.
const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const MOST_CONDITIONS: usize = 64;

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    match kind {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => configuration(object, errors),
        _ => policies::kind(kind, object, errors),
    }
}

fn configuration(object: &At, errors: &mut Errors) {
    let mut names = Vec::new();
    for hook in object.get("webhooks").items() {
        check(&hook, errors);
        reviews(&hook.get("admissionReviewVersions"), errors);
        let name = hook.get("name");
        if names.contains(&name.text()) {
            errors.duplicate(&name);
        } else if !name.is_empty() {
            names.push(name.text());
        }
    }
}

fn check(hook: &At, errors: &mut Errors) {
    qualified_name(&hook.get("name"), errors);
    for item in hook.get("rules").items() {
        rule(&item, errors);
    }
    errors.one_of(&hook.get("failurePolicy"), &["Fail", "Ignore"]);
    errors.one_of(&hook.get("matchPolicy"), &["Equivalent", "Exact"]);
    let effects = hook.get("sideEffects");
    if effects.is_set() {
        errors.one_of(&effects, SIDE_EFFECTS);
    } else {
        errors.required(&effects, &format!("must specify one of {}", SIDE_EFFECTS.join(", ")));
    }
    let timeout = hook.get("timeoutSeconds");
    if timeout.int().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        errors.invalid(&timeout, "the timeout value must be between 1 and 30 seconds");
    }
    selectors::label_selector(&hook.get("namespaceSelector"), errors);
    selectors::label_selector(&hook.get("objectSelector"), errors);
    let again = hook.get("reinvocationPolicy");
    if again.is_set() {
        errors.one_of(&again, &["IfNeeded", "Never"]);
    }
    webhook::client(&hook.get("clientConfig"), errors);
    conditions(&hook.get("matchConditions"), false, errors);
}

/// A name in a domain: three parts at least.
fn qualified_name(name: &At, errors: &mut Errors) {
    if !errors.need(name) {
        return;
    }
    let found = syntax::dns_subdomain(name.text());
    if !found.is_empty() {
        errors.invalid(name, found.join(","));
    } else if name.text().split('.').count() < 3 {
        errors.invalid(name, "should be a domain with at least three segments separated by dots");
    }
}

fn reviews(versions: &At, errors: &mut Errors) {
    let known = REVIEWS.join(", ");
    if versions.is_empty() {
        return errors.required(versions, &format!("must specify one of {known}"));
    }
    let mut seen = Vec::new();
    for version in versions.items() {
        if seen.contains(&version.text()) {
            errors.invalid(&version, "duplicate version");
            continue;
        }
        seen.push(version.text());
        errors.complaints(&version, syntax::dns1035_label(version.text()));
    }
    if !seen.iter().any(|version| REVIEWS.contains(version)) {
        errors.invalid(versions, format!("must include at least one of {known}"));
    }
}

/// A `RuleWithOperations`.
pub(super) fn rule(rule: &At, errors: &mut Errors) {
    let operations = rule.get("operations");
    if operations.is_empty() {
        errors.required(&operations, "");
    }
    alone(&operations, "operations", errors);
    for operation in operations.items() {
        errors.one_of(&operation, OPERATIONS);
    }
    let (groups, versions) = (rule.get("apiGroups"), rule.get("apiVersions"));
    if groups.is_empty() {
        errors.required(&groups, "");
    }
    alone(&groups, "API groups", errors);
    if versions.is_empty() {
        errors.required(&versions, "");
    }
    alone(&versions, "API versions", errors);
    for version in versions.items() {
        errors.need(&version);
    }
    resources(&rule.get("resources"), errors);
    let scope = rule.get("scope");
    if scope.is_set() {
        errors.one_of(&scope, &["*", "Cluster", "Namespaced"]);
    }
}

/// What means everything stands alone.
fn alone(list: &At, what: &str, errors: &mut Errors) {
    let items = list.items();
    if items.len() > 1 && items.iter().any(|item| item.text() == "*") {
        errors.invalid(list, format!("if '*' is present, must not specify other {what}"));
    }
}

fn resources(list: &At, errors: &mut Errors) {
    if list.is_empty() {
        errors.required(list, "");
    }
    // Of which resource all subresources are named, and which subresource of all resources.
    let (mut whole, mut everywhere) = (Vec::new(), Vec::new());
    let mut last_is_plain = false;
    for item in list.items() {
        let text = item.text();
        if !errors.need(&item) {
            continue;
        }
        let Some((resource, sub)) = text.split_once('/') else {
            last_is_plain = text != "*";
            continue;
        };
        if whole.contains(&resource) {
            errors.invalid(&item, format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if everywhere.contains(&sub) {
            errors.invalid(&item, format!("if '*/{sub}' is present, must not specify {text}"));
        }
        if sub == "*" {
            whole.push(resource);
        }
        if resource == "*" {
            everywhere.push(sub);
        }
    }
    let has = |text: &str| list.items().iter().any(|item| item.text() == text);
    if list.items().len() > 1 && has("*/*") {
        errors.invalid(list, "if '*/*' is present, must not specify other resources");
    }
    if has("*") && last_is_plain {
        errors.invalid(list, "if '*' is present, must not specify other resources without subresources");
    }
}

/// `matchConditions`. Those of a policy may name its params, if it has any.
pub(super) fn conditions(list: &At, params: bool, errors: &mut Errors) {
    let scope = Scope { params, authorizer: true, patches: false };
    let count = list.items().len();
    if count > MOST_CONDITIONS {
        let error = FieldError::too_many(&list.path, count, MOST_CONDITIONS);
        errors.push(FieldError { bad_value: Some(Shown::Text(count.to_string())), ..error });
    }
    let mut names = Vec::new();
    for condition in list.items() {
        let (name, expression) = (condition.get("name"), condition.get("expression"));
        let text = expression.text().trim();
        if text.is_empty() {
            errors.required(&expression, "");
        } else if let Some(wrong) = Expression::new(text, scope, None, Returns::Bool).wrong() {
            errors.invalid_value(&expression, text, wrong);
        }
        errors.need_form(&name, syntax::qualified_name);
        if names.contains(&name.text()) {
            errors.duplicate(&name);
        } else if !name.is_empty() {
            names.push(name.text());
        }
    }
}
