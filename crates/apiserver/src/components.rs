//! `ComponentStatus`: how the parts feel on which this server depends. Of these it knows its store; what decides and
//! places is a client of the API as all others, and says by its own health pages how it is.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::handlers::emit;
use crate::model;
use crate::negotiate::Shape;
use crate::reply::{self, Reply};
use crate::resources::key;
use crate::server::Call;
use crate::table;

/// The name under which Kubernetes' clients look for the store.
const STORE: &str = "etcd-0";

/// Answers `get` and `list`.
pub async fn answer(call: &mut Call, verb: &str) -> Result<Reply> {
    if verb == "get" {
        if call.name() != STORE {
            return Err(Failure::not_found_as("componentstatus", call.name()));
        }
        let mut one = store(call).await;
        one["kind"] = json!("ComponentStatus");
        one["apiVersion"] = json!("v1");
        return emit::value(call, 200, one);
    }
    let (labels, fields) = model::selectors(&call.query)?;
    let mut items = vec![store(call).await];
    items.retain(|_| {
        labels.matches(&Value::Null) && fields.matches(|f| (f == "metadata.name").then_some(STORE))
    });
    if let Shape::Table(version) = call.form.shape {
        let include = table::included(&call.query)?;
        let now = Timestamp::now();
        let rows = items.iter().map(|item| table::row(&call.resource, item, &include, now)).collect();
        let document = table::document(&call.resource, version, json!({}), rows, true);
        return reply::value_in(200, &document, call.form);
    }
    let list = json!({"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": items});
    reply::value_in(200, &list, call.form)
}

/// The store can be read, or cannot.
async fn store(call: &Call) -> Value {
    let probe = key("namespaces", "", "default");
    let (status, field, text) = match call.server.config.store.get(&probe).await {
        Ok(_) => ("True", "message", "ok".to_owned()),
        Err(error) => ("False", "error", dunlin_base::error::chain(&error).to_string()),
    };
    json!({"metadata": {"name": STORE}, "conditions": [{"type": "Healthy", "status": status, field: text}]})
}
