//! From the stored objects to a plan: which schemas there are, and how many places each level has.

use std::collections::BTreeMap;

use dunlin_api::flowcontrol;
use dunlin_store::{Error, Expect};
use futures_util::future::try_join_all;
use serde_json::Value;

use super::queues::Shape;
use super::{Plan, classify};
use crate::conditions;
use crate::failure::Result;
use crate::handlers::{decode, prepare, storage};
use crate::model;
use crate::object::{self, at, text};
use crate::resources::known;
use crate::server::Inner;
use crate::time;

pub const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";

/// Reads what there is, makes what must be, and tells schemas whether their levels are there.
pub async fn settle(server: &Inner) -> Result<()> {
    for (plural, objects) in
        [("prioritylevelconfigurations", flowcontrol::levels()), ("flowschemas", flowcontrol::schemas())]
    {
        let fixed = |o: &Value| matches!(object::name(o), flowcontrol::EXEMPT | flowcontrol::CATCH_ALL);
        for object in objects.into_iter().filter(fixed) {
            make(server, plural, object).await?;
        }
    }
    let levels = server.all(known(GROUP, "prioritylevelconfigurations"), None).await?;
    let schemas = server.all(known(GROUP, "flowschemas"), None).await?;
    try_join_all(schemas.iter().map(|schema| tell(server, schema, &levels))).await?;
    server.flow.apply(plan(&schemas, &levels, server.config.limits.concurrency));
    Ok(())
}

/// Makes an object that is missing.
pub async fn make(server: &Inner, plural: &str, mut object: Value) -> Result<()> {
    let resource = known(GROUP, plural);
    if server.find(resource, "", object::name(&object)).await?.is_some() {
        return Ok(());
    }
    prepare::new_object(resource, &mut object);
    server.ensure(resource, decode::typed(resource, object)?).await
}

/// Writes the condition `Dangling` if it says something else than before.
async fn tell(server: &Inner, schema: &Value, levels: &[Value]) -> Result<()> {
    let level = text(schema, &["spec", "priorityLevelConfiguration", "name"]);
    let there = levels.iter().any(|l| object::name(l) == level);
    let about = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (reason, message) = match there {
        true => ("Found", format!("{about} and it exists")),
        false => ("NotFound", format!("{about} but there is no such object")),
    };
    let resource = known(GROUP, "flowschemas");
    let mut wanted = schema["status"].clone();
    conditions::set(&mut wanted, "Dangling", !there, reason, &message, &time::now());
    if schema["status"] == wanted {
        return Ok(());
    }
    let Some(found) = server.find(resource, "", object::name(schema)).await? else { return Ok(()) };
    let mut value = found.value.clone();
    value["status"] = wanted;
    model::track(resource, Some(&found.value), &mut value, MANAGER, "status");
    match server.save(resource, Expect::Revision(found.entry.revision), value).await {
        // Who changed it meanwhile brings us here again.
        Ok(_) | Err(Error::Conflict { .. } | Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(storage::failed(resource, object::name(schema), error)),
    }
}

fn number(value: &Value, field: &str) -> usize {
    usize::try_from(object::int(value, &[field])).unwrap_or(0)
}

/// Shares become places: each level gets its part of `total`, rounded up. Pure.
pub(super) fn plan(schemas: &[Value], levels: &[Value], total: usize) -> Plan {
    let shares = |level: &Value| {
        let spec = &level["spec"];
        let own = at(spec, &["limited"]).or_else(|| at(spec, &["exempt"])).unwrap_or(&Value::Null);
        number(own, "nominalConcurrencyShares")
    };
    let sum: usize = levels.iter().map(shares).sum();
    let mut found = BTreeMap::new();
    for level in levels {
        let limited = &level["spec"]["limited"];
        let queuing = &limited["limitResponse"]["queuing"];
        let shape = (text(level, &["spec", "type"]) == "Limited").then(|| Shape {
            seats: (total * shares(level)).div_ceil(sum.max(1)),
            queues: queuing.is_object().then(|| {
                (number(queuing, "queues"), number(queuing, "handSize"), number(queuing, "queueLengthLimit"))
            }),
        });
        found.insert(object::name(level).to_owned(), (object::uid(level).to_owned(), shape));
    }
    Plan { schemas: classify::sorted(schemas), levels: found }
}
