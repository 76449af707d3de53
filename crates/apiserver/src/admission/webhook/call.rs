//! Asking one webhook.

use bytes::Bytes;
use dunlin_api::review::{Response, read};
use serde_json::{Value, json};

use super::review::{self, Shown};
use super::{Webhook, internal};
use crate::admission::attributes::Attributes;
use crate::admission::matching::Form;
use crate::failure::Failure;
use crate::object::{self, text};
use crate::outgoing::{self, Answer, Silence};
use crate::server::Inner;

/// Why a webhook did not let a request through.
#[derive(Debug)]
pub enum Trouble {
    /// It could not be asked, or gave no answer that can be used; its failure policy says what follows.
    Failed(String),
    /// It said no, or we did.
    Refused(Failure),
}

impl Webhook {
    /// Asks about a request.
    pub(super) async fn ask(
        &self,
        server: &Inner,
        asked: &Attributes<'_>,
        form: &Form,
        mutating: bool,
    ) -> Result<Response, Trouble> {
        if asked.dry_run && !self.dry {
            let why = format!("admission webhook {:?} does not support dry run", self.name);
            return Err(Trouble::Refused(Failure::bad_request(why)));
        }
        let shown =
            Shown::of(server, asked, form).await.map_err(|f| Trouble::Refused(internal(&f.message)))?;
        let uid = object::new_uid();
        let body = review::request(self.version, &uid, asked, form, shown);
        let body = Bytes::from(serde_json::to_vec(&body).unwrap_or_default());
        let query = format!("timeout={}s", self.timeout.as_secs());
        let silent = |why: &str| {
            let why = format!("failed to call webhook: Post {:?}: {why}", self.target.url(&query));
            Trouble::Failed(why)
        };
        let sent = outgoing::send(server, &self.target, &query, body, self.timeout).await;
        let answer = sent.map_err(|silence| match silence {
            Silence::Late => silent("context deadline exceeded"),
            Silence::Failed(why) => silent(&why),
        })?;
        let unusable = |why: String| Trouble::Failed(format!("failed to call webhook: {why}"));
        if !matches!(answer.status.as_u16(), 200..=206) {
            return Err(unusable(unsuccessful(&answer)));
        }
        if answer.body.is_empty() {
            let (code, media) = (answer.status.as_u16(), &answer.media);
            let why = format!("0-length response with status code: {code} and content type: {media}");
            return Err(unusable(why));
        }
        let read = read(self.version, &uid, mutating, &answer.body).map_err(unusable)?;
        read.map_err(|why| Trouble::Failed(format!("received invalid webhook response: {why}")))
    }

    /// What the client is told when the webhook could not be asked.
    pub(super) fn failed(&self, why: &str) -> Failure {
        internal(&format!("failed calling webhook {:?}: {why}", self.name))
    }

    /// What the client is told when the webhook said no.
    pub(super) fn denied(&self, status: &Value) -> Failure {
        let (message, reason) = (text(status, &["message"]), text(status, &["reason"]));
        let by = format!("admission webhook {:?} denied the request", self.name);
        let message = match (message, reason) {
            ("", "") => format!("{by} without explanation"),
            ("", reason) => format!("{by}: {reason}"),
            (message, _) => format!("{by}: {message}"),
        };
        let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
        let details = status.get("details").filter(|d| d.is_object()).cloned();
        Failure {
            code: code.max(400),
            reason: reason.to_owned().into(),
            message,
            details: details.map(Box::new),
        }
    }
}

/// What Kubernetes' client says of an answer that is none, by its code.
fn unsuccessful(answer: &Answer) -> String {
    let code = answer.status.as_u16();
    let said = String::from_utf8_lossy(&answer.body);
    let said = said.trim();
    match code {
        300..400 => format!("the server responded with the status code {code}; redirects of webhooks are not followed"),
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => said.to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request"
            .to_owned(),
        500.. => format!("an error on the server ({said:?}) has prevented the request from succeeding"),
        _ => format!("the server responded with the status code {code} but did not return more information"),
    }
}

/// A note for the audit log that a webhook was passed over because it could not be asked.
pub(super) fn failed_open(kind: &str, round: u8, index: usize, name: &str) -> (String, String) {
    (format!("failed-open.{kind}.webhook.admission.k8s.io/round_{round}_index_{index}"), name.to_owned())
}

/// A note for the audit log of what a mutating webhook did.
pub(super) fn mutation(webhook: &Webhook, round: u8, index: usize, changed: bool) -> (String, String) {
    let note = json!({"configuration": webhook.configuration, "webhook": webhook.name, "mutated": changed});
    (format!("mutation.webhook.admission.k8s.io/round_{round}_index_{index}"), note.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_refused_and_why() {
        let hook = Webhook::of("c", &json!({"name": "a.b.c"}));
        for (status, code, reason, message) in [
            (json!({"code": 418, "message": "tea", "reason": "Teapot"}), 418, "Teapot", ": tea"),
            (json!({"reason": "Teapot"}), 400, "Teapot", ": Teapot"),
            (json!({"code": 200}), 400, "", " without explanation"),
            (Value::Null, 400, "", " without explanation"),
        ] {
            let failure = hook.denied(&status);
            assert_eq!((failure.code, &*failure.reason), (code, reason), "{status}");
            assert_eq!(failure.message, format!("admission webhook \"a.b.c\" denied the request{message}"));
        }
    }
}
