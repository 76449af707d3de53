//! Admission policies and their bindings: their form, and whether their expressions can be compiled.

use super::field::{At, Errors};
use super::{FieldError, admission, selectors, syntax};
use crate::cel::RESERVED;
use crate::policy::{Expression, Returns, Scope, Variables};

const MOST_ANNOTATIONS: usize = 20;
/// The longest expression of an audit annotation, in bytes.
const LONGEST_VALUE: usize = 5 * 1024;
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    match kind {
        "ValidatingAdmissionPolicy" => validating(object, &spec, errors),
        "MutatingAdmissionPolicy" => mutating(&spec, errors),
        "ValidatingAdmissionPolicyBinding" => {
            binding(&spec, errors);
            actions(&spec.get("validationActions"), errors);
        }
        "MutatingAdmissionPolicyBinding" => binding(&spec, errors),
        _ => {}
    }
}

/// What all policies have. Gives back their variables, where they have any, and whether there are params.
fn common(spec: &At, errors: &mut Errors) -> (Option<Variables>, bool) {
    errors.one_of(&spec.get("failurePolicy"), &["Fail", "Ignore"]);
    let kind = spec.get("paramKind");
    let params = kind.is_set();
    if params {
        param_kind(&kind, errors);
    }
    let constraints = spec.get("matchConstraints");
    if constraints.is_set() {
        match_resources(&constraints, errors);
        filled(&constraints.get("resourceRules"), errors);
    } else {
        errors.required(&constraints, "");
    }
    admission::conditions(&spec.get("matchConditions"), params, errors);
    let list = spec.get("variables");
    let mut variables = Variables::default();
    for variable in list.items() {
        let (name, expression) = (variable.get("name"), variable.get("expression"));
        if name.text().trim().is_empty() {
            errors.required(&name, "name is not specified");
        } else if !is_identifier(name.text()) {
            errors.invalid(&name, "must be a valid CEL identifier");
        }
        if expression.text().trim().is_empty() {
            errors.required(&expression, "expression is not specified");
        } else {
            let scope = Scope { params, authorizer: true, patches: false };
            if let Some(wrong) = variables.add(name.text(), expression.text(), scope) {
                errors.invalid(&expression, wrong);
            }
        }
    }
    ((!list.is_empty()).then_some(variables), params)
}

fn filled(list: &At, errors: &mut Errors) {
    if list.is_empty() {
        errors.required(list, "");
    }
}

fn validating(object: &At, spec: &At, errors: &mut Errors) {
    let (variables, params) = common(spec, errors);
    let (validations, annotations) = (spec.get("validations"), spec.get("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let text = "validations or auditAnnotations must contain at least one item";
        errors.required(&validations, text);
        errors.required(&annotations, text);
        return;
    }
    let scope = Scope { params, authorizer: true, patches: false };
    for item in validations.items() {
        validation(&item, scope, variables.as_ref(), errors);
    }
    let list = annotations.items();
    if list.len() > MOST_ANNOTATIONS {
        let text = format!("must not have more than {MOST_ANNOTATIONS} auditAnnotations");
        let go = |item: &At| {
            let quoted = |name: &str| crate::status::quote(item.get(name).text());
            format!(r#"{{"Key":{},"ValueExpression":{}}}"#, quoted("key"), quoted("valueExpression"))
        };
        let shown: Vec<String> = list.iter().map(go).collect();
        let error = FieldError::invalid(&annotations.path, "", text);
        errors.push(error.showing(format!("[{}]", shown.join(","))));
    }
    let mut keys = Vec::new();
    for item in list {
        let (key, value) = (item.get("key"), item.get("valueExpression"));
        let name = object.path(&["metadata", "name"]);
        if name.is_empty() {
            errors.invalid(&key, "requires metadata.name be non-empty");
        } else {
            let whole = format!("{}/{}", name.text(), key.text());
            errors.complaints_about(&key, &whole, syntax::qualified_name(&whole));
        }
        let text = value.text().trim();
        if text.is_empty() {
            errors.required(&value, "valueExpression is not specified");
        } else if text.len() > LONGEST_VALUE {
            errors.required(&value, &format!("must not exceed {LONGEST_VALUE} bytes in length"));
        } else if let Some(wrong) =
            Expression::new(text, scope, variables.as_ref(), Returns::TextOrNull).wrong()
        {
            errors.invalid(&value, wrong);
        }
        if keys.contains(&key.text()) {
            errors.duplicate(&key);
        }
        keys.push(key.text());
    }
}

fn validation(item: &At, scope: Scope, variables: Option<&Variables>, errors: &mut Errors) {
    let (expression, message, dynamic) =
        (item.get("expression"), item.get("message"), item.get("messageExpression"));
    if expression.text().trim().is_empty() {
        errors.required(&expression, "expression is not specified");
    } else {
        compiles(&expression, scope, variables, Returns::Bool, errors);
    }
    if !dynamic.is_empty() && dynamic.text().trim().is_empty() {
        errors.invalid(&dynamic, "must be non-empty if specified");
    } else if !dynamic.is_empty() {
        let scope = Scope { authorizer: false, ..scope };
        compiles(&dynamic, scope, variables, Returns::Text, errors);
    }
    if !message.is_empty() && message.text().trim().is_empty() {
        errors.invalid(&message, "must be non-empty if specified");
    } else if message.text().trim().contains(['\n', '\r']) {
        errors.invalid(&message, "must not contain line breaks");
    }
    let reason = item.get("reason");
    if reason.is_set() {
        errors.one_of(&reason, REASONS);
    }
}

fn compiles(at: &At, scope: Scope, variables: Option<&Variables>, returns: Returns, errors: &mut Errors) {
    if let Some(wrong) = Expression::new(at.text(), scope, variables, returns).wrong() {
        errors.invalid(at, wrong);
    }
}

fn mutating(spec: &At, errors: &mut Errors) {
    let (variables, params) = common(spec, errors);
    let scope = Scope { params, authorizer: true, patches: true };
    for rule in spec.path(&["matchConstraints", "resourceRules"]).items() {
        for operation in rule.get("operations").items().iter().filter(|o| o.text() == "DELETE") {
            // What is deleted cannot be changed. Kubernetes does not say which rule it is.
            let path = "spec.matchConstraints.resourceRules.operations".to_owned();
            errors.one_of(&operation.at(path), &["*", "CONNECT", "CREATE", "UPDATE"]);
        }
    }
    let mutations = spec.get("mutations");
    if mutations.is_empty() {
        errors.required(&mutations, "mutations must contain at least one item");
    }
    for item in mutations.items() {
        let (patch, apply) = (item.get("jsonPatch"), item.get("applyConfiguration"));
        let (wanted, other, returns) = match item.get("patchType").text() {
            "" => {
                errors.required(&item.get("patchType"), "");
                continue;
            }
            "ApplyConfiguration" => (apply, patch, Returns::Object),
            "JSONPatch" => (patch, apply, Returns::Patch),
            _ => {
                errors.one_of(&item.get("patchType"), &["ApplyConfiguration", "JSONPatch"]);
                continue;
            }
        };
        let kind = item.get("patchType").text();
        if other.is_set() {
            let name = other.path.rsplit('.').next().unwrap_or_default();
            let text = format!("must not be specified when patchType is {kind}");
            errors.invalid_value(&other, format!("{{{name}}}"), text);
        }
        if !wanted.is_set() {
            errors.required(&wanted, &format!("must be specified when patchType is {kind}"));
            continue;
        }
        let expression = wanted.get("expression");
        if expression.text().trim().is_empty() {
            errors.required(&expression, "");
        } else {
            compiles(&expression, scope, variables.as_ref(), returns, errors);
        }
    }
    errors.need_supported(&spec.get("reinvocationPolicy"), &["IfNeeded", "Never"]);
}

fn is_identifier(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(fits)
        && !matches!(name, "true" | "false" | "null" | "in")
        && !RESERVED.contains(&name)
}

fn param_kind(kind: &At, errors: &mut Errors) {
    let version = kind.get("apiVersion");
    let text = version.text();
    if text.is_empty() {
        errors.required(&version, "");
    } else if text.matches('/').count() > 1 {
        errors.invalid(&version, format!("unexpected GroupVersion string: {text}"));
    } else {
        let (group, number) = if text == "/" { ("", "") } else { text.split_once('/').unwrap_or(("", text)) };
        let found = syntax::dns_subdomain(group);
        if !group.is_empty() && !found.is_empty() {
            errors.invalid_value(&version, group, found.join(","));
        }
        let found = syntax::dns1035_label(number);
        if number.is_empty() {
            errors.invalid(&version, "version must be specified");
        } else if !found.is_empty() {
            errors.invalid_value(&version, number, found.join(","));
        }
    }
    let name = kind.get("kind");
    if errors.need(&name) {
        let found = syntax::dns1035_label(&name.text().to_lowercase());
        if !found.is_empty() {
            let text = format!("may have mixed case, but should otherwise match: {}", found.join(","));
            errors.invalid(&name, text);
        }
    }
}

fn match_resources(resources: &At, errors: &mut Errors) {
    errors.one_of(&resources.get("matchPolicy"), &["Equivalent", "Exact"]);
    selectors::label_selector(&resources.get("namespaceSelector"), errors);
    selectors::label_selector(&resources.get("objectSelector"), errors);
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in resources.get(list).items() {
            let mut names = Vec::new();
            for name in rule.get("resourceNames").items() {
                errors.complaints(&name, syntax::path_segment(name.text()));
                if names.contains(&name.text()) {
                    errors.duplicate(&name);
                }
                names.push(name.text());
            }
            admission::rule(&rule, errors);
        }
    }
}

fn binding(spec: &At, errors: &mut Errors) {
    let name = spec.get("policyName");
    errors.need_form(&name, syntax::dns_subdomain);
    let param = spec.get("paramRef");
    if param.is_set() {
        param_ref(&param, errors);
    }
    let resources = spec.get("matchResources");
    if resources.is_set() {
        // Kubernetes spells it like this.
        match_resources(&resources.at("spec.matchResouces".into()), errors);
    }
}

fn param_ref(param: &At, errors: &mut Errors) {
    const BOTH: &str = "name and selector are mutually exclusive";
    let (name, selector) = (param.get("name"), param.get("selector"));
    let named = !name.is_empty();
    if named {
        errors.complaints(&name, syntax::path_segment(name.text()));
        if selector.is_set() {
            errors.forbidden(&name, BOTH);
        }
    }
    if selector.is_set() {
        selectors::label_selector(&selector, errors);
        if named {
            errors.forbidden(&selector, BOTH);
        }
    }
    if !named && !selector.is_set() {
        errors.required(param, "one of name or selector must be specified");
    }
    errors.need_supported(&param.get("parameterNotFoundAction"), &["Deny", "Allow"]);
}

fn actions(list: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for action in list.items() {
        errors.one_of(&action, &["Audit", "Deny", "Warn"]);
        if seen.contains(&action.text()) {
            errors.duplicate(&action);
        }
        seen.push(action.text());
    }
    if seen.contains(&"Deny") && seen.contains(&"Warn") {
        let text = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.invalid(list, text);
    }
    if seen.is_empty() {
        errors.required(list, "at least one validation action is required");
    }
}

/// What somebody says of a policy's expressions.
pub(super) fn status(status: &At, errors: &mut Errors) {
    for warning in status.path(&["typeChecking", "expressionWarnings"]).items() {
        errors.need(&warning.get("warning"));
        let place = warning.get("fieldRef");
        let text = place.text().trim();
        if text.is_empty() {
            errors.required(&place, "");
        } else if let Err(wrong) = crate::jsonpath::Path::parse(&format!(".{text}")) {
            errors.push(FieldError::invalid(&place.path, text, format!("invalid JSONPath: {wrong}")));
        }
    }
}
