//! Claims that pods of the parent use: each becomes a claim here, which stays when the pod goes, so that the next pod finds
//! what the first wrote. It is removed only when the parent deletes the volume that stands for it there, and that volume
//! waits for us.

use std::collections::BTreeSet;
use std::time::Duration;

use dunlin_api::names::{label, storage};
use dunlin_base::error::chain;
use dunlin_node::volumes::{Backing, Policy};
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};

use crate::below::{gone, mirror_of, only};
use crate::plan::mirror::Level;
use crate::plan::{claim, place, references};

/// How long the parent's answer is waited for: what else has to do with claims waits as well.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a claim is not here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("asking the parent's API for {0}")]
    Parent(String, #[source] kube::Error),
    #[error("the parent's API does not answer")]
    Silent,
    #[error("asking the cluster's own API")]
    Child(#[source] kube::Error),
    #[error("claim {0} of the parent is not bound")]
    Unbound(String),
    /// It never will be.
    #[error("claim {0} is bound to a volume of the parent, which pods in a child cluster cannot use")]
    Above(String),
}

/// Makes, finds and removes claims.
pub struct Claims {
    parent: Client,
    child: Client,
    level: Level,
    /// A claim is not made while another is removed: its volume above might go in between.
    one: tokio::sync::Mutex<()>,
}

impl Claims {
    pub fn new(parent: Client, child: Client, level: Level) -> Self {
        Self { parent, child, level, one: tokio::sync::Mutex::default() }
    }

    /// The name in the namespace `below` of the claim `name` that the pod `user` of the parent has, made if it is not
    /// there. `machine`: the one that the parent has bound the pod to, if it sees machines.
    pub async fn ensure(
        &self,
        user: &Pod,
        name: &str,
        below: &str,
        machine: Option<&str>,
    ) -> Result<String, Error> {
        let above = user.metadata.namespace.as_deref().unwrap_or_default();
        let node = user.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let _one = self.one.lock().await;
        let upper: Api<PersistentVolumeClaim> = Api::namespaced(self.parent.clone(), above);
        let upper = self.ask(&upper, name).await?.ok_or_else(|| Error::Unbound(name.to_owned()))?;
        let volume = upper.spec.as_ref().and_then(|spec| spec.volume_name.clone()).unwrap_or_default();
        let bound = upper.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        if !bound || upper.metadata.deletion_timestamp.is_some() {
            return Err(Error::Unbound(name.to_owned()));
        }
        let volume = self.ask(&Api::<PersistentVolume>::all(self.parent.clone()), &volume).await?;
        let volume = volume.ok_or_else(|| Error::Unbound(name.to_owned()))?;
        let of = volume.metadata.labels.as_ref().and_then(|all| all.get(label::VOLUME_NODE));
        if of != Some(&storage::node_label(node)) {
            return Err(Error::Above(name.to_owned()));
        }
        self.make(&upper, below, machine).await.map_err(Error::Child)
    }

    async fn make(
        &self,
        upper: &PersistentVolumeClaim,
        below: &str,
        machine: Option<&str>,
    ) -> Result<String, kube::Error> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.child.clone(), below);
        let (meta, mark) = (&upper.metadata, claim::mark_of(&upper.metadata));
        let plain = meta.name.clone().unwrap_or_default();
        let renamed = place::renamed(&plain, meta.uid.as_deref().unwrap_or_default());
        let is_it = |found: &PersistentVolumeClaim| mirror_of(&found.metadata) == Some(&mark);
        // Whoever had the plain name before may be gone by now, so the other one is looked for first.
        if api.get_opt(&renamed).await?.as_ref().is_some_and(is_it) {
            return Ok(renamed);
        }
        let name = match api.get_opt(&plain).await? {
            Some(found) if is_it(&found) => return Ok(plain),
            Some(_) => renamed,
            None => plain,
        };
        let wanted =
            upper.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or_default();
        let classes: Api<StorageClass> = Api::all(self.child.clone());
        let class = match wanted {
            "" => None,
            wanted => classes.get_opt(wanted).await?.map(|_| wanted.to_owned()),
        };
        let object = claim::claim(&self.level, upper, below, &name, class, machine);
        api.create(&PostParams::default(), &object).await.map(|_| name)
    }

    async fn ask<K>(&self, api: &Api<K>, name: &str) -> Result<Option<K>, Error>
    where
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        match tokio::time::timeout(PATIENCE, api.get_opt(name)).await {
            Ok(answer) => answer.map_err(|source| Error::Parent(name.to_owned(), source)),
            Err(_) => Err(Error::Silent),
        }
    }

    /// Those that were made for a claim above whose annotation begins with `mark`.
    async fn marked(&self, mark: &str) -> Result<Vec<PersistentVolumeClaim>, kube::Error> {
        let all: Api<PersistentVolumeClaim> = Api::all(self.child.clone());
        let ours = ListParams::default().labels(&self.level.selector());
        let mut found = all.list(&ours).await?.items;
        found.retain(|claim| mirror_of(&claim.metadata).is_some_and(|of| of.starts_with(mark)));
        Ok(found)
    }

    /// The pod, as the parent offers it, on the claims that are here already: they say where there is a place for it. A
    /// claim that is not here yet can be anywhere.
    pub async fn settle(&self, pod: &mut Pod) -> Result<(), kube::Error> {
        let above = pod.metadata.namespace.clone().unwrap_or_default();
        let names: BTreeSet<String> = references::claims(pod);
        let pod_name = pod.metadata.name.clone().unwrap_or_default();
        let Some(spec) = pod.spec.as_mut().filter(|_| !names.is_empty()) else { return Ok(()) };
        references::settle(spec, &pod_name);
        for name in names {
            let mut found = self.marked(&claim::mark(&above, &name)).await?;
            found.sort_by_key(|claim| claim.metadata.creation_timestamp.clone());
            let below = found.pop();
            for volumes in spec.volumes.iter_mut() {
                let is_it = |volume: &k8s_openapi::api::core::v1::Volume| {
                    volume.persistent_volume_claim.as_ref().is_some_and(|source| source.claim_name == name)
                };
                match &below {
                    None => volumes.retain(|volume| !is_it(volume)),
                    Some(below) => {
                        for source in volumes.iter_mut().filter(|volume| is_it(volume)) {
                            if let Some(source) = &mut source.persistent_volume_claim {
                                source.claim_name = below.metadata.name.clone().unwrap_or_default();
                            }
                        }
                    }
                }
            }
            if let Some(below) = below {
                pod.metadata.namespace = below.metadata.namespace;
            }
        }
        Ok(())
    }
}

impl Backing for Claims {
    fn remove<'a>(
        &'a self,
        volume: &'a PersistentVolume,
        policy: Policy,
    ) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(async move {
            let claimed = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            let Some(claimed) = claimed.filter(|_| policy == Policy::Delete) else { return Ok(true) };
            let _one = self.one.lock().await;
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let mark = claim::mark(&text(&claimed.namespace), &text(&claimed.name)) + &text(&claimed.uid);
            let found = self.marked(&mark).await.map_err(|e| chain(&e))?;
            for claim in &found {
                let meta = &claim.metadata;
                let api: Api<PersistentVolumeClaim> =
                    Api::namespaced(self.child.clone(), meta.namespace.as_deref().unwrap_or_default());
                let name = meta.name.as_deref().unwrap_or_default();
                if meta.deletion_timestamp.is_none() {
                    gone(api.delete(name, &only(meta)).await).map_err(|e| chain(&e))?;
                }
            }
            // It is gone when the last pod here has let it go; then we are asked again.
            Ok(found.is_empty())
        })
    }
}
