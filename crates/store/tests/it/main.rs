//! The store from outside: the contract on every backend, and what only a file can suffer.

mod disk_full;
mod file;
mod power;

use dunlin_store::memory::MemoryStore;
use dunlin_store::sqlite::{Options, SqliteStore};
use dunlin_store::{Limits, contract};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract() {
    contract::run(MemoryStore::with_limits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicU64::new(0);
    contract::run(|limits: &Limits| {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let options = Options { limits: limits.clone(), ..Options::default() };
        SqliteStore::open(folder.path().join(format!("{n}.db")), options).unwrap()
    })
    .await;
    let path = folder.path().join("again.db");
    contract::reopen(|| SqliteStore::open(&path, Options::default()).unwrap()).await;
    // Blocks so small that they are used up all the time.
    let path = folder.path().join("small.db");
    let options = Options { revision_block: 2, checkpoint_pages: 3, ..Options::default() };
    contract::reopen(|| SqliteStore::open(&path, options.clone()).unwrap()).await;
}
