//! `migrate`: orders a Migration for each pod of a job, one after the other, and follows it to its end.

use std::time::Duration;

use dunlin_api::names::label;
use serde_json::{Value, json};

use crate::connect::Connection;
use crate::jobs::{self, State, World, collection};
use crate::terminate::unknown;
use crate::{Error, request};

/// Between two looks at a Migration.
const PAUSE: Duration = Duration::from_millis(200);

/// What to move, and where to.
#[derive(Debug, Clone, Default)]
pub struct Migrate {
    /// A job, or a pod (`pod/NAME` where a job has the same name).
    pub what: String,
    /// `cluster`, `machine`, `cluster/machine`, or the whole path as `jobs` shows it.
    pub to: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// How long a new pod may take to be ready; the server decides if absent.
    pub timeout: Option<Duration>,
    /// Return when it is done.
    pub wait: bool,
}

/// A place as a Migration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    cluster: String,
    machine: String,
}

/// Orders the moves.
///
/// # Errors
/// When there is nothing to move or no such place, the server refuses, or a move fails.
pub async fn run(connection: &Connection, migrate: &Migrate) -> Result<(), Error> {
    let namespace = migrate.namespace.as_deref().unwrap_or(&connection.namespace);
    let world = jobs::world(connection, Some(namespace)).await?;
    let place = place(&migrate.to, &world.nodes, &connection.server)?;
    for pod in pods(&world, &migrate.what, namespace, &connection.server)? {
        let mut spec = json!({"pod": pod});
        for (name, value) in [("cluster", &place.cluster), ("machine", &place.machine)] {
            if !value.is_empty() {
                spec[name] = json!(value);
            }
        }
        if let Some(timeout) = migrate.timeout {
            spec["timeoutSeconds"] = json!(timeout.as_secs());
        }
        // Room for what the server adds: names of pods are shorter than those of other objects.
        let object = json!({
            "apiVersion": "dunlin.io/v1alpha1", "kind": "Migration",
            "metadata": {"generateName": format!("{pod}-")}, "spec": spec,
        });
        let path = collection("dunlin.io/v1alpha1", "migrations", Some(namespace));
        let headers = [("content-type", "application/json")];
        let asked = request(http::Method::POST, &path, object.to_string().into_bytes(), &headers)?;
        let made: Value =
            connection.client.request(asked).await.map_err(Error::api(format!("migrating {pod}")))?;
        let name = made["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        println!("migrations.dunlin.io/{name} created: {pod} to {}", migrate.to);
        if migrate.wait {
            follow(connection, &format!("{path}/{name}"), &pod).await?;
        }
    }
    Ok(())
}

/// Tells what happens until it is over.
async fn follow(connection: &Connection, path: &str, pod: &str) -> Result<(), Error> {
    let mut told = String::new();
    loop {
        let asked = request(http::Method::GET, path, Vec::new(), &[])?;
        let now: Value = connection
            .client
            .request(asked)
            .await
            .map_err(Error::api(format!("following the move of {pod}")))?;
        let say = |name: &str| now["status"][name].as_str().unwrap_or_default().to_owned();
        let (phase, message) = (say("phase"), say("message"));
        if phase == "Failed" {
            return Err(Error::Input(format!("{pod} was not moved ({}): {message}", say("reason"))));
        }
        if message != told {
            println!("{phase}: {message}");
            told = message;
        }
        if phase == "Succeeded" {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Names of the pods that are meant.
fn pods(world: &World, what: &str, namespace: &str, server: &str) -> Result<Vec<String>, Error> {
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let plain = what.strip_prefix("pod/").or_else(|| what.strip_prefix("pods/"));
    let one = || world.pods.iter().map(name).find(|name| name == plain.unwrap_or(what));
    let all = jobs::derive(world, server);
    let found = if plain.is_some() { Vec::new() } else { jobs::find(&all, what) };
    if found.is_empty() {
        return one().map(|pod| vec![pod]).ok_or_else(|| match plain {
            Some(pod) => Error::Input(format!("there is no pod {pod} in the namespace {namespace}")),
            None => unknown(what, namespace),
        });
    }
    let here = found.iter().flat_map(|job| &job.instances);
    let movable: Vec<String> = here.filter(|i| i.state != State::Terminated).map(|i| i.pod.clone()).collect();
    if movable.is_empty() {
        return Err(Error::Input(format!(
            "the job {what} has no pods: `dunlin replicate {what} N` makes some"
        )));
    }
    Ok(movable)
}

/// What a place means here: the first part is a child cluster or, alone, a machine.
fn place(to: &str, nodes: &[Value], server: &str) -> Result<Place, Error> {
    let stands_for = |name: &str| nodes.iter().any(|node| node["metadata"]["labels"][label::CLUSTER] == name);
    let is_node = |name: &str| nodes.iter().any(|node| node["metadata"]["name"] == name);
    // `jobs` shows paths from the server's own name on.
    let own = to.strip_prefix(server).and_then(|rest| rest.strip_prefix('/'));
    let path = own.filter(|_| !stands_for(server)).unwrap_or(to).trim_matches('/');
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    if stands_for(first) {
        return Ok(Place { cluster: first.to_owned(), machine: rest.to_owned() });
    }
    if rest.is_empty() && is_node(first) {
        return Ok(Place { cluster: String::new(), machine: first.to_owned() });
    }
    let mut known: Vec<&str> = nodes.iter().filter_map(|node| node["metadata"]["name"].as_str()).collect();
    known.sort_unstable();
    Err(Error::Input(format!(
        "{to:?} is no place below {server}: say a cluster, a machine, or cluster/machine; known here are {}",
        known.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_places_as_they_are_shown() {
        let nodes = [
            json!({"metadata": {"name": "garching", "labels": {"dunlin.io/cluster": "garching"}}}),
            json!({"metadata": {"name": "board"}}),
        ];
        let check = |to: &str, cluster: &str, machine: &str| {
            let place = place(to, &nodes, "root").expect(to);
            assert_eq!((place.cluster.as_str(), place.machine.as_str()), (cluster, machine), "{to}");
        };
        check("garching", "garching", "");
        check("garching/e580", "garching", "e580");
        check("root/garching/site/e580", "garching", "site/e580");
        check("board", "", "board");
        check("root/board", "", "board");
        for wrong in ["nowhere", "board/inner", "", "root"] {
            let error = place(wrong, &nodes, "root").expect_err(wrong).to_string();
            assert!(error.contains("board, garching"), "{error}");
        }
    }
}
