//! Webhooks that may change an object: one after the other, each seeing what those before it made of it.
//!
//! When one changes the object, those before it that want to know (`reinvocationPolicy: IfNeeded`) are asked once more in a
//! second round, after the built-in rules have run again. Nobody is asked for the first time in the second round.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use dunlin_api::patch;
use dunlin_api::review::Response;
use serde_json::{Value, json};

use super::call::{self, Trouble};
use super::{Configuration, Webhook, fit, internal, webhooks};
use crate::admission::attributes::Attributes;
use crate::admission::expressions::Rights;
use crate::admission::matching::Form;
use crate::failure::{Failure, Result};
use crate::server::{Call, Inner};

/// What the first round leaves for the second.
#[derive(Debug, Default)]
pub struct Rounds {
    /// Those that were asked and want to be asked again, by number.
    asked: HashSet<usize>,
    /// Those of them after which something changed.
    wanted: HashSet<usize>,
    /// What became of the object.
    last: Option<Value>,
}

impl Rounds {
    fn want_asked(&mut self) {
        self.wanted.extend(self.asked.drain());
    }
}

/// Asks all that mean the request. Tells whether the object is another now.
pub async fn run(
    call: &mut Call,
    all: &[Arc<Configuration>],
    asked: &mut Attributes<'_>,
    again: bool,
    rounds: &mut Rounds,
) -> Result<bool> {
    let server = call.server.clone();
    let mut rights = Rights::default();
    let mut changed_any = false;
    if again && rounds.last.as_ref() != asked.object.as_deref() {
        // The built-in rules have changed it since.
        rounds.want_asked();
    }
    let round = u8::from(again);
    for (index, webhook) in webhooks(all) {
        let Some(form) = webhook.means(&server, asked, &mut rights).await? else { continue };
        if again && !rounds.wanted.contains(&index) {
            continue;
        }
        let outcome = one(call, webhook, asked, &form, (round, index)).await;
        let changed = matches!(outcome, Ok(true));
        call.trail.annotate_all([call::mutation(webhook, round, index, changed)]);
        if changed {
            changed_any = true;
            rounds.want_asked();
        }
        if webhook.again {
            rounds.asked.insert(index);
        }
        match outcome {
            Ok(_) => {}
            Err(Trouble::Failed(why)) if webhook.ignore => {
                tracing::warn!(webhook = %webhook.name, %why, "a webhook was passed over");
                call.trail.annotate_all([call::failed_open("mutation", round, index, &webhook.name)]);
            }
            Err(Trouble::Failed(why)) => return Err(webhook.failed(&why)),
            Err(Trouble::Refused(failure)) => return Err(failure),
        }
    }
    if changed_any && !again {
        rounds.last = asked.object.as_deref().cloned();
    }
    Ok(changed_any)
}

/// Asks one, and changes the object as it says. Tells whether that made a difference.
async fn one(
    call: &mut Call,
    webhook: &Webhook,
    asked: &mut Attributes<'_>,
    form: &Form,
    place: (u8, usize),
) -> Result<bool, Trouble> {
    let server = call.server.clone();
    let response = webhook.ask(&server, asked, form, true).await?;
    let own =
        response.annotations.iter().map(|(key, value)| (format!("{}/{key}", webhook.name), value.clone()));
    call.trail.annotate_all(own);
    call.warn_once(&response.warnings);
    if !response.allowed {
        return Err(Trouble::Refused(webhook.denied(&response.status)));
    }
    let Some(operations) = operations(&response)? else { return Ok(false) };
    let Some(object) = asked.object.as_deref() else {
        let why = format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            webhook.name
        );
        return Err(Trouble::Refused(internal(&why)));
    };
    let (new, changed) = apply(&server, asked, form, object, &operations).await.map_err(Trouble::Refused)?;
    asked.object = Some(Cow::Owned(new));
    let (round, index) = place;
    let note = json!({"configuration": webhook.configuration, "webhook": webhook.name, "patch": operations,
        "patchType": "JSONPatch"});
    let key = format!("patch.webhook.admission.k8s.io/round_{round}_index_{index}");
    call.trail.annotate(&key, note.to_string());
    Ok(changed)
}

/// The patch of an answer, if it has one that does anything.
fn operations(response: &Response) -> Result<Option<Value>, Trouble> {
    if response.patch.is_empty() {
        return Ok(None);
    }
    let undecodable =
        |why: &str| Trouble::Failed(format!("received undecodable patch in webhook response: {why}"));
    let (patch, _) = dunlin_api::decode::parse(&response.patch).map_err(|e| undecodable(&e.to_string()))?;
    let Some(operations) = patch.as_array() else {
        return Err(undecodable(&patch::not_an(&patch, "jsonpatch.Patch")));
    };
    if operations.is_empty() {
        return Ok(None);
    }
    if response.patch_type != "JSONPatch" {
        return Err(Trouble::Failed(format!("unsupported patch type {:?}", response.patch_type)));
    }
    Ok(Some(patch))
}

async fn apply(
    server: &Inner,
    asked: &Attributes<'_>,
    form: &Form,
    object: &Value,
    operations: &Value,
) -> Result<(Value, bool), Failure> {
    let before = form.show(server, asked, object).await.map_err(|f| internal(&f.message))?;
    let patched = patch::json_patch(&before, operations).map_err(|error| match error {
        // Here, unlike of a client's patch, it is told what does not fit.
        patch::Error::Inapplicable(why) => internal(&why),
        other => internal(&other.to_string()),
    })?;
    let after = fit(&form.resource, form, patched)?;
    let changed = after != before;
    let after = form.restore(server, asked, after).await.map_err(|f| internal(&f.message))?;
    Ok((after, changed))
}
