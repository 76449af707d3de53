//! The one kind that is served in two groups: Events, stored as `v1`, also seen as `events.k8s.io/v1`.
//!
//! Both forms hold the same facts under different names, so conversion is renaming, and loses nothing.

use serde_json::{Map, Value, json};

use crate::resources::Resource;

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
    resource.group == "events.k8s.io"
}

pub fn from_stored(resource: &Resource, value: Value) -> Value {
    if needed(resource) { rename(value, "events.k8s.io/v1", NAMES.iter().copied()) } else { value }
}

pub fn to_stored(resource: &Resource, value: Value) -> Value {
    if needed(resource) { rename(value, "v1", NAMES.iter().map(|(a, b)| (*b, *a))) } else { value }
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
