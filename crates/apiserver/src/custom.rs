//! Custom resources: what definitions (`apiextensions.k8s.io/v1`) make the server serve.
//!
//! A definition is an object like any other; what follows from all of them together (names that conflict, what is
//! established, what is served) is settled at once after every write of one ([`settle`]), so that a client whose
//! definition was accepted can use it in its next request. What is kept per definition is its compact schema and a row
//! like those of the built-in resources; handlers see a [`Resource`] and need not care.
//!
//! Deleting a definition deletes its objects first: [`cleanup`] does that in the background.

pub mod cleanup;
pub mod columns;
mod definition;
pub mod form;
mod names;
pub mod webhook;

use std::sync::{Arc, PoisonError, RwLock};

use dunlin_api::structural::{Rules, Schema};
use dunlin_store::{Error, Expect};
use serde_json::Value;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::aggregate;
use crate::conditions;
use crate::failure::Result;
use crate::handlers::storage;
use crate::model;
use crate::object::{self, text};
use crate::resources::{BUILTIN, Resource, known};
use crate::server::Inner;
use crate::time;
use columns::Column;

/// The group of definitions.
pub const GROUP: &str = "apiextensions.k8s.io";
/// How definitions are stored.
pub const STORED: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// What one served version of a definition says, beside its names.
#[derive(Debug)]
pub struct Custom {
    pub list_kind: Box<str>,
    pub schema: Arc<Schema>,
    pub rules: Option<Rules>,
    /// What a table shows after the name.
    pub columns: Box<[Column]>,
    /// Fields that can be selected by, as `spec.color`.
    pub selectable: Box<[Box<str>]>,
    pub scale: Option<Scale>,
    /// What users of this version are told.
    pub warning: Option<Box<str>>,
    /// The version and the schema in which objects are stored.
    pub storage: Arc<Storage>,
    /// Whether stored bytes are what this version shows.
    pub raw: bool,
    /// Whether the definition is being deleted, so that nothing new may come.
    pub going: bool,
    /// Ends when this is no longer what the definition says.
    pub ended: CancellationToken,
}

/// In what form objects are stored, and who converts them.
#[derive(Debug)]
pub struct Storage {
    pub api_version: String,
    pub schema: Arc<Schema>,
    pub webhook: Option<webhook::Webhook>,
}

/// Where the `scale` subresource finds its numbers, as paths of fields.
#[derive(Debug)]
pub struct Scale {
    pub replicas: Box<[Box<str>]>,
    pub status: Box<[Box<str>]>,
    pub selector: Box<[Box<str>]>,
}

/// Everything that is served because of definitions.
#[derive(Default)]
pub struct Registry {
    served: RwLock<Arc<Served>>,
    settling: Mutex<()>,
    /// Tells the cleanup that a definition may be waiting.
    wake: Notify,
}

/// What is served at one moment.
#[derive(Default)]
pub struct Served {
    definitions: Vec<Definition>,
    resources: Vec<Arc<Resource>>,
}

/// One definition, as it was when its rows were made.
struct Definition {
    uid: String,
    /// What else the rows depend on.
    mark: String,
    rows: Vec<Arc<Resource>>,
    _ended: Arc<DropGuard>,
}

impl Definition {
    fn again(&self) -> Self {
        Self {
            uid: self.uid.clone(),
            mark: self.mark.clone(),
            rows: self.rows.clone(),
            _ended: self._ended.clone(),
        }
    }
}

impl Registry {
    /// What is served now.
    pub fn served(&self) -> Arc<Served> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The custom resource at `/apis/{group}/{version}/{plural}`.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        let served = self.served();
        served
            .resources
            .iter()
            .find(|r| r.group == group && r.version == version && r.plural == plural)
            .cloned()
    }

    /// Built-in and custom resources, in the order of discovery.
    pub fn all(&self) -> Vec<Arc<Resource>> {
        BUILTIN.iter().chain(&self.served().resources).cloned().collect()
    }
}

/// Settles what follows from all definitions: conditions, names, and what is served.
pub async fn settle(server: &Inner) -> Result<()> {
    let _turn = server.custom.settling.lock().await;
    let resource = known(GROUP, "customresourcedefinitions");
    for _ in 0..8 {
        let page = server.config.store.list(&resource.scope(None), None, 0, None).await;
        let page = page.map_err(|e| storage::failed(resource, "", e))?;
        let mut definitions = Vec::with_capacity(page.items.len());
        for entry in &page.items {
            definitions.push(storage::parse(&entry.value)?);
        }
        let mut raced = false;
        for (at, status) in names::settle(&definitions, &time::now()) {
            let mut value = definitions[at].clone();
            value["status"] = status;
            model::track(resource, Some(&definitions[at]), &mut value, "kube-apiserver", "status");
            let expect = Expect::Revision(page.items[at].revision);
            match server.save(resource, expect, value.clone()).await {
                Ok(_) => definitions[at] = value,
                Err(Error::Conflict { .. } | Error::NotFound { .. }) => raced = true,
                Err(error) => return Err(storage::failed(resource, object::name(&definitions[at]), error)),
            }
        }
        if raced {
            continue;
        }
        serve(&server.custom, &definitions);
        if definitions.iter().any(is_going) {
            server.custom.wake.notify_one();
        }
        // The groups are registered, and take their place among the others.
        aggregate::local::custom(server).await?;
        return aggregate::settle(server).await;
    }
    Err(crate::failure::Failure::modified(resource, ""))
}

fn is_going(definition: &Value) -> bool {
    !text(definition, &["metadata", "deletionTimestamp"]).is_empty()
}

/// Makes rows of what is established; what has not changed keeps its rows and its watchers.
fn serve(registry: &Registry, definitions: &[Value]) {
    let before = registry.served();
    let mut served = Served::default();
    for value in definitions.iter().filter(|d| conditions::is_true(d, "Established")) {
        let (uid, mark) = (object::uid(value), definition::mark(value));
        let same = before.definitions.iter().find(|d| d.uid == uid && d.mark == mark);
        let made = match same {
            Some(same) => same.again(),
            None => {
                let ended = CancellationToken::new();
                Definition {
                    uid: uid.to_owned(),
                    mark,
                    rows: definition::rows(value, &ended),
                    _ended: Arc::new(ended.drop_guard()),
                }
            }
        };
        served.resources.extend(made.rows.iter().cloned());
        served.definitions.push(made);
    }
    definition::order(&mut served.resources);
    *registry.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
}
