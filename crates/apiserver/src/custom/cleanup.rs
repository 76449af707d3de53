//! Deleting a definition: its objects first, then itself. The finalizer keeps it until nothing is left.

use std::sync::Weak;
use std::time::Duration;

use dunlin_store::{Error, Expect};
use serde_json::{Value, json};

use super::{is_going, settle};
use crate::conditions;
use crate::failure::Result;
use crate::handlers::delete::{self, Options};
use crate::handlers::{modify, storage};
use crate::object::{self, map, meta};
use crate::resources::known;
use crate::server::Inner;
use crate::time;

/// What keeps a definition until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Objects with finalizers of their own are looked at again after this long.
const AGAIN: Duration = Duration::from_millis(500);

/// What the first deletion of a definition adds to it.
pub fn mark(finalizers: &mut Vec<String>, value: &mut Value) {
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    map(value, "status");
    let text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    conditions::set(&mut value["status"], "Terminating", true, "InstanceDeletionPending", text, &time::now());
}

/// Cleans up whenever a definition is being deleted, until the server is gone.
pub async fn run(server: Weak<Inner>) {
    loop {
        let Some(strong) = server.upgrade() else { return };
        let left = clean(&strong).await.unwrap_or_else(|failure| {
            tracing::warn!(message = %failure.message, "cleaning up after a definition failed");
            true
        });
        let custom = &strong.custom;
        let pause = if left { AGAIN } else { Duration::from_secs(5) };
        // The server is let go now and then, so that it can end.
        let _ = tokio::time::timeout(pause, custom.wake.notified()).await;
    }
}

/// One round; tells whether anything is left to do.
async fn clean(server: &Inner) -> Result<bool> {
    let resource = known("apiextensions.k8s.io", "customresourcedefinitions");
    let page = server.config.store.list(&resource.scope(None), None, 0, None).await;
    let page = page.map_err(|e| storage::failed(resource, "", e))?;
    let mut left = false;
    let mut removed = false;
    for entry in &page.items {
        let mut value = storage::parse(&entry.value)?;
        if !is_going(&value) || !object::finalizers(&value).iter().any(|f| f == FINALIZER) {
            continue;
        }
        let remaining = empty(server, &value).await?;
        let now = time::now();
        let mut status = value["status"].clone();
        if remaining > 0 {
            left = true;
            let text = "CustomResource deletion is in progress";
            conditions::set(&mut status, "Terminating", true, "InstanceDeletionInProgress", text, &now);
            if status == value["status"] {
                continue;
            }
        } else {
            let text = "removed all instances";
            conditions::set(&mut status, "Terminating", false, "InstanceDeletionCompleted", text, &now);
            let kept: Vec<String> =
                object::finalizers(&value).into_iter().filter(|f| f != FINALIZER).collect();
            meta(&mut value).insert("finalizers".into(), json!(kept));
            removed = true;
        }
        value["status"] = status;
        let written = if modify::is_over(&value) {
            server.remove(resource, entry, value).await
        } else {
            server.save(resource, Expect::Revision(entry.revision), value).await
        };
        match written {
            Ok(_) => {}
            Err(Error::Conflict { .. } | Error::NotFound { .. }) => left = true,
            Err(error) => return Err(storage::failed(resource, &entry.key.name, error)),
        }
    }
    if removed {
        settle(server).await?;
    }
    Ok(left)
}

/// Deletes the objects of a definition; tells how many are still there.
async fn empty(server: &Inner, definition: &Value) -> Result<usize> {
    let served = server.custom.served();
    let stored = object::name(definition);
    let row = served.resources.iter().find(|r| r.stored == stored).cloned();
    // A definition that serves no version has its objects all the same.
    let row = match row {
        Some(row) => row,
        None => {
            let mut value = definition.clone();
            for version in value["spec"]["versions"].as_array_mut().into_iter().flatten() {
                version["served"] = json!(true);
            }
            let rows = super::definition::rows(&value, &tokio_util::sync::CancellationToken::new());
            let Some(row) = rows.into_iter().next() else { return Ok(0) };
            row
        }
    };
    let store = &server.config.store;
    let page = store.list(&row.scope(None), None, 0, None).await.map_err(|e| storage::failed(&row, "", e))?;
    let mut left = 0;
    for entry in &page.items {
        let options = Options { propagation: None, ..Options::default() };
        match delete::remove(server, &row, &entry.key.namespace, &entry.key.name, &options, None).await {
            Ok(delete::Outcome::Removed(_)) => {}
            Ok(delete::Outcome::Marked(_)) => left += 1,
            Err(failure) if failure.code == 404 => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(left)
}
