//! `jobs`: what runs, in EdgeIO's words. Nothing of it is stored: it is derived from controllers, pods and Migrations.
//!
//! A job is a controller (Deployment, StatefulSet, DaemonSet, Job, or a ReplicaSet or pod that nothing owns) under the
//! name of its label `dunlin.io/job`, or its own. How states follow from conditions stands in [`state`].

mod conditions;
pub mod print;
pub mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use dunlin_api::names::label;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::connect::Connection;
use crate::{Error, Output, list, watch};

pub use state::{Instance, State};

/// Controllers: kind, group and version, plural.
pub(crate) const CONTROLLERS: &[(&str, &str, &str)] = &[
    ("Deployment", "apps/v1", "deployments"),
    ("StatefulSet", "apps/v1", "statefulsets"),
    ("DaemonSet", "apps/v1", "daemonsets"),
    ("ReplicaSet", "apps/v1", "replicasets"),
    ("Job", "batch/v1", "jobs"),
];

/// A burst of changes is shown once.
const GATHER: Duration = Duration::from_millis(100);

/// One job as it is now.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its name: the label's, else the controller's.
    pub name: String,
    pub namespace: String,
    /// Kind and name of the controller.
    pub kind: String,
    pub controller: String,
    #[serde(skip)]
    pub uid: String,
    pub state: State,
    /// Why it is not running, where that is known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How many pods there shall be, and how many serve.
    pub desired: i64,
    pub running: i64,
    /// When it was asked for, and since when it is in its state.
    pub requested: String,
    pub since: String,
    pub instances: Vec<Instance>,
}

impl Job {
    /// Whether it is as it shall be: everything runs, or work that ends has ended.
    pub fn is_settled(&self) -> bool {
        self.state == State::Running || (self.state == State::Terminated && self.kind == "Job")
    }

    /// The reason, ready to follow the state.
    pub fn why(&self) -> String {
        if self.reason.is_empty() { String::new() } else { format!(" ({})", self.reason) }
    }
}

/// Everything that jobs are derived from.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Objects with their kind set.
    pub controllers: Vec<Value>,
    pub pods: Vec<Value>,
    pub migrations: Vec<Value>,
    pub nodes: Vec<Value>,
}

/// Whether pods come from it.
pub(crate) fn is_controller(object: &Value) -> bool {
    CONTROLLERS.iter().any(|(kind, _, _)| object["kind"] == *kind)
}

/// The path of a collection in one namespace or all.
pub(crate) fn collection(api_version: &str, plural: &str, namespace: Option<&str>) -> String {
    let root = if api_version.contains('/') { "/apis" } else { "/api" };
    let space = namespace.map_or(String::new(), |namespace| format!("/namespaces/{namespace}"));
    format!("{root}/{api_version}{space}/{plural}")
}

/// What the server holds of all this.
///
/// # Errors
/// When it refuses.
pub(crate) async fn world(connection: &Connection, namespace: Option<&str>) -> Result<World, Error> {
    let mut world = World {
        pods: list(connection, &collection("v1", "pods", namespace)).await?,
        migrations: list(connection, &collection("dunlin.io/v1alpha1", "migrations", namespace)).await?,
        nodes: list(connection, "/api/v1/nodes").await?,
        ..World::default()
    };
    for (kind, api_version, plural) in CONTROLLERS {
        for mut object in list(connection, &collection(api_version, plural, namespace)).await? {
            object["kind"] = (*kind).into();
            world.controllers.push(object);
        }
    }
    Ok(world)
}

/// The jobs of one namespace, or of all.
///
/// # Errors
/// When the server refuses.
pub async fn fetch(connection: &Connection, namespace: Option<&str>) -> Result<Vec<Job>, Error> {
    Ok(derive(&world(connection, namespace).await?, &connection.server))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The uid of an object's controlling owner.
fn owner(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
}

/// All jobs, by namespace and name. `server` begins every path.
pub fn derive(world: &World, server: &str) -> Vec<Job> {
    let by_uid: HashMap<&str, &Value> =
        world.controllers.iter().map(|object| (text(object, "/metadata/uid"), object)).collect();
    // A pod's ReplicaSet belongs to a Deployment; what belongs to something unknown stands for itself.
    let top = |object: &'_ Value| -> Option<String> {
        let mut uid = owner(object)?;
        while let Some(above) = by_uid.get(uid).and_then(|object| owner(object)) {
            uid = above;
        }
        Some(uid.to_owned())
    };
    let mut pods_of: HashMap<String, Vec<&Value>> = HashMap::new();
    let mut alone = Vec::new();
    for pod in &world.pods {
        match top(pod).filter(|uid| by_uid.contains_key(uid.as_str())) {
            Some(uid) => pods_of.entry(uid).or_default().push(pod),
            None => alone.push(pod),
        }
    }
    let context = state::Context::new(world, server);
    let mut jobs: Vec<Job> = world
        .controllers
        .iter()
        .filter(|object| owner(object).is_none())
        .map(|object| {
            let pods = pods_of.remove(text(object, "/metadata/uid")).unwrap_or_default();
            context.job(Some(object), &pods)
        })
        .collect();
    // What its controller left behind is still the job's, by label; other pods stand alone.
    let mut left: HashMap<(String, String), Vec<&Value>> = HashMap::new();
    for pod in alone {
        let name = match pod["metadata"]["labels"][label::JOB].as_str() {
            Some(job) => job,
            None => text(pod, "/metadata/name"),
        };
        left.entry((text(pod, "/metadata/namespace").to_owned(), name.to_owned())).or_default().push(pod);
    }
    jobs.extend(left.values().map(|pods| context.job(None, pods)));
    jobs.sort_by(|a, b| (&a.namespace, &a.name, &a.kind).cmp(&(&b.namespace, &b.name, &b.kind)));
    jobs
}

/// The job of that name, or with a controller of that name.
pub(crate) fn find<'a>(jobs: &'a [Job], name: &str) -> Vec<&'a Job> {
    let (kind, plain) = name.split_once('/').map_or((None, name), |(kind, name)| (Some(kind), name));
    let of_kind =
        |job: &&Job| kind.is_none_or(|kind| job.kind.eq_ignore_ascii_case(kind.trim_end_matches('s')));
    let named: Vec<&Job> = jobs.iter().filter(|job| job.name == plain).filter(of_kind).collect();
    if !named.is_empty() {
        return named;
    }
    jobs.iter().filter(|job| job.controller == plain).filter(of_kind).collect()
}

/// Prints the jobs, and with `follow` their changes as they come.
///
/// # Errors
/// When the server refuses.
pub async fn run(
    connection: &Connection,
    namespace: Option<&str>,
    all_namespaces: bool,
    output: Output,
    follow: bool,
) -> Result<(), Error> {
    let space = (!all_namespaces).then(|| namespace.unwrap_or(&connection.namespace));
    let mut printer = print::Printer::new(output, all_namespaces);
    let (changed, mut changes) = mpsc::channel(1);
    let showing = async {
        loop {
            printer.show(&fetch(connection, space).await?, follow)?;
            if !follow || changes.recv().await.is_none() {
                return Ok(());
            }
            tokio::time::sleep(GATHER).await;
            let _ = changes.try_recv();
        }
    };
    if !follow {
        return showing.await;
    }
    // Each change only wakes the loop, which reads the whole state: one note in the channel says as much as many.
    let sources = [
        ("v1", "pods"),
        ("apps/v1", "deployments"),
        ("apps/v1", "statefulsets"),
        ("apps/v1", "daemonsets"),
        ("batch/v1", "jobs"),
        ("dunlin.io/v1alpha1", "migrations"),
    ];
    let watching = sources.map(|(api_version, plural)| {
        let path = format!("{}?watch=true&resourceVersion=0", collection(api_version, plural, space));
        let changed = changed.clone();
        async move {
            watch::run(connection, &path, "application/json", |_| {
                let _ = changed.try_send(());
                Ok(())
            })
            .await
        }
    });
    tokio::select! {
        shown = showing => shown,
        ended = futures_util::future::try_join_all(watching) => ended.map(|_| ()),
    }
}
