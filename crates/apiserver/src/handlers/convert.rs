//! Between the stored form of an object and the one that a resource shows.
//!
//! Custom objects are stored in one version of their definition and shown in all that are served. Of the built-in kinds, two
//! are served in two forms. Events are stored as `v1` and also seen as `events.k8s.io/v1`: both hold the same facts under
//! different names, so conversion is renaming. Autoscalers are stored as `autoscaling/v2` and also seen as `v1`: what the
//! older form has no fields for goes into annotations. Neither loses anything.

mod autoscaler;

use dunlin_api::gvk::GroupVersionKind;
use serde_json::{Map, Value, json};

use crate::custom::form;
use crate::failure::Result;
use crate::resources::Resource;
use crate::server::Inner;

const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// Whether stored bytes differ from what this resource shows.
pub fn needed(resource: &Resource) -> bool {
    is_event(resource) || is_old_autoscaler(resource) || resource.custom.as_ref().is_some_and(|c| !c.raw)
}

fn is_event(resource: &Resource) -> bool {
    resource.group == "events.k8s.io"
}

fn is_old_autoscaler(resource: &Resource) -> bool {
    (&*resource.group, &*resource.version) == ("autoscaling", "v1")
}

/// The form in which an object of an older form is checked, if it is one.
pub fn checked_as(resource: &Resource, value: &Value) -> Option<(GroupVersionKind, Value)> {
    is_old_autoscaler(resource).then(|| (autoscaler::newest(), autoscaler::to_v2(value.clone())))
}

/// A stored object as the resource shows it.
pub async fn shown(server: &Inner, resource: &Resource, value: Value) -> Result<Value> {
    Ok(all_shown(server, resource, vec![value]).await?.pop().unwrap_or_default())
}

/// Stored objects as the resource shows them, in the same order.
pub async fn all_shown(server: &Inner, resource: &Resource, values: Vec<Value>) -> Result<Vec<Value>> {
    match &resource.custom {
        Some(custom) if !custom.raw => form::shown(server, resource, custom, values).await,
        _ if is_event(resource) => {
            let shown = |v| without_empty(rename(v, "events.k8s.io/v1", NAMES.iter().copied()));
            Ok(values.into_iter().map(shown).collect())
        }
        _ if is_old_autoscaler(resource) => Ok(values.into_iter().map(autoscaler::to_v1).collect()),
        _ => Ok(values),
    }
}

/// An object as it is to be stored.
pub async fn stored(server: &Inner, resource: &Resource, value: Value) -> Result<Value> {
    match &resource.custom {
        Some(custom) if !custom.raw => form::stored(server, custom, value).await,
        _ if is_event(resource) => Ok(rename(value, "v1", NAMES.iter().map(|(a, b)| (*b, *a)))),
        _ if is_old_autoscaler(resource) => {
            let mut value = autoscaler::to_v2(value);
            dunlin_api::defaults::apply(&autoscaler::newest(), &mut value);
            Ok(value)
        }
        _ => Ok(value),
    }
}

/// The core's form always says who reports, this one only if somebody does.
fn without_empty(mut event: Value) -> Value {
    if let Some(fields) = event.as_object_mut() {
        for name in ["reportingController", "reportingInstance"] {
            if fields.get(name).is_some_and(|value| value == "") {
                fields.remove(name);
            }
        }
    }
    event
}

fn rename(
    value: Value,
    api_version: &str,
    names: impl Iterator<Item = (&'static str, &'static str)>,
) -> Value {
    let Value::Object(mut map) = value else { return value };
    for (from, to) in names {
        if let Some(field) = map.remove(from) {
            map.insert(to.to_owned(), field);
        }
    }
    map.insert("apiVersion".to_owned(), json!(api_version));
    Value::Object(Map::from_iter(map))
}
