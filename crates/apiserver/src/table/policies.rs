//! Admission policies and their bindings.

use serde_json::{Value, json};

use super::{AGE, NAME, Printer, age, int, name, s};
use crate::object::{at, list, text};

pub const VALIDATING: Printer = Printer {
    columns: &[NAME, int("Validations"), s("ParamKind"), AGE],
    cells: |o, now| vec![name(o), json!(list(o, &["spec", "validations"]).len()), param_kind(o), age(o, now)],
};

pub const MUTATING: Printer = Printer {
    columns: &[NAME, int("Mutations"), s("ParamKind"), AGE],
    cells: |o, now| vec![name(o), json!(list(o, &["spec", "mutations"]).len()), param_kind(o), age(o, now)],
};

pub const BINDING: Printer = Printer {
    columns: &[NAME, s("PolicyName"), s("ParamRef"), AGE],
    cells: |o, now| vec![name(o), json!(text(o, &["spec", "policyName"])), param_ref(o), age(o, now)],
};

fn param_kind(o: &Value) -> Value {
    match at(o, &["spec", "paramKind"]) {
        Some(kind) => json!(format!("{}/{}", text(kind, &["apiVersion"]), text(kind, &["kind"]))),
        None => json!("<unset>"),
    }
}

fn param_ref(o: &Value) -> Value {
    let Some(param) = at(o, &["spec", "paramRef"]) else { return json!("<unset>") };
    let (namespace, name) = (text(param, &["namespace"]), text(param, &["name"]));
    match (at(param, &["selector"]), namespace, name) {
        (Some(selector), _, "") => json!(selector_in_go(selector)),
        (None, _, "") => json!("<unset>"),
        (_, "", name) => json!(name),
        (_, namespace, name) => json!(format!("{namespace}/{name}")),
    }
}

/// A selector as Go prints it.
fn selector_in_go(selector: &Value) -> String {
    let labels = at(selector, &["matchLabels"]).and_then(Value::as_object);
    let mut labels: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default()))
        .collect();
    labels.sort();
    let expression = |e: &Value| {
        let values: Vec<&str> = list(e, &["values"]).iter().filter_map(Value::as_str).collect();
        format!(
            "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
            text(e, &["key"]),
            text(e, &["operator"]),
            values.join(" ")
        )
    };
    let expressions: String = list(selector, &["matchExpressions"]).iter().map(expression).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}",
        labels.concat()
    )
}
