//! From the stored objects to a plan: which schemas there are, and how many places each level has.

use std::collections::BTreeMap;

use dunlin_api::flowcontrol;
use dunlin_store::{Error, Expect};
use serde_json::{Value, json};

use super::queues::Shape;
use super::{Plan, classify};
use crate::failure::Result;
use crate::handlers::{decode, prepare, storage};
use crate::model;
use crate::object::{self, at, list, text};
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
    for schema in &schemas {
        tell(server, schema, &levels).await?;
    }
    server.flow.apply(plan(&schemas, &levels, server.config.limits.concurrency));
    Ok(())
}

/// Makes an object that is missing.
pub async fn make(server: &Inner, plural: &str, mut object: Value) -> Result<()> {
    let resource = known(GROUP, plural);
    let name = object::name(&object).to_owned();
    if server.find(resource, "", &name).await?.is_some() {
        return Ok(());
    }
    prepare::new_object(resource, &mut object);
    let object = decode::typed(resource, object)?;
    match server.save(resource, Expect::Absent, object).await {
        Ok(_) | Err(Error::Exists { .. } | Error::Conflict { .. }) => Ok(()),
        Err(error) => Err(storage::failed(resource, &name, error)),
    }
}

/// Writes the condition `Dangling` if it says something else than before.
async fn tell(server: &Inner, schema: &Value, levels: &[Value]) -> Result<()> {
    let level = text(schema, &["spec", "priorityLevelConfiguration", "name"]);
    let there = levels.iter().any(|l| object::name(l) == level);
    let about = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, message) = if there {
        ("False", "Found", format!("{about} and it exists"))
    } else {
        ("True", "NotFound", format!("{about} but there is no such object"))
    };
    let all = list(schema, &["status", "conditions"]);
    let same = |c: &&Value| {
        text(c, &["type"]) == "Dangling" && text(c, &["status"]) == status && text(c, &["message"]) == message
    };
    if all.iter().any(|c| same(&c)) {
        return Ok(());
    }
    let resource = known(GROUP, "flowschemas");
    let Some(found) = server.find(resource, "", object::name(schema)).await? else { return Ok(()) };
    let condition = json!({"type": "Dangling", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": time::now()});
    let others = all.iter().filter(|c| text(c, &["type"]) != "Dangling").cloned();
    let mut value = found.value.clone();
    let all: Vec<Value> = others.chain([condition]).collect();
    object::map(&mut value, "status").insert("conditions".into(), json!(all));
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
