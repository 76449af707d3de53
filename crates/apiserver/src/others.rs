//! What other servers on the same store do, and what this one remembers beside the store: custom resources, webhooks and
//! policies, extension servers, priority levels, and which addresses and node ports are taken.

use std::sync::Weak;
use std::time::Duration;

use dunlin_base::error::chain;
use dunlin_store::{Error, EventKind, Scope};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};

use crate::admission::{claims, dynamic};
use crate::failure::Result;
use crate::resources::BUILTIN;
use crate::server::Inner;
use crate::{aggregate, custom, flow};

/// How often claims are compared with services.
const REPAIR: Duration = Duration::from_secs(300);
/// How soon a failure is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The groups whose objects this server keeps in another form in memory.
const GROUPS: [&str; 4] = [custom::GROUP, dynamic::GROUP, aggregate::local::GROUP, flow::GROUP];

/// Tells the group of every object of [`GROUPS`] that changes.
fn watches(server: &Inner) -> Result<SelectAll<BoxStream<'static, Result<&'static str, Error>>>, Error> {
    let mut all = SelectAll::new();
    let rows =
        BUILTIN.iter().filter_map(|row| Some((row, GROUPS.into_iter().find(|group| row.group == *group)?)));
    for (row, group) in rows {
        let watch = server.config.store.watch(Scope::resource(&*row.stored), None)?;
        let told = stream::unfold(watch, move |mut watch| async move {
            let event = watch.next().await.map(|_| group);
            Some((event, watch))
        });
        all.push(told.boxed());
    }
    Ok(all)
}

/// Takes over what the store says of a group.
async fn settle(server: &Inner, group: &str) -> Result<()> {
    match group {
        custom::GROUP => custom::settle(server).await,
        dynamic::GROUP => dynamic::settle(server).await,
        aggregate::local::GROUP => aggregate::settle(server).await,
        _ => flow::settle(server).await,
    }
}

/// Follows until the server is gone.
pub async fn run(server: Weak<Inner>) {
    loop {
        let Some(strong) = server.upgrade() else { return };
        let store = strong.config.store.clone();
        let numbers = store.watch(Scope::resource(claims::STORED), None);
        let (Ok(mut kept), Ok(mut numbers)) = (watches(&strong), numbers) else { return };
        // After the watches have begun, so that nothing between is missed.
        let mut without = Vec::new();
        for group in GROUPS {
            if let Err(failure) = settle(&strong, group).await {
                tracing::warn!(message = %failure.message, group, "reading what other servers wrote failed");
            }
        }
        match claims::repair(&strong, &without).await {
            Ok(found) => without = found,
            Err(failure) => {
                tracing::warn!(message = %failure.message, "comparing addresses with services failed")
            }
        }
        drop(strong);
        let mut timer = tokio::time::interval(REPAIR);
        timer.reset();
        let ended = loop {
            tokio::select! {
                event = kept.next() => match event {
                    Some(Ok(group)) => {
                        let Some(server) = server.upgrade() else { return };
                        if let Err(failure) = settle(&server, group).await {
                            tracing::warn!(message = %failure.message, group, "following other servers failed");
                            break None;
                        }
                    }
                    Some(Err(error)) => break Some(error),
                    None => return,
                },
                event = numbers.next() => match event {
                    Ok(event) => {
                        let Some(server) = server.upgrade() else { return };
                        claims::note(&server, &event.key, event.change == EventKind::Put);
                    }
                    Err(error) => break Some(error),
                },
                _ = timer.tick() => {
                    let Some(server) = server.upgrade() else { return };
                    match claims::repair(&server, &without).await {
                        Ok(found) => without = found,
                        Err(failure) => tracing::warn!(message = %failure.message, "comparing addresses with services failed"),
                    }
                }
            }
        };
        match ended {
            Some(Error::Closed) => return,
            Some(error) => tracing::info!(error = chain(&error), "following other servers begins anew"),
            None => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}
