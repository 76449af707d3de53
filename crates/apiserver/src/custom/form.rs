//! The form of custom objects: read by their schema, shown in the version that was asked for, stored in one.

use dunlin_api::validate::{ErrorKind, FieldError};
use dunlin_api::{decode, structural};
use serde_json::{Value, json};

use super::Custom;
use crate::failure::{Failure, Result};
use crate::resources::Resource;
use crate::server::Inner;

/// Fits an object to its schema; gives back complaints about unknown fields.
pub fn read(resource: &Resource, custom: &Custom, value: Value) -> Result<(Value, Vec<String>)> {
    let (mut value, mut unknown) = decode::metadata(value).map_err(|e| {
        let (kind, version) = (&resource.kind, &resource.version);
        Failure::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {e}"))
    })?;
    unknown.extend(structural::prune(&custom.schema, &mut value));
    whole(&mut value);
    Ok((value, unknown))
}

/// Writes whole numbers without a point, as Kubernetes does: `2.0` is `2`.
fn whole(value: &mut Value) {
    /// Beyond this a floating point number is not exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if !number.is_i64() && !number.is_u64() => {
            if let Some(n) = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < EXACT) {
                *value = json!(n as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole),
        Value::Object(fields) => fields.values_mut().for_each(whole),
        _ => {}
    }
}

/// What is wrong with an object by its schema, and, if nothing is that makes rules meaningless, by its rules.
pub fn check(custom: &Custom, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = structural::check(&custom.schema, new, old);
    let Some(rules) = &custom.rules else { return errors };
    let blocks = |e: &FieldError| {
        matches!(
            e.kind,
            ErrorKind::Required
                | ErrorKind::TooLong
                | ErrorKind::TooMany
                | ErrorKind::TypeInvalid
                | ErrorKind::NotSupported
        )
    };
    if errors.iter().any(blocks) {
        let text = "some validation rules were not checked because the object was invalid; correct the existing errors \
            to complete validation";
        errors.push(FieldError::invalid("<nil>", Value::Null, text).showing("null"));
    } else {
        errors.extend(rules.check(new, old));
    }
    errors
}

/// Objects as they are stored, in the version of the resource.
pub async fn shown(
    server: &Inner,
    resource: &Resource,
    custom: &Custom,
    values: Vec<Value>,
) -> Result<Vec<Value>> {
    let mut values = convert(server, custom, &resource.api_version(), values).await?;
    for value in &mut values {
        structural::prune(&custom.schema, value);
        structural::fill(&custom.schema, value);
    }
    Ok(values)
}

/// An object as it is to be stored.
pub async fn stored(server: &Inner, custom: &Custom, value: Value) -> Result<Value> {
    let mut values = convert(server, custom, &custom.storage.api_version, vec![value]).await?;
    let mut value = values.pop().unwrap_or_default();
    structural::prune(&custom.storage.schema, &mut value);
    Ok(value)
}

async fn convert(
    server: &Inner,
    custom: &Custom,
    wanted: &str,
    mut values: Vec<Value>,
) -> Result<Vec<Value>> {
    let other = |v: &Value| v["apiVersion"] != wanted;
    let Some(webhook) = &custom.storage.webhook else {
        for value in values.iter_mut().filter(|v| other(v)) {
            value["apiVersion"] = json!(wanted);
        }
        return Ok(values);
    };
    let places: Vec<usize> = (0..values.len()).filter(|i| other(&values[*i])).collect();
    if places.is_empty() {
        return Ok(values);
    }
    let asked = places.iter().map(|i| values[*i].clone()).collect();
    let answered = webhook.convert(server, wanted, asked).await?;
    for (at, value) in places.into_iter().zip(answered) {
        values[at] = value;
    }
    Ok(values)
}
