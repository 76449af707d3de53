//! Between values and stored bytes: reading, saving with the revision inside, removing with a last state.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use dunlin_store::{Change, Class, Entry, Error, Expect, Write};
use serde_json::Value;

use crate::admission::{claims, ip_address};
use crate::failure::{Failure, Result};
use crate::handlers::convert;
use crate::object;
use crate::resources::Resource;
use crate::server::Inner;

/// An object as it is stored, with its decoded form in the version of the resource that was asked.
pub struct Stored {
    pub entry: Entry,
    pub value: Value,
}

/// What the store's errors mean to a client.
pub fn failed(resource: &Resource, name: &str, error: Error) -> Failure {
    match error {
        Error::Exists { .. } => Failure::already_exists(resource, name),
        Error::NotFound { .. } => Failure::not_found(resource, name),
        Error::Conflict { .. } => Failure::modified(resource, name),
        Error::Expired { .. } => Failure::expired(
            "The provided continue parameter is too old or the requested \
            resource version is no longer kept. Restart the list without it to get a consistent list.",
        ),
        // As Kubernetes says it of a store that does not answer in time.
        late @ Error::Unavailable { .. } => Failure::new(
            504,
            "Timeout",
            format!("Timeout: request did not complete within the allotted timeout: {late}"),
        ),
        large @ Error::TooLarge { .. } => Failure::new(413, "RequestEntityTooLarge", large.to_string()),
        full @ Error::Full { .. } => Failure::insufficient_storage(full),
        other => Failure::internal(dunlin_base::error::chain(&other)),
    }
}

pub fn parse(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|e| Failure::internal(format!("a stored object is damaged: {e}")))
}

impl Inner {
    /// The object, if it exists.
    pub async fn find(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Option<Stored>> {
        let found = self.config.store.get(&resource.key(namespace, name)).await;
        match found.map_err(|e| failed(resource, name, e))? {
            Some(entry) => {
                let value = convert::shown(self, resource, parse(&entry.value)?).await?;
                Ok(Some(Stored { entry, value }))
            }
            None => Ok(None),
        }
    }

    /// The object, or `NotFound`.
    pub async fn read(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Stored> {
        self.find(resource, namespace, name).await?.ok_or_else(|| Failure::not_found(resource, name))
    }

    /// Every object of a resource in a namespace (or in all), decoded. For small resources only.
    pub async fn all(&self, resource: &Resource, namespace: Option<&str>) -> Result<Vec<Value>> {
        let scope = resource.scope(namespace);
        let page =
            self.config.store.list(&scope, None, 0, None).await.map_err(|e| failed(resource, "", e))?;
        let values = page.items.iter().map(|e| parse(&e.value)).collect::<Result<_>>()?;
        convert::all_shown(self, resource, values).await
    }

    /// Writes an object in its stored form; gives back its bytes. The store's own error tells conflicts apart.
    pub async fn save(&self, resource: &Resource, expect: Expect, value: Value) -> Result<Entry, Error> {
        let class = resource.class(object::namespace(&value));
        let write = Write {
            key: resource.key(object::namespace(&value), object::name(&value)),
            expect,
            class,
            tag: resource.tag(&value),
            change: Change::Put(Box::new(move |revision| encode(value, revision))),
        };
        self.write(write, class).await
    }

    /// Removes an object; `last` is its last state in the stored form, and is given back.
    pub async fn remove(&self, resource: &Resource, entry: &Entry, last: Value) -> Result<Entry, Error> {
        if resource.stored != "services" {
            return self.erase(resource, entry, last).await;
        }
        self.addresses.release(&last);
        let removed = self.erase(resource, entry, last.clone()).await?;
        if let Err(failure) = ip_address::follow(self, Some(&last), None).await {
            // The next start takes it away.
            tracing::warn!(message = %failure.message, "the address of a removed service stays listed");
        }
        claims::release(self, &last, None).await;
        Ok(removed)
    }

    /// Makes an object that the server itself wants to be there; one that is there stays as it is.
    pub async fn ensure(&self, resource: &Resource, value: Value) -> Result<()> {
        let name = object::name(&value).to_owned();
        match self.save(resource, Expect::Absent, value).await {
            Ok(_) | Err(Error::Exists { .. } | Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(failed(resource, &name, error)),
        }
    }

    /// Removes an object that the server itself has made, if it is there and nobody changes it just now.
    pub async fn discard(&self, resource: &Resource, name: &str) -> Result<()> {
        let Some(found) = self.find(resource, "", name).await? else { return Ok(()) };
        match self.erase(resource, &found.entry, found.value).await {
            Ok(_) | Err(Error::NotFound { .. } | Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(failed(resource, name, error)),
        }
    }

    /// As [`Inner::remove`], for what nothing else follows.
    pub async fn erase(&self, resource: &Resource, entry: &Entry, last: Value) -> Result<Entry, Error> {
        let class = resource.class(&entry.key.namespace);
        let write = Write {
            key: entry.key.clone(),
            expect: Expect::Revision(entry.revision),
            class,
            tag: entry.tag.clone(),
            change: Change::Delete(Box::new(move |revision| encode(last, revision))),
        };
        self.write(write, class).await
    }

    async fn write(&self, write: Write, class: Class) -> Result<Entry, Error> {
        let written = self.config.store.write(write).await?;
        if class == Class::Durable {
            self.durable.fetch_max(written.revision, Ordering::AcqRel);
        }
        Ok(written)
    }
}

/// How stored objects begin: with their version and kind, so that lists can leave them out without decoding.
pub fn prefix(api_version: &str, kind: &str) -> String {
    format!("{{\"apiVersion\":\"{api_version}\",\"kind\":\"{kind}\",")
}

fn encode(mut value: Value, revision: u64) -> Bytes {
    object::meta(&mut value).insert("resourceVersion".into(), Value::String(revision.to_string()));
    let Some(fields) = value.as_object_mut() else { return Bytes::new() };
    let text = |field: Option<Value>| field.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let (api_version, kind) = (text(fields.remove("apiVersion")), text(fields.remove("kind")));
    let mut out = prefix(&api_version, &kind).into_bytes();
    let rest = serde_json::to_vec(&value).unwrap_or_default();
    out.extend_from_slice(rest.get(1..).unwrap_or_default());
    Bytes::from(out)
}
