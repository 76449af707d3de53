//! Namespaces below: a parent's namespace keeps its name, unless the child has one of that name itself.

use std::collections::BTreeMap;

use dunlin_api::names::{annotation, label};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, PostParams};

use crate::plan::mirror::Level;
use crate::plan::place;

/// Finds and makes namespaces below.
pub struct Namespaces {
    client: Client,
    level: Level,
}

impl Namespaces {
    pub fn new(client: Client, level: Level) -> Self {
        Self { client, level }
    }

    /// The namespace below for `name` above, made if it is not there. `home` is its name in the home API. It is asked
    /// for each time, since anybody below may have deleted it, and made one of his own.
    pub async fn ensure(&self, name: &str, home: &str) -> Result<String, kube::Error> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let beside = place::beside(name, &self.level.parent);
        let last = place::renamed(&beside, name);
        for below in [name, &beside, &last].into_iter().filter(|below| !place::is_always_own(below)) {
            match api.get_opt(below).await? {
                Some(found) if self.is_ours(&found, name) => return Ok(below.to_owned()),
                Some(_) => {}
                None => {
                    self.make(&api, below, name, home).await?;
                    return Ok(below.to_owned());
                }
            }
        }
        // Somebody below has taken every name that could be ours; the last one says by its refusal what is wrong.
        self.make(&api, &last, name, home).await.map(|()| last)
    }

    async fn make(
        &self,
        api: &Api<Namespace>,
        below: &str,
        name: &str,
        home: &str,
    ) -> Result<(), kube::Error> {
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(below.to_owned()),
                labels: Some(BTreeMap::from([(label::MIRROR.into(), self.level.parent.clone())])),
                annotations: Some(BTreeMap::from([
                    (annotation::HOME_NAMESPACE.into(), home.to_owned()),
                    (annotation::MIRROR_OF.into(), name.to_owned()),
                ])),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        api.create(&PostParams::default(), &namespace).await.map(drop)
    }

    fn is_ours(&self, namespace: &Namespace, name: &str) -> bool {
        let meta = &namespace.metadata;
        meta.labels.as_ref().and_then(|all| all.get(label::MIRROR)) == Some(&self.level.parent)
            && meta
                .annotations
                .as_ref()
                .and_then(|all| all.get(annotation::MIRROR_OF))
                .is_some_and(|of| of == name)
    }
}
