//! Namespaces below: a parent's namespace keeps its name, unless the child has one of that name itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use dunlin_api::names::{annotation, label};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, PostParams};

use crate::plan::mirror::Level;
use crate::plan::place;

/// The names that were found, so that most pods cost no question.
pub struct Namespaces {
    client: Client,
    level: Level,
    known: Mutex<HashMap<String, String>>,
}

impl Namespaces {
    pub fn new(client: Client, level: Level) -> Self {
        Self { client, level, known: Mutex::default() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The namespace below for `name` above, made if it is not there yet. `home` is its name in the home API.
    pub async fn ensure(&self, name: &str, home: &str) -> Result<String, kube::Error> {
        if let Some(found) = self.known().get(name) {
            return Ok(found.clone());
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let mut below = name.to_owned();
        let taken =
            place::is_always_own(name) || api.get_opt(name).await?.is_some_and(|found| !self.is_ours(&found));
        if taken {
            below = place::beside(name, &self.level.parent);
        }
        if api.get_opt(&below).await?.is_none() {
            let namespace = Namespace {
                metadata: ObjectMeta {
                    name: Some(below.clone()),
                    labels: Some(BTreeMap::from([(label::MIRROR.into(), self.level.parent.clone())])),
                    annotations: Some(BTreeMap::from([
                        (annotation::HOME_NAMESPACE.into(), home.to_owned()),
                        (annotation::MIRROR_OF.into(), name.to_owned()),
                    ])),
                    ..ObjectMeta::default()
                },
                ..Namespace::default()
            };
            api.create(&PostParams::default(), &namespace).await?;
        }
        self.known().insert(name.to_owned(), below.clone());
        Ok(below)
    }

    /// The namespace turned out to be gone: it is looked for again.
    pub fn forget(&self, name: &str) {
        self.known().remove(name);
    }

    fn is_ours(&self, namespace: &Namespace) -> bool {
        let labels = namespace.metadata.labels.as_ref();
        labels.and_then(|all| all.get(label::MIRROR)) == Some(&self.level.parent)
    }
}
