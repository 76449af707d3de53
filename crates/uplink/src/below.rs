//! What was made below: mirrors and DaemonSets that carry the parent's mark, followed in the child's API.

use std::sync::Arc;

use dunlin_api::names::annotation;
use dunlin_base::error::chain;
use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};

use crate::queue::Id;
use crate::uplink::{Shared, State};

/// The uid above that an object below is a mirror of.
pub fn mirror_of(meta: &ObjectMeta) -> Option<&String> {
    meta.annotations.as_ref()?.get(annotation::MIRROR_OF)
}

/// Deletes this very object, and no successor of its name.
pub fn only(meta: &ObjectMeta) -> DeleteParams {
    let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// What is gone, or has a successor, needs no deletion.
pub fn gone<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(why)) if matches!(why.code, 404 | 409) => Ok(()),
        other => other.map(drop),
    }
}

/// Follows mirrors.
pub async fn pods(shared: Arc<Shared>) {
    follow::<Pod>(shared, |state| (&mut state.mirrors, &mut state.mirrors_known), Id::Pod).await;
}

/// Follows DaemonSets.
pub async fn daemons(shared: Arc<Shared>) {
    follow::<DaemonSet>(shared, |state| (&mut state.daemons, &mut state.daemons_known), Id::Daemon).await;
}

type Slot<K> = fn(&mut State) -> (&mut std::collections::HashMap<String, Arc<K>>, &mut bool);

async fn follow<K>(shared: Arc<Shared>, slot: Slot<K>, id: fn(String) -> Id)
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let api: Api<K> = Api::all(shared.child.clone());
    let ours = watcher::Config::default().labels(&shared.config.level.selector());
    let mut events = std::pin::pin!(watcher(api, ours).default_backoff());
    let mut listed = std::collections::HashMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                if let Some(of) = mirror_of(object.meta()).cloned() {
                    listed.insert(of, Arc::new(object));
                }
            }
            Ok(watcher::Event::InitDone) => {
                let mut state = shared.lock();
                let (all, known) = slot(&mut state);
                let before = std::mem::replace(all, std::mem::take(&mut listed));
                *known = true;
                let touched: Vec<String> = all.keys().cloned().chain(before.into_keys()).collect();
                let above: Vec<String> = state.uppers.keys().cloned().collect();
                let mirrors = state.mirrors_known;
                drop(state);
                if mirrors {
                    shared.mirrors_listed.send_replace(true);
                    shared.fence.look();
                }
                touched.into_iter().for_each(|of| shared.queue.push(id(of)));
                above.into_iter().for_each(|uid| shared.queue.push(Id::Pod(uid)));
            }
            Ok(watcher::Event::Apply(object)) => {
                if let Some(of) = mirror_of(object.meta()).cloned() {
                    slot(&mut shared.lock()).0.insert(of.clone(), Arc::new(object));
                    shared.queue.push(id(of));
                }
            }
            Ok(watcher::Event::Delete(object)) => {
                if let Some(of) = mirror_of(object.meta()).cloned() {
                    let mut state = shared.lock();
                    let (all, _) = slot(&mut state);
                    // A successor may have been seen already.
                    if all.get(&of).is_some_and(|known| known.meta().uid == object.meta().uid) {
                        all.remove(&of);
                    }
                    drop(state);
                    shared.queue.push(id(of));
                }
            }
            Err(error) => tracing::debug!(error = chain(&error), "following mirrors failed, trying again"),
        }
    }
}
