//! Writers that remember what they were told, and the check that it is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use dunlin_store::etcd::EtcdStore;
use dunlin_store::{Change, Class, Entry, Error, EventKind, Expect, Key, Revision, Scope, Store, Write};
use tokio::task::JoinSet;

pub const RESOURCE: &str = "configmaps";

pub fn put(name: &str, expect: Expect, value: String) -> Write {
    Write {
        key: Key::new(RESOURCE, "load", name),
        expect,
        class: Class::Durable,
        tag: None,
        change: Change::Put(Box::new(move |_| Bytes::from(value))),
    }
}

/// Counters that are raised by one, each by a writer of its own.
pub struct Writers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    running: JoinSet<Result<(String, u64, Vec<Revision>)>>,
}

impl Writers {
    /// Starts one for each store.
    pub fn start(stores: &[Arc<EtcdStore>], each: usize) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut running = JoinSet::new();
        for (n, store) in stores.iter().enumerate() {
            for m in 0..each {
                running.spawn(raise(store.clone(), format!("counter-{n}-{m}"), stop.clone(), done.clone()));
            }
        }
        Self { stop, done, running }
    }

    /// How many changes were acknowledged.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until `more` have been acknowledged from now on.
    pub async fn wait_for(&self, more: u64) -> Result<()> {
        let (from, end) = (self.done(), Instant::now() + Duration::from_secs(60));
        while self.done() < from + more {
            ensure!(Instant::now() < end, "{} of {more} changes in a minute", self.done() - from);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Ends them, and checks at `store` that all they were told is there, and that nothing was done twice, by the
    /// events since `start`.
    pub async fn check(mut self, store: &EtcdStore, start: Revision) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let mut told = BTreeMap::new();
        while let Some(ended) = self.running.join_next().await {
            let (name, last, revisions) = ended??;
            ensure!(last > 0, "{name} was never raised");
            told.insert(name, (last, revisions));
        }
        store.sync().await?;
        let mut watch = store.watch(Scope::resource(RESOURCE), Some(start))?;
        let mut seen: BTreeMap<String, Vec<(u64, Revision)>> = BTreeMap::new();
        while watch.progress() < store.revision() {
            let event = tokio::time::timeout(Duration::from_secs(20), watch.next()).await??;
            ensure!(event.change == EventKind::Put, "nothing was deleted");
            let value: u64 = std::str::from_utf8(&event.value)?.parse()?;
            seen.entry(event.key.name.to_string()).or_default().push((value, event.revision));
        }
        for (name, (last, revisions)) in told {
            let found = store.get(&Key::new(RESOURCE, "load", name.as_str())).await?;
            let value: u64 =
                std::str::from_utf8(&found.as_ref().map(|e| e.value.clone()).unwrap_or_default())?.parse()?;
            // What was not acknowledged may be there, too: one at most, since each builds on the one before.
            ensure!(value == last || value == last + 1, "{name} was raised to {last} and is {value}");
            let seen = &seen[&name];
            for (n, (value, _)) in seen.iter().enumerate() {
                ensure!(
                    *value == n as u64 + 1,
                    "{name}: change {n} says {value}: one is missing, or there twice"
                );
            }
            for revision in revisions {
                ensure!(
                    seen.iter().any(|(_, at)| *at == revision),
                    "{name}: nothing was changed at {revision}"
                );
            }
        }
        Ok(())
    }
}

async fn raise(
    store: Arc<EtcdStore>,
    name: String,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> Result<(String, u64, Vec<Revision>)> {
    let (mut last, mut revisions) = (0u64, Vec::new());
    let mut expect = Expect::Absent;
    while !stop.load(Ordering::Relaxed) {
        match store.write(put(&name, expect, (last + 1).to_string())).await {
            Ok(Entry { revision, .. }) => {
                last += 1;
                revisions.push(revision);
                expect = Expect::Revision(revision);
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::Unavailable { .. }) => {
                // Nobody knows whether it is there: look.
                let found = loop {
                    match store.get(&Key::new(RESOURCE, "load", name.as_str())).await {
                        Ok(found) => break found,
                        Err(Error::Unavailable { .. }) if !stop.load(Ordering::Relaxed) => {}
                        Err(Error::Unavailable { .. }) => return Ok((name, last, revisions)),
                        Err(other) => return Err(other.into()),
                    }
                };
                if let Some(entry) = found {
                    last = std::str::from_utf8(&entry.value)?.parse()?;
                    expect = Expect::Revision(entry.revision);
                }
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok((name, last, revisions))
}
