//! What other servers on the same store do, and what this one remembers beside the store: which custom resources there
//! are, and which addresses and node ports are taken.

use std::sync::Weak;
use std::time::Duration;

use dunlin_base::error::chain;
use dunlin_store::{EventKind, Scope};

use crate::admission::claims;
use crate::custom;
use crate::server::Inner;

/// How often claims are compared with services.
const REPAIR: Duration = Duration::from_secs(300);
/// How soon a failure is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows until the server is gone.
pub async fn run(server: Weak<Inner>) {
    loop {
        let Some(strong) = server.upgrade() else { return };
        let store = strong.config.store.clone();
        let watches = (
            store.watch(Scope::resource(custom::STORED), None),
            store.watch(Scope::resource(claims::STORED), None),
        );
        let (Ok(mut definitions), Ok(mut numbers)) = watches else { return };
        // After the watches have begun, so that nothing between is missed.
        let mut without = Vec::new();
        if let Err(failure) = custom::settle(&strong).await {
            tracing::warn!(message = %failure.message, "reading the definitions of custom resources failed");
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
                event = definitions.next() => match event {
                    Ok(_) => {
                        let Some(server) = server.upgrade() else { return };
                        if let Err(failure) = custom::settle(&server).await {
                            tracing::warn!(message = %failure.message, "following custom resources failed");
                            break None;
                        }
                    }
                    Err(error) => break Some(error),
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
            Some(dunlin_store::Error::Closed) => return,
            Some(error) => tracing::info!(error = chain(&error), "following other servers begins anew"),
            None => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}
