//! The store in a real etcd: its contract, what happens when etcd or the way to it fails, and who is let in.

pub mod access;
pub mod contract;
pub mod faults;
mod writers;

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};
use dunlin_store::etcd::{EtcdStore, Options};

/// How the tests' stores reach etcd: they lose patience sooner than those of servers.
fn options(endpoints: Vec<String>) -> Options {
    Options {
        request: Duration::from_secs(2),
        patience: Duration::from_secs(5),
        compact: None,
        ..Options::new(endpoints)
    }
}

async fn open(options: Options) -> Result<EtcdStore> {
    // A member that has just started may have no leader yet.
    let patient = Options { patience: Duration::from_secs(30), ..options.clone() };
    EtcdStore::open(patient).await.context("the first look")?;
    Ok(EtcdStore::open(options).await?)
}

fn on_two_threads<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(work)
}
