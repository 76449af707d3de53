//! Which resources the server has, custom ones among them: garbage collection has to know all of them.

use std::time::Duration;

use dunlin_control::resource::Resource;
use kube::Client;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

#[derive(Deserialize)]
struct Groups {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    preferred_version: Version,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    resources: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    name: String,
    kind: String,
    namespaced: bool,
    #[serde(default)]
    verbs: Vec<String>,
}

/// How often is asked even if nobody asked for it.
const EVERY: Duration = Duration::from_secs(300);
const AGAIN: Duration = Duration::from_secs(2);

/// Tells all resources that can be listed, watched and deleted: at once, when asked through `again`, and now and then.
pub async fn follow(client: Client, mut again: watch::Receiver<u64>, to: mpsc::Sender<Vec<Resource>>) {
    loop {
        again.mark_unchanged();
        let pause = match find(&client).await {
            Ok(found) => {
                if to.send(found).await.is_err() {
                    return;
                }
                EVERY
            }
            Err(error) => {
                tracing::warn!(error = %dunlin_base::error::chain(&error), "discovery failed");
                AGAIN
            }
        };
        if let Ok(Err(_)) = tokio::time::timeout(pause, again.changed()).await {
            return;
        }
    }
}

async fn find(client: &Client) -> Result<Vec<Resource>, kube::Error> {
    let mut found = Vec::new();
    collect(&mut found, "", "v1", get(client, "/api/v1").await?);
    let groups: Groups = get(client, "/apis").await?;
    for group in groups.groups {
        let version = &group.preferred_version.version;
        match get(client, &format!("/apis/{}/{version}", group.name)).await {
            Ok(list) => collect(&mut found, &group.name, version, list),
            // A group that ended between the two answers.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            // An extension server that is away holds up nothing but its own objects.
            Err(kube::Error::Api(status)) if status.code == 503 => {
                tracing::warn!(
                    group = group.name,
                    "an extension server does not answer; its objects are left out"
                );
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn collect(found: &mut Vec<Resource>, group: &str, version: &str, list: List) {
    let usable = |r: &Found| ["list", "watch", "delete"].iter().all(|verb| r.verbs.iter().any(|v| v == verb));
    let usable = list.resources.into_iter().filter(|r| !r.name.contains('/') && usable(r));
    found.extend(usable.map(|r| Resource::new(group, version, &r.name, &r.kind, r.namespaced)));
}

async fn get<T: serde::de::DeserializeOwned>(client: &Client, path: &str) -> Result<T, kube::Error> {
    let request = http::Request::get(path).header(http::header::ACCEPT, "application/json");
    let request = request.body(Vec::new()).expect("paths are made of names that the server gave");
    client.request(request).await
}
