//! Conversion by a webhook: `ConversionReview` of `apiextensions.k8s.io/v1` over HTTPS.

use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::object::{self, at, text};
use crate::outgoing::{self, Target};
use crate::server::Inner;

/// How long a webhook may take, as in Kubernetes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Who converts the objects of a definition.
#[derive(Debug)]
pub struct Webhook {
    /// The definition's name, for errors.
    definition: Box<str>,
    target: Target,
    /// The version of the review, which has the same form in both.
    review: &'static str,
}

impl Webhook {
    /// The webhook of a definition, if it has one.
    pub fn of(definition: &Value) -> Option<Self> {
        let conversion = at(definition, &["spec", "conversion"])?;
        if text(conversion, &["strategy"]) != "Webhook" {
            return None;
        }
        let target = Target::of(at(conversion, &["webhook", "clientConfig"])?);
        let reviews = object::list(conversion, &["webhook", "conversionReviewVersions"]);
        let review = if reviews.iter().any(|v| v == "v1") { "v1" } else { "v1beta1" };
        Some(Self { definition: object::name(definition).into(), target, review })
    }

    /// Converts objects to a version; the answer has them in the same order.
    pub async fn convert(&self, server: &Inner, wanted: &str, objects: Vec<Value>) -> Result<Vec<Value>> {
        let uid = object::new_uid();
        let review = json!({
            "apiVersion": format!("apiextensions.k8s.io/{}", self.review), "kind": "ConversionReview",
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
        });
        let failed = |why: String| {
            Failure::internal(format!("conversion webhook for {} failed: {why}", self.definition))
        };
        let answer = outgoing::post(server, &self.target, &review, PATIENCE).await.map_err(failed)?;
        let response = answer.get("response").ok_or_else(|| failed("the answer has no response".into()))?;
        if text(response, &["uid"]) != uid {
            return Err(failed("the answer is for another request".into()));
        }
        if text(response, &["result", "status"]) != "Success" {
            let message = text(response, &["result", "message"]);
            return Err(failed(if message.is_empty() {
                "no reason given".into()
            } else {
                message.to_owned()
            }));
        }
        let converted = object::list(response, &["convertedObjects"]);
        if converted.len() != objects.len() {
            return Err(failed(format!(
                "{} objects were sent, {} came back",
                objects.len(),
                converted.len()
            )));
        }
        let mut results = Vec::with_capacity(objects.len());
        for (before, after) in objects.iter().zip(converted) {
            results.push(accept(before, after, wanted).map_err(failed)?);
        }
        Ok(results)
    }
}

/// Takes a converted object: it must be the same one in the wanted version, and of its metadata only labels and
/// annotations may have changed.
fn accept(before: &Value, after: &Value, wanted: &str) -> std::result::Result<Value, String> {
    if text(after, &["apiVersion"]) != wanted {
        return Err(format!(
            "an object came back as {:?} and not as {wanted:?}",
            text(after, &["apiVersion"])
        ));
    }
    for path in [&["kind"][..], &["metadata", "name"], &["metadata", "namespace"], &["metadata", "uid"]] {
        if text(before, path) != text(after, path) {
            return Err(format!("the webhook may not change {}", path.join(".")));
        }
    }
    let mut result = after.clone();
    let mut metadata = before["metadata"].clone();
    for field in ["labels", "annotations"] {
        match at(after, &["metadata", field]) {
            Some(value) => metadata[field] = value.clone(),
            None => {
                metadata.as_object_mut().map(|m| m.remove(field));
            }
        }
    }
    result["metadata"] = metadata;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_changes_the_form_and_not_the_object() {
        let before = json!({"apiVersion": "e/v1", "kind": "K", "metadata": {"name": "n", "uid": "u",
            "ownerReferences": [1], "labels": {"a": "b"}}});
        let after = json!({"apiVersion": "e/v2", "kind": "K", "metadata": {"name": "n", "uid": "u", "labels": {"c": "d"}}});
        let accepted = accept(&before, &after, "e/v2").unwrap();
        assert_eq!(accepted["metadata"]["ownerReferences"], json!([1]));
        assert_eq!(accepted["metadata"]["labels"], json!({"c": "d"}));
        assert!(accept(&before, &after, "e/v3").is_err());
        let mut other = after.clone();
        other["metadata"]["name"] = json!("m");
        assert_eq!(accept(&before, &other, "e/v2").unwrap_err(), "the webhook may not change metadata.name");
    }
}
