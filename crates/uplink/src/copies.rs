//! ConfigMaps and Secrets that pods name: each is followed above by a watch of its own and kept the same below, for as
//! long as one of the pods is here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_api::names::{annotation, label, secret_type};
use dunlin_base::backoff::Backoff;
use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_node::follow::{Seen, follow};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::below::{gone, only};
use crate::plan::mirror::Level;
use crate::plan::place;
use crate::plan::references::{Kind, Reference};

/// How long the first copy is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// An object that travels.
trait Travels:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    const KIND: Kind;
    /// The same content under other metadata.
    fn under(self, metadata: ObjectMeta) -> Self;
}

impl Travels for ConfigMap {
    const KIND: Kind = Kind::ConfigMap;
    fn under(self, metadata: ObjectMeta) -> Self {
        // An immutable copy could not follow a successor of the same name.
        Self { metadata, immutable: None, ..self }
    }
}

impl Travels for Secret {
    const KIND: Kind = Kind::Secret;
    fn under(self, metadata: ObjectMeta) -> Self {
        // The child would look for the service account of a token's Secret.
        let type_ = self.type_.filter(|of| of != secret_type::SERVICE_ACCOUNT_TOKEN);
        Self { metadata, immutable: None, string_data: None, type_, ..self }
    }
}

/// Namespace above, and what of it.
pub type Named = (String, Reference);
/// The same, and the namespace below.
type Key = (String, Reference, String);

struct Copy {
    users: BTreeSet<String>,
    /// The name below, once it is known.
    name: watch::Receiver<Option<String>>,
    _task: Task,
}

/// All copies.
pub struct Copies {
    parent: Client,
    child: Client,
    level: Level,
    all: Mutex<HashMap<Key, Copy>>,
}

/// A copy is not made yet.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the parent has not been copied yet")]
pub struct NotYet(String);

impl Copies {
    pub fn new(parent: Client, child: Client, level: Level) -> Self {
        Self { parent, child, level, all: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Copy>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies what `user` names from `above` to `below`, and gives the names there. What `user` named before and does
    /// not name now is let go.
    pub async fn ensure(
        &self,
        user: &str,
        above: &str,
        below: &str,
        references: &BTreeSet<Reference>,
    ) -> Result<BTreeMap<Reference, String>, NotYet> {
        let mut receivers = Vec::new();
        {
            let mut all = self.lock();
            for (key, copy) in all.iter_mut() {
                if key.0 != above || key.2 != below || !references.contains(&key.1) {
                    copy.users.remove(user);
                }
            }
            all.retain(|_, copy| !copy.users.is_empty());
            for reference in references {
                let key = (above.to_owned(), reference.clone(), below.to_owned());
                let copy = all.entry(key).or_insert_with(|| self.start(above, below, reference));
                copy.users.insert(user.to_owned());
                receivers.push((reference.clone(), copy.name.clone()));
            }
        }
        let mut names = BTreeMap::new();
        for (reference, mut receiver) in receivers {
            let named = tokio::time::timeout(PATIENCE, receiver.wait_for(Option::is_some)).await;
            let name = named.ok().and_then(Result::ok).and_then(|name| name.clone());
            let name = name.ok_or_else(|| NotYet(format!("{:?} {above}/{}", reference.0, reference.1)))?;
            names.insert(reference, name);
        }
        Ok(names)
    }

    /// `user` is gone: what only it named is not followed any more, and can be collected.
    pub fn release(&self, user: &str) {
        let mut all = self.lock();
        for copy in all.values_mut() {
            copy.users.remove(user);
        }
        // Their tasks end here, so that they cannot write the copies again.
        all.retain(|_, copy| !copy.users.is_empty());
    }

    /// Removes copies below that are not among `used`. Only for when every pod of the parent is known.
    pub async fn collect(&self, used: &BTreeSet<Named>) -> Result<(), kube::Error> {
        let used: HashSet<String> =
            used.iter().map(|(above, (kind, name))| mark(*kind, above, name)).collect();
        self.collect_kind::<ConfigMap>(&used).await?;
        self.collect_kind::<Secret>(&used).await
    }

    async fn collect_kind<K: Travels>(&self, used: &HashSet<String>) -> Result<(), kube::Error> {
        let all: Api<K> = Api::all(self.child.clone());
        let ours = ListParams::default().labels(&self.level.selector());
        for object in all.list(&ours).await?.items {
            let meta = object.meta();
            let of = meta.annotations.as_ref().and_then(|all| all.get(annotation::MIRROR_OF));
            let Some(of) = of.filter(|of| of.starts_with(K::KIND.word()) && !used.contains(*of)) else {
                continue;
            };
            // A pod that came while this was going on may use it by now.
            let taken = self.lock().keys().any(|(above, (kind, name), _)| mark(*kind, above, name) == *of);
            if !taken && let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) {
                let api: Api<K> = Api::namespaced(self.child.clone(), namespace);
                gone(api.delete(name, &only(meta)).await)?;
            }
        }
        Ok(())
    }

    fn start(&self, above: &str, below: &str, (kind, name): &Reference) -> Copy {
        let (told, names) = watch::channel(None);
        let keeper = Keeper {
            parent: self.parent.clone(),
            child: self.child.clone(),
            level: self.level.clone(),
            above: above.to_owned(),
            below: below.to_owned(),
            name: name.clone(),
        };
        let task = match kind {
            Kind::ConfigMap => Task::spawn("copy", keeper.keep::<ConfigMap>(told)),
            Kind::Secret => Task::spawn("copy", keeper.keep::<Secret>(told)),
            // Never asked for: a claim is no copy.
            Kind::Claim => Task::spawn("copy", std::future::ready(())),
        };
        Copy { users: BTreeSet::new(), name: names, _task: task }
    }
}

/// What a copy's annotation says it is a copy of.
fn mark(kind: Kind, above: &str, name: &str) -> String {
    format!("{}/{above}/{name}", kind.word())
}

struct Keeper {
    parent: Client,
    child: Client,
    level: Level,
    above: String,
    below: String,
    name: String,
}

impl Keeper {
    async fn keep<K: Travels>(self, told: watch::Sender<Option<String>>) {
        let (seen_to, mut seen) = watch::channel(None::<Option<K>>);
        let following =
            follow(Api::<K>::namespaced(self.parent.clone(), &self.above), &self.name, |state| match state {
                Seen::Present(object) => {
                    seen_to.send_replace(Some(Some(*object)));
                }
                Seen::Absent => {
                    seen_to.send_replace(Some(None));
                }
                // What was known still holds.
                Seen::Unknown(_) => {}
            });
        let writing = async {
            let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(20));
            loop {
                if seen.changed().await.is_err() {
                    return;
                }
                loop {
                    let state = seen.borrow_and_update().clone();
                    let Some(object) = state else { break };
                    match self.write(object).await {
                        Ok(name) => {
                            told.send_replace(Some(name));
                            backoff.reset();
                            break;
                        }
                        Err(error) => {
                            tracing::debug!(
                                name = self.name,
                                error = chain(&error),
                                "copying failed, trying again"
                            );
                            tokio::time::sleep(backoff.next_delay()).await;
                        }
                    }
                }
            }
        };
        tokio::join!(following, writing);
    }

    /// Makes the copy what `object` is and returns its name.
    async fn write<K: Travels>(&self, object: Option<K>) -> Result<String, kube::Error> {
        let api: Api<K> = Api::namespaced(self.child.clone(), &self.below);
        let mut name = place::name(K::KIND, &self.name);
        let mut there = api.get_opt(&name).await?;
        if there.as_ref().is_some_and(|found| !self.is_ours(K::KIND, found.meta())) {
            name = place::renamed(&self.name, &mark(K::KIND, &self.above, &self.name));
            there = api.get_opt(&name).await?;
        }
        match (object, there) {
            (None, None) => {}
            (None, Some(old)) => gone(api.delete(&name, &only(old.meta())).await)?,
            (Some(object), there) => {
                let metadata = ObjectMeta {
                    name: Some(name.clone()),
                    namespace: Some(self.below.clone()),
                    labels: Some(BTreeMap::from([(label::MIRROR.into(), self.level.parent.clone())])),
                    annotations: Some(BTreeMap::from([(
                        annotation::MIRROR_OF.into(),
                        mark(K::KIND, &self.above, &self.name),
                    )])),
                    ..ObjectMeta::default()
                };
                let copy = object.under(metadata);
                match there {
                    None => {
                        api.create(&PostParams::default(), &copy).await?;
                    }
                    Some(old) if content(&old) == content(&copy) => {}
                    // The type of a Secret cannot be changed.
                    Some(old) if content(&old)["type"] != content(&copy)["type"] => {
                        gone(api.delete(&name, &only(old.meta())).await)?;
                        api.create(&PostParams::default(), &copy).await?;
                    }
                    Some(old) => {
                        let mut copy = copy;
                        copy.meta_mut().resource_version.clone_from(&old.meta().resource_version);
                        api.replace(&name, &PostParams::default(), &copy).await?;
                    }
                }
            }
        }
        Ok(name)
    }

    fn is_ours(&self, kind: Kind, meta: &ObjectMeta) -> bool {
        let of = meta.annotations.as_ref().and_then(|all| all.get(annotation::MIRROR_OF));
        let ours = meta.labels.as_ref().and_then(|all| all.get(label::MIRROR)) == Some(&self.level.parent);
        ours && of.is_some_and(|of| *of == mark(kind, &self.above, &self.name))
    }
}

/// Everything but metadata and what the API fills in.
fn content<K: Serialize>(object: &K) -> serde_json::Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("metadata");
        fields.entry("type").or_insert_with(|| secret_type::OPAQUE.into());
    }
    value
}
