//! A Job selects its pods by its own uid, unless its author insists on a selector; and its template bears what is selected.

use serde_json::{Value, json};

use crate::object::{self, at, map};

pub fn create(job: &mut Value) {
    if at(job, &["spec", "manualSelector"]) == Some(&json!(true)) {
        return;
    }
    let (uid, name) = (object::uid(job).to_owned(), object::name(job).to_owned());
    // A job without labels of its own has those of its template, and so gets these too.
    let own = at(job, &["metadata", "labels"]).filter(|labels| *labels != &json!({})).cloned();
    let shared = own.is_none() || own.as_ref() == at(job, &["spec", "template", "metadata", "labels"]);
    let Some(spec) = job.get_mut("spec") else { return };
    if !spec["selector"].is_object() {
        spec["selector"] = json!({});
    }
    let selected = map(&mut spec["selector"], "matchLabels");
    selected.insert("batch.kubernetes.io/controller-uid".to_owned(), json!(uid));
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
    let labels = labels.clone();
    if shared {
        object::meta(job).insert("labels".to_owned(), Value::Object(labels));
    }
}
