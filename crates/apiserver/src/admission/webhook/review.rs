//! `AdmissionReview`: what a webhook is sent. What it may answer is in `dunlin_api::review`.

use dunlin_api::review::{GROUP, KIND, Version};
use serde_json::{Value, json};

use crate::admission::attributes::Attributes;
use crate::admission::expressions::user_info;
use crate::admission::matching::Form;
use crate::failure::Result;
use crate::server::Inner;

/// The objects of a request in the form that a webhook wants; null for what there is not.
pub struct Shown {
    pub object: Value,
    pub old: Value,
}

impl Shown {
    pub async fn of(server: &Inner, asked: &Attributes<'_>, form: &Form) -> Result<Self> {
        let mut shown = Self { object: Value::Null, old: Value::Null };
        if let Some(object) = &asked.object {
            shown.object = form.show(server, asked, object).await?;
        }
        if let Some(old) = asked.old {
            shown.old = form.show(server, asked, old).await?;
        }
        Ok(shown)
    }
}

/// The request without its objects, as match conditions see it too.
pub fn facts(asked: &Attributes<'_>, form: &Form) -> Value {
    let (ours, theirs) = (&asked.resource, &form.resource);
    let kind = |k: &dunlin_api::gvk::GroupVersionKind| json!({"group": k.group, "version": k.version, "kind": k.kind});
    let mut request = json!({
        "kind": kind(&form.kind),
        "resource": {"group": theirs.group, "version": theirs.version, "resource": theirs.plural},
        "requestKind": kind(&asked.kind),
        "requestResource": {"group": ours.group, "version": ours.version, "resource": ours.plural},
        "operation": asked.operation.name(),
        "userInfo": user_info(&asked.user),
        "dryRun": asked.dry_run,
        "options": asked.options,
    });
    for (field, value) in [
        ("subResource", &asked.sub),
        ("requestSubResource", &asked.sub),
        ("name", &asked.name),
        ("namespace", &asked.namespace),
    ] {
        if !value.is_empty() {
            request[field] = json!(value);
        }
    }
    request
}

/// The whole review.
pub fn request(version: Version, uid: &str, asked: &Attributes<'_>, form: &Form, shown: Shown) -> Value {
    let mut request = facts(asked, form);
    request["uid"] = json!(uid);
    request["object"] = shown.object;
    request["oldObject"] = shown.old;
    json!({"kind": KIND, "apiVersion": format!("{GROUP}/{}", version.name()), "request": request})
}
