//! `replicate`: how many copies of a job run, and over what they are spread.

use std::str::FromStr;

use dunlin_api::names::label;
use serde_json::{Value, json};

use crate::connect::Connection;
use crate::jobs::{self, CONTROLLERS, collection};
use crate::terminate::unknown;
use crate::{Error, request};

/// What copies are spread over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Across {
    /// Child clusters.
    Clusters,
    /// Machines.
    Machines,
}

impl Across {
    fn key(self) -> &'static str {
        match self {
            Self::Clusters => label::CLUSTER,
            Self::Machines => label::HOSTNAME,
        }
    }
}

impl FromStr for Across {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "clusters" => Ok(Self::Clusters),
            "machines" => Ok(Self::Machines),
            _ => Err("say clusters or machines".to_owned()),
        }
    }
}

/// Sets the number of copies of the job `name`.
///
/// # Errors
/// When there is no such job, its kind has no number of copies, or the server refuses.
pub async fn run(
    connection: &Connection,
    name: &str,
    namespace: Option<&str>,
    replicas: u32,
    across: Option<Across>,
) -> Result<(), Error> {
    let namespace = namespace.unwrap_or(&connection.namespace);
    let all = jobs::fetch(connection, Some(namespace)).await?;
    let found = jobs::find(&all, name);
    let job = match found.as_slice() {
        [] => return Err(unknown(name, namespace)),
        [job] => job,
        several => {
            let names: Vec<String> =
                several.iter().map(|job| format!("{}/{}", job.kind.to_lowercase(), job.controller)).collect();
            return Err(Error::Input(format!(
                "the job {name} has several controllers, name one of them: {}",
                names.join(", ")
            )));
        }
    };
    let scalable = matches!(job.kind.as_str(), "Deployment" | "StatefulSet" | "ReplicaSet");
    let row = CONTROLLERS.iter().find(|(kind, _, _)| *kind == job.kind).filter(|_| scalable);
    let Some((_, api_version, plural)) = row else {
        return Err(Error::Input(format!(
            "the job {name} is a {}, which has no number of copies: deploy it as a Deployment",
            job.kind
        )));
    };
    let path = format!("{}/{}", collection(api_version, plural, Some(namespace)), job.controller);
    let doing = || format!("replicating {name}");
    let asked = request(http::Method::GET, &path, Vec::new(), &[])?;
    let object: Value = connection.client.request(asked).await.map_err(Error::api(doing()))?;
    let patch = patch(&object, replicas, across);
    let headers = [("content-type", "application/merge-patch+json")];
    let path = format!("{path}?fieldManager=dunlin");
    let asked = request(http::Method::PATCH, &path, patch.to_string().into_bytes(), &headers)?;
    let _: Value = connection.client.request(asked).await.map_err(Error::api(doing()))?;
    let spread = match across {
        Some(Across::Clusters) => ", spread over the clusters",
        Some(Across::Machines) => ", spread over the machines",
        None => "",
    };
    println!("{plural}/{} replicated: {} to {replicas}{spread}", job.controller, job.desired);
    Ok(())
}

/// The number, and the spread beside those that the template has already. It refers to the version that was read, since a
/// merge patch replaces lists whole.
fn patch(object: &Value, replicas: u32, across: Option<Across>) -> Value {
    let mut patch = json!({"spec": {"replicas": replicas}});
    let Some(across) = across else { return patch };
    let pod = &object["spec"]["template"]["spec"];
    let others = pod["topologySpreadConstraints"].as_array().into_iter().flatten();
    let mut all: Vec<Value> = others.filter(|c| c["topologyKey"] != across.key()).cloned().collect();
    all.push(json!({
        "maxSkew": 1, "topologyKey": across.key(), "whenUnsatisfiable": "DoNotSchedule",
        // What cannot be reached has a taint, and must not hold the others back.
        "nodeTaintsPolicy": "Honor",
        "labelSelector": object["spec"]["selector"],
        "matchLabelKeys": match object["kind"].as_str() {
            Some("Deployment") => json!([label::POD_TEMPLATE_HASH]),
            _ => Value::Null,
        },
    }));
    patch["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
    patch["spec"]["template"]["spec"]["topologySpreadConstraints"] = json!(all);
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_once_and_keeps_other_spreads() {
        let zone = json!({"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 2});
        let mut object = json!({"kind": "Deployment", "metadata": {"resourceVersion": "7"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"spec": {"topologySpreadConstraints": [zone]}}}});
        for _ in 0..2 {
            let patch = patch(&object, 3, Some(Across::Clusters));
            let all = patch["spec"]["template"]["spec"]["topologySpreadConstraints"].clone();
            assert_eq!(all.as_array().map(Vec::len), Some(2), "{all}");
            assert_eq!(all[0], zone);
            assert_eq!(all[1]["topologyKey"], "dunlin.io/cluster");
            assert_eq!(all[1]["labelSelector"], object["spec"]["selector"]);
            assert_eq!(patch["metadata"]["resourceVersion"], "7");
            object["spec"]["template"]["spec"]["topologySpreadConstraints"] = all;
        }
        assert_eq!(patch(&object, 5, None), json!({"spec": {"replicas": 5}}));
    }
}
