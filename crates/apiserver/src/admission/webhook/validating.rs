//! Webhooks that judge an object: all at once, since none of them changes anything.

use std::sync::Arc;

use futures_util::future::join_all;

use super::call::{self, Trouble};
use super::{Configuration, webhooks};
use crate::admission::attributes::Attributes;
use crate::admission::expressions::Rights;
use crate::failure::Result;
use crate::server::Call;

/// Asks all that mean the request. Of several refusals the first in order is told.
pub async fn run(call: &mut Call, all: &[Arc<Configuration>], asked: &Attributes<'_>) -> Result<()> {
    let server = call.server.clone();
    let mut rights = Rights::default();
    let mut meant = Vec::new();
    for (index, webhook) in webhooks(all) {
        if let Some(form) = webhook.means(&server, asked, &mut rights).await? {
            meant.push((index, webhook, form));
        }
    }
    let answers = join_all(meant.iter().map(|(_, webhook, form)| webhook.ask(&server, asked, form, false)));
    let mut refusal = None;
    for ((index, webhook, _), answer) in meant.iter().zip(answers.await) {
        let failure = match answer {
            Ok(response) => {
                for (key, value) in &response.annotations {
                    call.trail.annotate(&format!("{}/{key}", webhook.name), value.clone());
                }
                call.warn_once(&response.warnings);
                if response.allowed {
                    continue;
                }
                webhook.denied(&response.status)
            }
            Err(Trouble::Failed(why)) if webhook.ignore => {
                tracing::warn!(webhook = %webhook.name, %why, "a webhook was passed over");
                call.trail.annotate_all([call::failed_open("validating", 0, *index, &webhook.name)]);
                continue;
            }
            Err(Trouble::Failed(why)) => webhook.failed(&why),
            Err(Trouble::Refused(failure)) => failure,
        };
        refusal.get_or_insert(failure);
    }
    refusal.map_or(Ok(()), Err)
}
