//! New objects must fit into the quotas of their namespace, and take their part of them.
//!
//! The part is written into the quota's status before the object is stored, so that two creators at once cannot both
//! take the last of it; the quota controller counts again what is really there. Changes of objects are counted by it,
//! too, and not refused.

use std::collections::BTreeSet;

use dunlin_api::quota::{self, Amounts, Facts};
use dunlin_store::{Error, Expect};
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::handlers::storage;
use crate::object::{self, map};
use crate::resources::known;
use crate::server::Call;

pub async fn create(call: &Call, value: &Value) -> Result<()> {
    if !call.resource.namespaced || matches!(&*call.resource.plural, "events" | "leases") {
        return Ok(());
    }
    let quotas = known("", "resourcequotas");
    let names: Vec<String> = {
        let all = call.server.all(quotas, Some(call.ns())).await?;
        all.iter().map(|quota| object::name(quota).to_owned()).collect()
    };
    if names.is_empty() {
        return Ok(());
    }
    let facts = Facts::read(&call.resource.stored, value);
    let wanted = facts.usage();
    for name in names {
        take(call, &name, &facts, &wanted, value).await?;
    }
    Ok(())
}

/// Takes the object's part of one quota, if it fits.
async fn take(call: &Call, name: &str, facts: &Facts, wanted: &Amounts, value: &Value) -> Result<()> {
    let quotas = known("", "resourcequotas");
    for _ in 0..16 {
        let Some(stored) = call.server.find(quotas, call.ns(), name).await? else { return Ok(()) };
        let mut new = stored.value;
        let hard = quota::read(&new["spec"]["hard"]);
        let limited: BTreeSet<&String> = wanted.keys().filter(|key| hard.contains_key(*key)).collect();
        if limited.is_empty() || !facts.is_covered(&new["spec"]) {
            return Ok(());
        }
        let refuse = |why: String| Err(Failure::forbidden(&call.resource, object::name(value), &why));
        if facts.pod.is_some() {
            let unnamed = quota::unnamed(&hard, value);
            if !unnamed.is_empty() {
                return refuse(format!("failed quota: {name}: must specify {}", unnamed.join("; ")));
            }
        }
        let mut used = quota::read(&new["status"]["used"]);
        let unknown: Vec<&str> =
            limited.iter().filter(|key| !used.contains_key(**key)).map(|key| key.as_str()).collect();
        if !unknown.is_empty() {
            return refuse(format!("status unknown for quota: {name}, resources: {}", unknown.join(",")));
        }
        let over: Vec<&String> =
            limited.iter().copied().filter(|key| used[*key] + wanted[*key] > hard[*key]).collect();
        if !over.is_empty() {
            let show = |amounts: &Amounts| {
                let one = |key: &&String| format!("{key}={}", amounts[*key]);
                over.iter().map(one).collect::<Vec<_>>().join(",")
            };
            return refuse(format!(
                "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                show(wanted),
                show(&used),
                show(&hard)
            ));
        }
        if call.dry_run() {
            return Ok(());
        }
        for key in limited {
            if let Some(amount) = used.get_mut(key) {
                *amount += wanted[key];
            }
        }
        let shown: serde_json::Map<String, Value> =
            used.iter().map(|(key, amount)| (key.clone(), json!(amount.to_string()))).collect();
        map(&mut new, "status").insert("used".to_owned(), Value::Object(shown));
        match call.server.save(quotas, Expect::Revision(stored.entry.revision), new).await {
            Ok(_) => return Ok(()),
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(storage::failed(quotas, name, error)),
        }
    }
    Err(Failure::modified(quotas, name))
}
