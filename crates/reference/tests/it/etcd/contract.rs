//! The suite of all stores, and what several servers may rely on.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use dunlin_reference::etcd::Etcd;
use dunlin_store::etcd::{EtcdStore, Options};
use dunlin_store::{Limits, contract};

use super::{on_two_threads, open, options};

pub fn run() -> Result<()> {
    let etcd = Etcd::local(1)?;
    let usual = options(etcd.endpoints());
    let now = |options: Options| -> EtcdStore {
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(EtcdStore::open(options)).expect("etcd answers")
        })
    };
    on_two_threads(async {
        drop(open(usual.clone()).await?);
        // Within a task, because only there a thread may block.
        let usual = usual.clone();
        tokio::spawn(async move {
            let count = AtomicU64::new(0);
            contract::run(|limits: &Limits| {
                let prefix = format!("/test-{}", count.fetch_add(1, Ordering::Relaxed));
                now(Options { prefix, limits: limits.clone(), ..usual.clone() })
            })
            .await;
            contract::shared(|| now(usual.clone())).await;
        })
        .await?;
        Ok(())
    })
}
