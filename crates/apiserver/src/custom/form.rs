//! The form of custom objects: read by their schema, shown in the version that was asked for, stored in one.

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
    Ok((value, unknown))
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
