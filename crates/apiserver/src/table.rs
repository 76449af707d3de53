//! Tables as kubectl prints them: columns and cells of each kind.
//!
//! A printer is a list of columns and a pure function from an object to its cells. Columns of priority 1 are shown only
//! with `-o wide`. Kinds without a printer of their own show name and creation time.

mod apps;
mod cluster;
mod core;
mod dunlin;
mod extension;
mod more;
mod pod;
mod policies;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::custom::columns;
use crate::failure::{Failure, Result};
use crate::handlers::emit;
use crate::object::{self, text};
use crate::resources::Resource;
use crate::time;
use dunlin_api::query::Query;

/// A column: name, type, format, priority.
pub type Column = (&'static str, &'static str, &'static str, i32);
/// Cells in the order of the columns.
pub type Cells = fn(&Value, Timestamp) -> Vec<Value>;

/// How one kind is printed.
#[derive(Clone, Copy)]
pub struct Printer {
    pub columns: &'static [Column],
    pub cells: Cells,
}

const NAME: Column = ("Name", "string", "name", 0);
const AGE: Column = ("Age", "string", "", 0);

const fn s(name: &'static str) -> Column {
    (name, "string", "", 0)
}

const fn int(name: &'static str) -> Column {
    (name, "integer", "", 0)
}

const fn wide(name: &'static str) -> Column {
    (name, "string", "", 1)
}

const PLAIN: Printer = Printer {
    columns: &[NAME, ("Created At", "date", "", 0)],
    cells: |o, _| vec![name(o), json!(text(o, &["metadata", "creationTimestamp"]))],
};

fn printer(resource: &Resource) -> Printer {
    match &*resource.stored {
        "pods" => pod::POD,
        "services" => core::SERVICE,
        "namespaces" => core::NAMESPACE,
        "nodes" => cluster::NODE,
        "configmaps" => core::CONFIG_MAP,
        "secrets" => core::SECRET,
        "serviceaccounts" => core::SERVICE_ACCOUNT,
        "events" => cluster::EVENT,
        "endpoints" => core::ENDPOINTS,
        "endpointslices.discovery.k8s.io" => core::ENDPOINT_SLICE,
        "persistentvolumes" => cluster::VOLUME,
        "persistentvolumeclaims" => cluster::CLAIM,
        "resourcequotas" => core::QUOTA,
        "deployments.apps" => apps::DEPLOYMENT,
        "replicasets.apps" | "replicationcontrollers" => apps::REPLICA_SET,
        "statefulsets.apps" => apps::STATEFUL_SET,
        "daemonsets.apps" => apps::DAEMON_SET,
        "controllerrevisions.apps" => apps::REVISION,
        "jobs.batch" => apps::JOB,
        "cronjobs.batch" => apps::CRON_JOB,
        "horizontalpodautoscalers.autoscaling" => apps::AUTOSCALER,
        "leases.coordination.k8s.io" => more::LEASE,
        "poddisruptionbudgets.policy" => more::BUDGET,
        "ingresses.networking.k8s.io" => more::INGRESS,
        "ingressclasses.networking.k8s.io" => more::INGRESS_CLASS,
        "networkpolicies.networking.k8s.io" => more::NETWORK_POLICY,
        "runtimeclasses.node.k8s.io" => more::RUNTIME_CLASS,
        "priorityclasses.scheduling.k8s.io" => more::PRIORITY_CLASS,
        "storageclasses.storage.k8s.io" => more::STORAGE_CLASS,
        "certificatesigningrequests.certificates.k8s.io" => more::CSR,
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            more::BINDING
        }
        "podtemplates" => more::POD_TEMPLATE,
        "csidrivers.storage.k8s.io" => more::CSI_DRIVER,
        "csinodes.storage.k8s.io" => more::CSI_NODE,
        "volumeattachments.storage.k8s.io" => more::VOLUME_ATTACHMENT,
        "validatingadmissionpolicies.admissionregistration.k8s.io" => policies::VALIDATING,
        "mutatingadmissionpolicies.admissionregistration.k8s.io" => policies::MUTATING,
        "validatingadmissionpolicybindings.admissionregistration.k8s.io"
        | "mutatingadmissionpolicybindings.admissionregistration.k8s.io" => policies::BINDING,
        "mutatingwebhookconfigurations.admissionregistration.k8s.io"
        | "validatingwebhookconfigurations.admissionregistration.k8s.io" => more::WEBHOOKS,
        "apiservices.apiregistration.k8s.io" => extension::API_SERVICE,
        "flowschemas.flowcontrol.apiserver.k8s.io" => extension::FLOW_SCHEMA,
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io" => extension::PRIORITY_LEVEL,
        "servicecidrs.networking.k8s.io" => extension::SERVICE_CIDR,
        "ipaddresses.networking.k8s.io" => extension::IP_ADDRESS,
        "volumeattributesclasses.storage.k8s.io" => extension::ATTRIBUTES_CLASS,
        "deviceclasses.resource.k8s.io" | "resourceclaimtemplates.resource.k8s.io" => extension::AGED,
        "resourceclaims.resource.k8s.io" => extension::RESOURCE_CLAIM,
        "resourceslices.resource.k8s.io" => extension::RESOURCE_SLICE,
        "componentstatuses" => extension::COMPONENT,
        "clusters.dunlin.io" => dunlin::CLUSTER,
        "migrations.dunlin.io" => dunlin::MIGRATION,
        _ => PLAIN,
    }
}

/// Which part of each object a table has, as the query says.
pub fn included(query: &Query) -> Result<String> {
    match query.get("includeObject").unwrap_or("Metadata") {
        word @ ("Metadata" | "Object" | "None") => Ok(word.to_owned()),
        other => Err(Failure::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
             'Object', 'None', or empty"
        ))),
    }
}

/// One row.
pub fn row(resource: &Resource, value: &Value, include: &str, now: Timestamp) -> Value {
    let cells = match &resource.custom {
        Some(custom) => columns::cells(&custom.columns, value, now),
        None => (printer(resource).cells)(value, now),
    };
    let object = match include {
        "None" => Value::Null,
        "Object" => value.clone(),
        _ => {
            let meta = json!({"metadata": value.get("metadata")});
            emit::metadata("v1", meta)
        }
    };
    json!({"cells": cells, "object": object})
}

/// The whole table.
pub fn document(
    resource: &Resource,
    version: &str,
    meta: Value,
    mut rows: Vec<Value>,
    with_columns: bool,
) -> Value {
    if resource.is("flowcontrol.apiserver.k8s.io", "flowschemas") {
        extension::in_order_of_trial(&mut rows);
    }
    let definitions = match &resource.custom {
        _ if !with_columns => Value::Null,
        Some(custom) => columns::definitions(&custom.columns).into(),
        None => definitions(printer(resource).columns),
    };
    let mut table = whole(version, meta, definitions, rows);
    // The rows of a kind without columns of its own are made elsewhere in Kubernetes, and so are none of them.
    if resource.custom.is_none()
        && std::ptr::eq(printer(resource).columns, PLAIN.columns)
        && object::list(&table, &["rows"]).is_empty()
    {
        table["rows"] = Value::Null;
    }
    table
}

/// The table of a `Scale`.
pub fn scale(scale: &Value, version: &str) -> Value {
    let columns = [("Name", "string", "", 0), int("Desired"), int("Available"), AGE];
    let count = |of: &str| json!(object::int(scale, &[of, "replicas"]));
    let cells = [name(scale), count("spec"), count("status"), age(scale, Timestamp::now())];
    let row = json!({"cells": cells, "object": emit::metadata("v1", scale.clone())});
    let meta = json!({"resourceVersion": text(scale, &["metadata", "resourceVersion"])});
    whole(version, meta, definitions(&columns), vec![row])
}

fn definitions(columns: &[Column]) -> Value {
    let one = |(name, kind, format, priority): &Column| json!({"name": name, "type": kind, "format": format, "description": "", "priority": priority});
    columns.iter().map(one).collect()
}

fn whole(version: &str, meta: Value, definitions: Value, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": meta,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn name(value: &Value) -> Value {
    json!(object::name(value))
}

fn age(value: &Value, now: Timestamp) -> Value {
    json!(time::age(object::at(value, &["metadata", "creationTimestamp"]).and_then(Value::as_str), now))
}

/// A list in one cell, `<none>` when it is empty.
fn joined<'a>(items: impl Iterator<Item = &'a str>) -> Value {
    let text = items.collect::<Vec<_>>().join(",");
    json!(if text.is_empty() { "<none>".to_owned() } else { text })
}

/// The text, or what stands for nothing.
fn or<'a>(text: &'a str, nothing: &'a str) -> &'a str {
    if text.is_empty() { nothing } else { text }
}

/// Names and images of a pod template's containers.
fn containers(spec: &Value) -> [Value; 2] {
    let of = |field: &str| {
        let items = object::list(spec, &["containers"]);
        json!(items.iter().map(|c| text(c, &[field])).collect::<Vec<_>>().join(","))
    };
    [of("name"), of("image")]
}

/// A label selector as text.
fn selector(value: Option<&Value>) -> Value {
    let Some(value) = value else { return json!("<none>") };
    let mut parts: Vec<String> = Vec::new();
    let plain = value.get("matchLabels").or(Some(value)).and_then(Value::as_object);
    let typed = value.get("matchLabels").is_some() || value.get("matchExpressions").is_some();
    for (key, v) in plain.into_iter().flatten() {
        if typed && value.get("matchLabels").is_none() {
            break;
        }
        parts.push(format!("{key}={}", v.as_str().unwrap_or("")));
    }
    for term in object::list(value, &["matchExpressions"]) {
        let values: Vec<&str> = object::list(term, &["values"]).iter().filter_map(Value::as_str).collect();
        let key = text(term, &["key"]);
        parts.push(match text(term, &["operator"]) {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    json!(if parts.is_empty() { "<none>".to_owned() } else { parts.join(",") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printer_gives_a_cell_for_each_column() {
        for resource in crate::resources::BUILTIN.iter() {
            let printer = printer(resource);
            let cells = (printer.cells)(&json!({"metadata": {"name": "x"}}), Timestamp::UNIX_EPOCH);
            let more = usize::from(resource.is("networking.k8s.io", "ipaddresses"));
            assert_eq!(cells.len(), printer.columns.len() + more, "{}", resource.plural);
        }
    }
}
