//! `terminate`: ends a job: its controllers, its pods, and the Services that were made with it.

use std::time::Duration;

use dunlin_api::names::label;
use serde_json::{Value, json};

use crate::connect::Connection;
use crate::jobs::{self, CONTROLLERS, collection};
use crate::{Error, list, request};

/// Between two looks at what still runs.
const PAUSE: Duration = Duration::from_millis(200);

/// Deletes everything of the job `name`; with `wait`, returns when its pods are gone.
///
/// # Errors
/// When there is no such job, or the server refuses.
pub async fn run(
    connection: &Connection,
    name: &str,
    namespace: Option<&str>,
    wait: bool,
) -> Result<(), Error> {
    let namespace = namespace.unwrap_or(&connection.namespace);
    let all = jobs::fetch(connection, Some(namespace)).await?;
    let found = jobs::find(&all, name);
    if found.is_empty() {
        return Err(unknown(name, namespace));
    }
    let pods: Vec<String> =
        found.iter().flat_map(|job| job.instances.iter().map(|instance| instance.uid.clone())).collect();
    for job in &found {
        match CONTROLLERS.iter().find(|(kind, _, _)| *kind == job.kind) {
            Some((_, api_version, plural)) => {
                let path = format!("{}/{}", collection(api_version, plural, Some(namespace)), job.controller);
                delete(connection, &path, &format!("{plural}/{}", job.controller)).await?;
            }
            None => {
                for instance in &job.instances {
                    let path = format!("{}/{}", collection("v1", "pods", Some(namespace)), instance.pod);
                    delete(connection, &path, &format!("pods/{}", instance.pod)).await?;
                }
            }
        }
    }
    let selector = format!("?labelSelector={}%3D{}", label::JOB.replace('/', "%2F"), found[0].name);
    let services = collection("v1", "services", Some(namespace));
    for service in list(connection, &format!("{services}{selector}")).await? {
        let service = service["metadata"]["name"].as_str().unwrap_or_default();
        delete(connection, &format!("{services}/{service}"), &format!("services/{service}")).await?;
    }
    while wait && is_left(connection, namespace, &pods).await? {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn is_left(connection: &Connection, namespace: &str, uids: &[String]) -> Result<bool, Error> {
    let pods = list(connection, &collection("v1", "pods", Some(namespace))).await?;
    Ok(pods.iter().any(|pod| uids.iter().any(|uid| pod["metadata"]["uid"] == **uid)))
}

async fn delete(connection: &Connection, path: &str, shown: &str) -> Result<(), Error> {
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
    let headers = [("content-type", "application/json")];
    let asked = request(http::Method::DELETE, path, options.to_string().into_bytes(), &headers)?;
    match connection.client.request::<Value>(asked).await {
        Ok(_) => println!("{shown} terminated"),
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(Error::api(format!("terminating {shown}"))(error)),
    }
    Ok(())
}

pub(crate) fn unknown(name: &str, namespace: &str) -> Error {
    Error::Input(format!(
        "there is no job {name} in the namespace {namespace}: `dunlin jobs -A` shows them all"
    ))
}
