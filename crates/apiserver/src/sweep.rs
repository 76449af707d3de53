//! Keeps Events within their bounds: an hour, and a number of them. They are news, not state.

use std::sync::Weak;
use std::time::Duration;

use jiff::Timestamp;

use crate::failure::Result;
use crate::object::text;
use crate::resources::known;
use crate::server::Inner;
use crate::time;

const EVERY: Duration = Duration::from_secs(30);

/// Sweeps until the server is gone.
pub async fn run(server: Weak<Inner>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(server) = server.upgrade() else { return };
        if let Err(failure) = sweep(&server, Timestamp::now()).await {
            tracing::warn!(message = %failure.message, "sweeping events failed");
        }
    }
}

/// Removes Events that are too old, and the oldest of those that are too many.
pub async fn sweep(server: &Inner, now: Timestamp) -> Result<()> {
    let resource = known("", "events");
    let limits = &server.config.limits;
    let page = server.config.store.list(&resource.scope(None), None, 0, None).await;
    let page = page.map_err(|e| crate::handlers::storage::failed(resource, "", e))?;
    let mut entries = page.items;
    entries.sort_by_key(|e| e.revision);
    let surplus = entries.len().saturating_sub(limits.events);
    for (i, entry) in entries.iter().enumerate() {
        let value = crate::handlers::storage::parse(&entry.value)?;
        let last = ["lastTimestamp", "eventTime"]
            .iter()
            .map(|f| text(&value, &[f]))
            .chain([
                text(&value, &["series", "lastObservedTime"]),
                text(&value, &["metadata", "creationTimestamp"]),
            ])
            .filter_map(time::parse)
            .max();
        let old = last.is_none_or(|t| time::between(t, now) > limits.event_ttl.as_secs() as i64);
        if i < surplus || old {
            // A concurrent change keeps it, and the next sweep looks again.
            let _ = server.remove(resource, entry, value).await;
        }
    }
    Ok(())
}
