//! Following one named object with a watch of its own, so that a node reads nothing else of that kind.
//!
//! A node may read only what its pods reference; a watch with `metadata.name` is what the node authorizer allows.

use std::fmt::Debug;
use std::time::Duration;

use dunlin_base::backoff::Backoff;
use futures_util::StreamExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

/// A watch that lived this long has worked, also if nothing happened: the next one begins at once.
pub(crate) const LIVED: Duration = Duration::from_secs(30);

/// What is known of the object.
#[derive(Debug, Clone)]
pub enum Seen<K> {
    /// It exists.
    Present(Box<K>),
    /// The API says that it does not exist.
    Absent,
    /// The API could not be asked; what was known before still holds.
    Unknown(String),
}

/// Tells `tell` of the object's states, forever.
pub async fn follow<K>(api: Api<K>, name: &str, mut tell: impl FnMut(Seen<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let fields = format!("metadata.name={name}");
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    let mut unknown = false;
    loop {
        let version = match api.list(&ListParams::default().fields(&fields)).await {
            Ok(list) => {
                backoff.reset();
                unknown = false;
                let version = list.metadata.resource_version.clone().unwrap_or_default();
                match list.items.into_iter().find(|o| o.name_any() == name) {
                    Some(object) => tell(Seen::Present(Box::new(object))),
                    None => tell(Seen::Absent),
                }
                version
            }
            Err(error) => {
                if !unknown {
                    tell(Seen::Unknown(dunlin_base::error::chain(&error)));
                    unknown = true;
                }
                tokio::time::sleep(backoff.next_delay()).await;
                continue;
            }
        };
        watch(&api, &fields, version, &mut backoff, &mut tell).await;
    }
}

/// Watches until a new list is needed.
async fn watch<K>(
    api: &Api<K>,
    fields: &str,
    mut version: String,
    backoff: &mut Backoff,
    tell: &mut impl FnMut(Seen<K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let params = WatchParams::default().fields(fields).timeout(290);
    loop {
        let stream = match api.watch(&params, &version).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(error = dunlin_base::error::chain(&error), "watch was refused");
                tokio::time::sleep(backoff.next_delay()).await;
                // What the API refuses needs a new list; where nobody answered, the watch goes on from here later.
                if matches!(error, kube::Error::Api(_)) {
                    return;
                }
                continue;
            }
        };
        let mut stream = std::pin::pin!(stream);
        let begun = Instant::now();
        let mut progressed = false;
        while let Some(event) = stream.next().await {
            match event {
                Ok(WatchEvent::Added(o) | WatchEvent::Modified(o)) => {
                    version = o.resource_version().unwrap_or(version);
                    tell(Seen::Present(Box::new(o)));
                }
                Ok(WatchEvent::Deleted(o)) => {
                    version = o.resource_version().unwrap_or(version);
                    tell(Seen::Absent);
                }
                Ok(WatchEvent::Bookmark(b)) => version = b.metadata.resource_version,
                Ok(WatchEvent::Error(_)) => return,
                Err(_) => break,
            }
            progressed = true;
            backoff.reset();
        }
        if begun.elapsed() >= LIVED {
            backoff.reset();
        } else if !progressed {
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}
