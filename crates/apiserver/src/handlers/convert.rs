//! Kinds that are served in two forms: Events, stored as `v1`, also seen as `events.k8s.io/v1`; and autoscalers, stored as
//! `autoscaling/v2`, also seen as `v1`.
//!
//! Both forms of an event hold the same facts under different names, so conversion is renaming; what the older form of an
//! autoscaler has no fields for goes into annotations. Neither loses anything.

mod autoscaler;

use dunlin_api::gvk::GroupVersionKind;
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
    is_event(resource) || is_old_autoscaler(resource)
}

fn is_event(resource: &Resource) -> bool {
    resource.group == "events.k8s.io"
}

fn is_old_autoscaler(resource: &Resource) -> bool {
    (resource.group, resource.version) == ("autoscaling", "v1")
}

pub fn from_stored(resource: &Resource, value: Value) -> Value {
    match resource {
        resource if is_event(resource) => rename(value, "events.k8s.io/v1", NAMES.iter().copied()),
        resource if is_old_autoscaler(resource) => autoscaler::to_v1(value),
        _ => value,
    }
}

pub fn to_stored(resource: &Resource, value: Value) -> Value {
    match resource {
        resource if is_event(resource) => rename(value, "v1", NAMES.iter().map(|(a, b)| (*b, *a))),
        resource if is_old_autoscaler(resource) => {
            let mut value = autoscaler::to_v2(value);
            dunlin_api::defaults::apply(&autoscaler::newest(), &mut value);
            value
        }
        _ => value,
    }
}

/// The form in which an object of an older form is checked, if it is one.
pub fn checked_as(resource: &Resource, value: &Value) -> Option<(GroupVersionKind, Value)> {
    is_old_autoscaler(resource).then(|| (autoscaler::newest(), autoscaler::to_v2(value.clone())))
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
