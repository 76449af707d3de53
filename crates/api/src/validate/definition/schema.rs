//! The rules of a structural schema: every field has a type, outside of the parts that only judge values, and what these
//! parts name is named by the structure, too.

use serde_json::Value;

use super::super::field::{At, Errors};
use super::FieldError;
use crate::structural::{self, Rules, Schema};

/// Fields of JSON Schema that are never allowed.
const REFUSED: [&str; 7] =
    ["$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id", "$schema"];
/// What describes form, and so may not stand where only values are judged.
const STRUCTURE: [&str; 9] = [
    "type",
    "default",
    "nullable",
    "title",
    "description",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
];
const JUNCTORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// A place in a schema as an entry of a map, or by its name.
fn key<'a>(at: &At<'a>, name: &str, entry: &str) -> At<'a> {
    let map = at.get(name);
    At { path: format!("{}[{entry}]", map.path), value: &map.value[entry] }
}

/// Checks a definition's schema from its root.
pub(super) fn check(root: &At, errors: &mut Errors) {
    match root.get("type").text() {
        "" => errors.required(&root.get("type"), "must not be empty at the root"),
        "object" => {}
        _ => errors.invalid(&root.get("type"), "must be object at the root"),
    }
    if root.get("nullable").is_true() {
        errors.forbidden(&root.get("nullable"), "nullable cannot be true at the root");
    }
    metadata(&key(root, "properties", "metadata"), errors);
    place(root, Place::Root, errors);
    for error in Rules::errors(&Schema::parse(root.value), &root.path) {
        errors.push(error);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Field,
    Item,
}

fn metadata(at: &At, errors: &mut Errors) {
    let Some(map) = at.value.as_object() else { return };
    if at.get("type").text() != "object" {
        errors.invalid(&at.get("type"), "must be object");
    }
    for name in map.keys().filter(|n| !matches!(n.as_str(), "type" | "description" | "properties")) {
        errors.forbidden(
            at,
            &format!("must not specify anything other than name and generateName, but {name} is specified"),
        );
    }
    for (name, _) in at.get("properties").entries() {
        if !matches!(name, "name" | "generateName") {
            errors.forbidden(
                at,
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            );
        }
    }
}

/// A place that describes form.
fn place(at: &At, place: Place, errors: &mut Errors) {
    let schema = at.value;
    common(at, errors);
    let flag = |name: &str| schema[name].as_bool() == Some(true);
    let (ty, list_type) = (at.get("type"), at.get("x-kubernetes-list-type"));
    let any = flag("x-kubernetes-preserve-unknown-fields");
    // Kubernetes lets a type stand beside int-or-string, which then says nothing.
    if ty.is_empty() && !any && !flag("x-kubernetes-int-or-string") {
        match place {
            Place::Root => {}
            Place::Field => errors.required(&ty, "must not be empty for specified object fields"),
            Place::Item => errors.required(&ty, "must not be empty for specified array items"),
        }
    }
    for name in [
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-int-or-string",
        "x-kubernetes-embedded-resource",
    ] {
        // `int-or-string: false` is the same as none; keeping unknown fields can only be widened.
        if name == "x-kubernetes-preserve-unknown-fields" && schema[name].as_bool() == Some(false) {
            errors.invalid(&at.get(name), "must be true or undefined");
        }
    }
    if flag("x-kubernetes-embedded-resource") {
        if at.get("properties").is_empty() && !any {
            errors.required(
                &at.get("properties"),
                "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
            );
        }
        if ty.text() != "object" {
            errors.invalid(&ty, "must be object if x-kubernetes-embedded-resource is true");
        }
        metadata(&key(at, "properties", "metadata"), errors);
    }
    let (properties, additional) = (at.get("properties"), at.get("additionalProperties"));
    if schema["additionalProperties"].as_bool() == Some(false) && !properties.is_empty() {
        errors.forbidden(&additional, "additionalProperties cannot be set to false");
    } else if additional.is_set() && !properties.is_empty() {
        errors.forbidden(&additional, "additionalProperties and properties are mutual exclusive");
    }
    if place == Place::Root && additional.is_set() {
        errors.forbidden(&additional, "must not be used at the root");
    }
    if ty.text() == "array" && !at.get("items").is_set() {
        errors.required(&at.get("items"), "must be specified");
    }
    map_type(at, errors);
    if !list_type.is_empty() || at.get("x-kubernetes-list-map-keys").is_set() {
        list(at, errors);
    }
    default(at, errors);
    for (name, _) in properties.entries() {
        let below = key(at, "properties", name);
        // Metadata is implicit; only names are restricted there.
        if place != Place::Root || name != "metadata" {
            self::place(&below, Place::Field, errors);
        }
    }
    if additional.value.is_object() {
        self::place(&additional, Place::Field, errors);
    }
    match at.get("items").value {
        Value::Array(_) => {
            errors.forbidden(&at.get("items"), "items must be a schema object and not an array");
        }
        Value::Object(_) => self::place(&at.get("items"), Place::Item, errors),
        _ => {}
    }
    junctors(at, errors);
}

fn junctors(at: &At, errors: &mut Errors) {
    let int_or_string = at.value["x-kubernetes-int-or-string"].as_bool() == Some(true);
    for name in JUNCTORS {
        for inner in at.get(name).items() {
            values(&inner, int_or_string, errors);
        }
    }
    let not = at.get("not");
    if not.is_set() {
        values(&not, int_or_string, errors);
    }
}

/// A place that judges values only. Under `int-or-string` the customary pair of types may be repeated.
fn values(at: &At, int_or_string: bool, errors: &mut Errors) {
    common(at, errors);
    for name in STRUCTURE {
        if at.get(name).is_set() && !(int_or_string && name == "type") {
            errors.forbidden(&at.get(name), "must be empty to be structural");
        }
    }
    for (name, _) in at.get("properties").entries() {
        values(&key(at, "properties", name), false, errors);
    }
    let items = at.get("items");
    if items.is_set() {
        values(&items, false, errors);
    }
    junctors(&At { path: at.path.clone(), value: at.value }, errors);
    if int_or_string {
        return;
    }
    let rules = at.get("x-kubernetes-validations");
    if !rules.is_empty() {
        errors.forbidden(&rules, "must be empty to be structural");
    }
}

/// What holds everywhere.
fn common(at: &At, errors: &mut Errors) {
    for name in REFUSED {
        if at.get(name).is_set() {
            errors.forbidden(&at.get(name), &format!("{name} is not supported"));
        }
    }
    let ty = at.get("type");
    if !ty.is_empty() && !TYPES.contains(&ty.text()) {
        errors.push(FieldError::not_supported(&ty.path, ty.value.clone(), &TYPES));
    }
    if at.get("uniqueItems").is_true() {
        errors.forbidden(
            &at.get("uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
    let pattern = at.get("pattern");
    if !pattern.is_empty()
        && let Err(why) = crate::pattern::compile(pattern.text())
    {
        errors.invalid(&pattern, format!("must be a valid regular expression, but isn't: {why}"));
    }
}

fn map_type(at: &At, errors: &mut Errors) {
    let kind = at.get("x-kubernetes-map-type");
    if kind.is_empty() {
        return;
    }
    if at.get("type").text() != "object" {
        errors.invalid(&at.get("type"), "must be object if x-kubernetes-map-type is specified");
    }
    errors.supported(&kind, &["atomic", "granular"]);
}

fn list(at: &At, errors: &mut Errors) {
    let (kind, keys) = (at.get("x-kubernetes-list-type"), at.get("x-kubernetes-list-map-keys"));
    if at.get("type").text() != "array" {
        errors.invalid(&at.get("type"), "must be array if x-kubernetes-list-type is specified");
    }
    errors.supported(&kind, &["atomic", "set", "map"]);
    if kind.text() != "map" {
        if !keys.is_empty() {
            errors.required(&kind, "must be map if x-kubernetes-list-map-keys is non-empty");
        }
        if kind.text() == "set" {
            set(&at.get("items"), errors);
        }
        return;
    }
    if keys.is_empty() {
        errors.required(&keys, "must not be empty if x-kubernetes-list-type is map");
    }
    let items = at.get("items");
    if items.get("type").text() != "object" {
        errors.invalid(&items.get("type"), "must be object if parent array's x-kubernetes-list-type is map");
        return;
    }
    let all = keys.items();
    if !all.iter().all(|name| key(&items, "properties", name.text()).is_set()) {
        errors.invalid(&keys, "entries must all be names of item properties");
    }
    let required: Vec<&str> =
        items.value["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut seen = Vec::new();
    for name in all {
        if seen.contains(&name.text()) {
            errors.duplicate(&name);
        }
        seen.push(name.text());
        let property = key(&items, "properties", name.text());
        if !property.is_set() {
            continue;
        }
        let ty = property.get("type");
        if matches!(ty.text(), "array" | "object" | "")
            && property.value["x-kubernetes-int-or-string"].as_bool() != Some(true)
        {
            errors.invalid(&ty, "must be a scalar type if parent array's x-kubernetes-list-type is map");
        }
        if !required.contains(&name.text()) && !property.get("default").is_set() {
            errors.required(
                &property.get("default"),
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            );
        }
    }
}

/// Items of a set are compared as a whole.
fn set(items: &At, errors: &mut Errors) {
    if items.get("nullable").is_true() {
        errors.forbidden(&items.get("nullable"), "cannot be nullable when x-kubernetes-list-type is set");
    }
    match items.get("type").text() {
        "object" if items.get("x-kubernetes-map-type").text() != "atomic" => {
            let kind = items.get("x-kubernetes-map-type");
            let text = "must be atomic as item of a list with x-kubernetes-list-type=set";
            let error = FieldError::invalid(&kind.path, kind.value.clone(), text);
            errors.push(error.showing(kind.value.to_string()));
        }
        "array" if !matches!(items.get("x-kubernetes-list-type").text(), "" | "atomic") => errors.invalid(
            &items.get("x-kubernetes-list-type"),
            "must be atomic as item of a list with x-kubernetes-list-type=set",
        ),
        _ => {}
    }
}

/// A default must be what the schema allows, with nothing in it that pruning would drop.
fn default(at: &At, errors: &mut Errors) {
    let default = at.get("default");
    if !default.is_set() {
        return;
    }
    let schema = Schema { default: None, ..Schema::parse(at.value) };
    let mut pruned = default.value.clone();
    let mut holder = serde_json::json!({ "v": pruned.take() });
    let outer = Schema { properties: [("v".into(), schema.clone())].into(), ..Schema::default() };
    if !structural::prune(&outer, &mut holder).is_empty() {
        errors.invalid(&default, "must not have unknown fields");
    }
    structural::fill(&outer, &mut holder);
    for mut error in structural::check(&schema, &holder["v"], None) {
        let below = if error.field.is_empty() { String::new() } else { format!(".{}", error.field) };
        let path = format!("{}{below}", default.path);
        error.field = path;
        errors.push(error);
    }
}
