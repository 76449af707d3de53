//! Checking: what is wrong with a value by its schema, in the words of Kubernetes.
//!
//! On a change, what is the same as before is not judged again (KEP-4008, ratcheting): a stricter schema does not stop
//! clients from changing something else. Items of sets and maps are compared with the item of the same identity.

use serde_json::{Map, Value};

use super::{Additional, Checks, List, Schema, Type, formats, lists};
use crate::path;
use crate::pattern;
use crate::validate::FieldError;

/// What is wrong with an object; `old` is what it shall replace.
pub fn check(schema: &Schema, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut walk = Walk { path: String::new(), errors: Vec::new() };
    walk.value(schema, new, old);
    walk.errors
}

struct Walk {
    path: String,
    errors: Vec<FieldError>,
}

/// What JSON calls a value.
fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if is_whole(n) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_whole(n: &serde_json::Number) -> bool {
    n.is_i64() || n.is_u64() || n.as_f64().is_some_and(|f| f.fract() == 0.0)
}

fn has_type(schema: &Schema, value: &Value) -> bool {
    if schema.int_or_string {
        return matches!(value, Value::String(_)) || matches!(value, Value::Number(n) if is_whole(n));
    }
    match (schema.ty, value) {
        (None, _)
        | (Some(Type::Object), Value::Object(_))
        | (Some(Type::Array), Value::Array(_))
        | (Some(Type::String), Value::String(_))
        | (Some(Type::Number), Value::Number(_))
        | (Some(Type::Boolean), Value::Bool(_)) => true,
        (Some(Type::Integer), Value::Number(n)) => is_whole(n),
        _ => false,
    }
}

impl Walk {
    fn value(&mut self, schema: &Schema, new: &Value, old: Option<&Value>) {
        if old == Some(new) || (new.is_null() && schema.nullable) {
            return;
        }
        if !has_type(schema, new) {
            let name = name_of(new);
            let wanted = match schema.ty {
                Some(ty) if !schema.int_or_string => ty.name(),
                _ => "integer,string",
            };
            let detail = format!("{} in body must be of type {wanted}: {:?}", self.path, name);
            self.errors.push(FieldError::type_invalid(&self.path, name, detail));
            return;
        }
        if let Some(checks) = &schema.checks {
            self.checks(checks, new, old);
        }
        match new {
            Value::Object(fields) => self.object(schema, fields, old.and_then(Value::as_object)),
            Value::Array(items) => self.array(schema, items, old.and_then(Value::as_array)),
            _ => {}
        }
    }

    fn object(&mut self, schema: &Schema, fields: &Map<String, Value>, old: Option<&Map<String, Value>>) {
        if schema.embedded {
            for name in ["apiVersion", "kind"] {
                if fields.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                    let before = path::enter(&mut self.path, name);
                    self.errors.push(FieldError::required(&self.path, ""));
                    self.path.truncate(before);
                }
            }
        }
        for (name, value) in fields {
            let below = match schema.property(name) {
                Some(below) => below,
                None => match &schema.additional {
                    Additional::Of(below) => below,
                    _ => continue,
                },
            };
            let before = path::enter(&mut self.path, name);
            self.value(below, value, old.and_then(|o| o.get(name)));
            self.path.truncate(before);
        }
    }

    fn array(&mut self, schema: &Schema, items: &[Value], old: Option<&Vec<Value>>) {
        let identities = lists::identities(schema, items);
        if let Some(identities) = &identities {
            let mut seen = std::collections::BTreeSet::new();
            for (index, (identity, key)) in identities.iter().enumerate() {
                if !seen.insert(identity) {
                    let at = format!("{}[{index}]", self.path);
                    self.errors.push(FieldError::duplicate(&at, key.clone()));
                }
            }
        }
        let Some(below) = schema.items.as_deref() else { return };
        let before_by_identity = match (&identities, old) {
            (Some(_), Some(old)) => lists::by_identity(schema, old),
            _ => None,
        };
        for (index, item) in items.iter().enumerate() {
            let counterpart = match (&schema.list, old) {
                (_, None) => None,
                // Without identities an item is compared with any that is the same.
                (List::Atomic, Some(old)) => old.get(index).filter(|o| *o == item),
                (_, Some(old)) => identities
                    .as_ref()
                    .and_then(|all| before_by_identity.as_ref()?.get(&all[index].0))
                    .and_then(|at| old.get(*at)),
            };
            let before = self.path.len();
            self.path.push_str(&format!("[{index}]"));
            self.value(below, item, counterpart);
            self.path.truncate(before);
        }
    }

    fn body(&mut self, value: impl Into<Value>, what: &str) {
        let detail = format!("{} in body {what}", self.path);
        self.errors.push(FieldError::invalid(&self.path, value, detail));
    }

    fn checks(&mut self, checks: &Checks, new: &Value, old: Option<&Value>) {
        match new {
            Value::String(text) => self.string(checks, text),
            Value::Number(number) => self.number(checks, new, number.as_f64().unwrap_or_default()),
            Value::Array(items) => self.count(checks.min_items, checks.max_items, items.len(), "items"),
            Value::Object(fields) => {
                self.count(checks.min_properties, checks.max_properties, fields.len(), "properties");
                for name in &checks.required {
                    if !fields.contains_key(&**name) {
                        let before = path::enter(&mut self.path, name);
                        self.errors.push(FieldError::required(&self.path, ""));
                        self.path.truncate(before);
                    }
                }
            }
            _ => {}
        }
        if checks.unique
            && let Value::Array(items) = new
        {
            let mut seen = std::collections::BTreeSet::new();
            if !items.iter().all(|item| seen.insert(lists::canonical(item))) {
                self.body(Value::Null, "shouldn't contain duplicates");
            }
        }
        if !checks.values.is_empty()
            && !checks.values.iter().any(|v| lists::canonical(v) == lists::canonical(new))
        {
            let words: Vec<String> = checks
                .values
                .iter()
                .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            self.errors.push(FieldError::not_supported(&self.path, new.clone(), &words));
        }
        self.combinations(checks, new, old);
    }

    fn combinations(&mut self, checks: &Checks, new: &Value, old: Option<&Value>) {
        let mut inner = |schema: &Schema| {
            let mut walk = Walk { path: self.path.clone(), errors: Vec::new() };
            walk.value(schema, new, old);
            walk.errors
        };
        let mut found = Vec::new();
        let mut complaints: Vec<String> = Vec::new();
        for schema in &checks.all_of {
            found.extend(inner(schema));
        }
        if !found.is_empty() {
            complaints.push(format!("{:?} must validate all the schemas (allOf)", self.path));
        }
        if !checks.any_of.is_empty() {
            let tried: Vec<_> = checks.any_of.iter().map(&mut inner).collect();
            if !tried.iter().any(Vec::is_empty) {
                complaints.push(format!("{:?} must validate at least one schema (anyOf)", self.path));
                found.extend(tried.into_iter().min_by_key(Vec::len).unwrap_or_default());
            }
        }
        if !checks.one_of.is_empty() {
            let tried: Vec<_> = checks.one_of.iter().map(&mut inner).collect();
            let valid = tried.iter().filter(|e| e.is_empty()).count();
            if valid != 1 {
                let how = if valid == 0 {
                    "Found none valid".to_owned()
                } else {
                    format!("Found {valid} valid alternatives")
                };
                complaints
                    .push(format!("{:?} must validate one and only one schema (oneOf). {how}", self.path));
                if valid == 0 {
                    found.extend(tried.into_iter().min_by_key(Vec::len).unwrap_or_default());
                }
            }
        }
        if let Some(schema) = &checks.not
            && inner(schema).is_empty()
        {
            complaints.push(format!("{:?} must not validate the schema (not)", self.path));
        }
        // Kubernetes names no field for these; the text does.
        for text in complaints {
            self.errors.push(FieldError::invalid("<nil>", "", text));
        }
        self.errors.extend(found);
    }

    fn count(&mut self, least: Option<u64>, most: Option<u64>, count: usize, of: &str) {
        if let Some(most) = most.filter(|m| count as u64 > *m) {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            self.errors.push(FieldError::too_many(&self.path, count, most));
        }
        if let Some(least) = least.filter(|l| (count as u64) < *l) {
            self.body(count, &format!("should have at least {least} {of}"));
        }
    }

    fn string(&mut self, checks: &Checks, text: &str) {
        let length = text.chars().count() as u64;
        if let Some(most) = checks.max_length.filter(|m| length > *m) {
            self.errors.push(FieldError::too_long(&self.path, usize::try_from(most).unwrap_or(usize::MAX)));
        }
        if let Some(least) = checks.min_length.filter(|l| length < *l) {
            self.body(text, &format!("should be at least {least} chars long"));
        }
        if let Some(expression) = &checks.pattern
            // What cannot be compiled was refused with the definition.
            && pattern::compile(expression).is_ok_and(|p| !p.is_match(text))
        {
            self.body(text, &format!("should match '{expression}'"));
        }
        if let Some(format) = checks.format.as_deref().filter(|f| !formats::fits(f, text)) {
            let detail = format!("{} in body must be of type {format}: {text:?}", self.path);
            self.errors.push(FieldError::type_invalid(&self.path, text, detail));
        }
    }

    fn number(&mut self, checks: &Checks, value: &Value, number: f64) {
        if let Some((least, exclusive)) = checks.minimum
            && (number < least || (exclusive && number == least))
        {
            let or = if exclusive { "" } else { "or equal to " };
            self.body(value.clone(), &format!("should be greater than {or}{least}"));
        }
        if let Some((most, exclusive)) = checks.maximum
            && (number > most || (exclusive && number == most))
        {
            let or = if exclusive { "" } else { "or equal to " };
            self.body(value.clone(), &format!("should be less than {or}{most}"));
        }
        if let Some(step) = checks.multiple_of.filter(|s| *s > 0.0) {
            let times = number / step;
            if (times - times.round()).abs() > 1e-9 {
                self.body(value.clone(), &format!("should be a multiple of {step}"));
            }
        }
        let range = match checks.format.as_deref() {
            Some("int32") => Some((f64::from(i32::MIN), f64::from(i32::MAX), "int32")),
            Some("int64") => Some((i64::MIN as f64, i64::MAX as f64, "int64")),
            _ => None,
        };
        if let Some((low, high, name)) = range
            && !(low..=high).contains(&number)
        {
            self.body(value.clone(), &format!("must be of type {name}: {value}"));
        }
    }
}
