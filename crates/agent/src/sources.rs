//! ConfigMaps, Secrets and Services that pods here reference: each followed by a watch of its own, kept on disk.
//!
//! What was known when the link went stays usable; only the API's own word that something is gone makes it gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use dunlin_base::task::Task;
use dunlin_node::follow::{Seen, follow};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How long the first answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How old a list of services may be.
const SERVICES_AGE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }
}

/// The content.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Data {
    pub values: BTreeMap<String, Vec<u8>>,
    pub kind: String,
}

#[derive(Debug, Clone)]
enum Known {
    Present(Arc<Data>),
    Absent,
    Unknown(String),
}

type Key = (Kind, String, String);
/// When it was read, and what it was.
type ServiceList = (Instant, Arc<Vec<Service>>);

struct Slot {
    receiver: watch::Receiver<Option<Known>>,
    users: BTreeSet<String>,
    _task: Task,
}

/// Everything followed.
pub struct Sources {
    client: kube::Client,
    dir: PathBuf,
    slots: Mutex<HashMap<Key, Slot>>,
    services: Mutex<HashMap<String, ServiceList>>,
    changed: Arc<watch::Sender<u64>>,
}

/// Why content is not to be had, in the words of events.
#[derive(Debug, Clone, PartialEq)]
pub enum Missing {
    Absent(String),
    Unknown(String),
}

impl Missing {
    pub fn text(&self) -> &str {
        match self {
            Self::Absent(t) | Self::Unknown(t) => t,
        }
    }
}

impl Sources {
    pub fn new(client: kube::Client, data: &std::path::Path) -> Self {
        Self {
            client,
            dir: data.join("sources"),
            slots: Mutex::default(),
            services: Mutex::default(),
            changed: Arc::new(watch::channel(0).0),
        }
    }

    /// Ticks with each change of anything followed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The content for the pod `uid`, which from now on hears of changes.
    pub async fn get(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<Arc<Data>, Missing> {
        let mut receiver = self.subscribe(kind, namespace, name, uid);
        let first = tokio::time::timeout(PATIENCE, receiver.wait_for(Option::is_some)).await;
        let known = match first {
            Ok(Ok(known)) => known.clone(),
            _ => None,
        };
        match known {
            Some(Known::Present(data)) => Ok(data),
            Some(Known::Absent) => Err(Missing::Absent(format!("{} \"{name}\" not found", kind.word()))),
            other => {
                let kept: Option<Data> = crate::disk::read(&self.file(kind, namespace, name));
                let why = match other {
                    Some(Known::Unknown(why)) => why,
                    _ => "the API did not answer".to_owned(),
                };
                kept.map(Arc::new)
                    .ok_or_else(|| Missing::Unknown(format!("failed to sync {} cache: {why}", kind.word())))
            }
        }
    }

    /// The services of a namespace; an old list when the API is away.
    pub async fn services(&self, namespace: &str) -> Arc<Vec<Service>> {
        let kept = lock(&self.services).get(namespace).cloned();
        if let Some((when, list)) = &kept
            && when.elapsed() < SERVICES_AGE
        {
            return list.clone();
        }
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default();
        let listed = tokio::time::timeout(Duration::from_secs(2), api.list(&params)).await;
        match listed {
            Ok(Ok(list)) => {
                let list = Arc::new(list.items);
                lock(&self.services).insert(namespace.to_owned(), (Instant::now(), list.clone()));
                list
            }
            _ => kept.map(|(_, list)| list).unwrap_or_default(),
        }
    }

    /// A pod is gone: what only it used is no longer followed.
    pub fn release(&self, uid: &str) {
        let mut stale = Vec::new();
        lock(&self.slots).retain(|(kind, namespace, name), slot| {
            slot.users.remove(uid);
            if slot.users.is_empty() {
                stale.push(self.file(*kind, namespace, name));
            }
            !slot.users.is_empty()
        });
        for path in stale {
            // It may never have been written.
            let _ = std::fs::remove_file(path);
        }
    }

    fn file(&self, kind: Kind, namespace: &str, name: &str) -> PathBuf {
        self.dir.join(format!("{}_{namespace}_{name}.json", kind.word()))
    }

    fn subscribe(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> watch::Receiver<Option<Known>> {
        let mut slots = lock(&self.slots);
        let key = (kind, namespace.to_owned(), name.to_owned());
        if let Some(slot) = slots.get_mut(&key) {
            slot.users.insert(uid.to_owned());
            return slot.receiver.clone();
        }
        let (sender, receiver) = watch::channel(None);
        let file = self.file(kind, namespace, name);
        let changed = self.changed.clone();
        let tell = move |known: Known| {
            if let Known::Present(data) = &known
                && let Ok(bytes) = serde_json::to_vec(&**data)
                && crate::disk::read::<Data>(&file).as_ref() != Some(data)
                && let Err(error) = crate::disk::write(&file, &bytes, 0o600, true)
            {
                tracing::warn!(%error, "a referenced object cannot be kept on disk");
            }
            if let Known::Unknown(_) = &known
                && matches!(&*sender.borrow(), Some(Known::Present(_)))
            {
                return;
            }
            sender.send_replace(Some(known));
            changed.send_modify(|n| *n += 1);
        };
        let client = self.client.clone();
        let (ns, object) = (namespace.to_owned(), name.to_owned());
        let task = Task::spawn("source", async move {
            match kind {
                Kind::ConfigMap => {
                    let api: Api<ConfigMap> = Api::namespaced(client, &ns);
                    follow(api, &object, |seen| tell(of(seen, config_map))).await;
                }
                Kind::Secret => {
                    let api: Api<Secret> = Api::namespaced(client, &ns);
                    follow(api, &object, |seen| tell(of(seen, secret))).await;
                }
            }
        });
        slots.insert(
            key,
            Slot { receiver: receiver.clone(), users: BTreeSet::from([uid.to_owned()]), _task: task },
        );
        receiver
    }
}

fn of<K>(seen: Seen<K>, read: impl Fn(K) -> Data) -> Known {
    match seen {
        Seen::Present(object) => Known::Present(Arc::new(read(*object))),
        Seen::Absent => Known::Absent,
        Seen::Unknown(why) => Known::Unknown(why),
    }
}

fn config_map(object: ConfigMap) -> Data {
    let mut values: BTreeMap<String, Vec<u8>> =
        object.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_bytes())).collect();
    values.extend(object.binary_data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0)));
    Data { values, kind: String::new() }
}

fn secret(object: Secret) -> Data {
    let values = object.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0)).collect();
    Data { values, kind: object.type_.unwrap_or_default() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
