//! A Job selects its pods by its own uid, unless its author insists on a selector.

use serde_json::{Value, json};

use crate::object::{self, at, map};

pub fn create(job: &mut Value) {
    if at(job, &["spec", "manualSelector"]) == Some(&json!(true)) {
        return;
    }
    let (uid, name) = (object::uid(job).to_owned(), object::name(job).to_owned());
    let Some(spec) = job.get_mut("spec") else { return };
    spec["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    let template = map(spec, "template");
    let meta = template.entry("metadata").or_insert_with(|| json!({}));
    let labels = map(meta, "labels");
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("job-name", &name),
    ] {
        labels.insert(key.to_owned(), json!(value));
    }
}
