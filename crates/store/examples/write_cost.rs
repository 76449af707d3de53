//! What a write costs: bytes and fsyncs, for one writer and for a hundred, and at idle.
//!
//! Prints `key=value` lines. Bytes are what the process handed to the kernel (`wchar` in `/proc/self/io`); fsyncs are
//! counted in place of the C library's functions, so nothing has to be traced.

use std::ffi::{c_int, c_long};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_store::sqlite::{Options, SqliteStore};
use dunlin_store::{Change, Class, Expect, Key, Store, Write};

static SYNCS: AtomicU64 = AtomicU64::new(0);

// SAFETY: takes the place of the C library's function, with the same type, and makes the same system call.
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

fn sync(fd: c_int, call: c_long) -> c_int {
    SYNCS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: a system call on a number that the caller says is its file.
    unsafe { libc::syscall(call, fd) as c_int }
}

/// A number of `/proc/self/io` or, with `kB`, of `/proc/self/smaps_rollup`.
fn number(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(name));
    line.and_then(|l| l.trim_matches([':', ' ']).trim_end_matches(" kB").trim().parse().ok()).unwrap_or(0)
}

fn written() -> u64 {
    number("/proc/self/io", "wchar")
}

fn write(name: String, size: usize) -> Write {
    Write {
        key: Key::new("pods", "default", name),
        expect: Expect::Any,
        class: Class::Durable,
        tag: None,
        change: Change::Put(Box::new(move |revision| {
            let mut value = revision.to_string().into_bytes();
            value.resize(size, b'x');
            Bytes::from(value)
        })),
    }
}

async fn measure(store: &Arc<SqliteStore>, writers: usize, rounds: usize, size: usize) {
    let (bytes, syncs, before, begun) =
        (written(), SYNCS.load(Ordering::Relaxed), store.stats(), Instant::now());
    let tasks: Vec<_> = (0..writers)
        .map(|w| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..rounds {
                    store.write(write(format!("pod-{w}-{}", n % 10), size)).await.expect("a write");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a writer");
    }
    let (elapsed, after) = (begun.elapsed(), store.stats());
    let writes = (writers * rounds) as f64;
    let label = format!("writers_{writers}_size_{size}");
    println!("{label}_bytes_per_write={:.0}", (written() - bytes) as f64 / writes);
    println!("{label}_fsyncs_per_write={:.3}", (SYNCS.load(Ordering::Relaxed) - syncs) as f64 / writes);
    println!("{label}_batches={}", after.batches - before.batches);
    println!("{label}_checkpoints={}", after.checkpoints - before.checkpoints);
    println!("{label}_writes_per_second={:.0}", writes / elapsed.as_secs_f64());
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let path = folder.join(format!("write-cost-{}.db", std::process::id()));
    let pss = || number("/proc/self/smaps_rollup", "Pss:");
    println!("pss_before_kib={}", pss());
    let store = Arc::new(SqliteStore::open(&path, Options::default()).expect("a store"));
    println!("pss_open_kib={}", pss());
    for size in [500, 3000] {
        measure(&store, 1, 500, size).await;
        measure(&store, 100, 50, size).await;
    }
    let (bytes, syncs) = (written(), SYNCS.load(Ordering::Relaxed));
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("idle_bytes={}", written() - bytes);
    println!("idle_fsyncs={}", SYNCS.load(Ordering::Relaxed) - syncs);
    let begun = pss();
    for n in 0..10_000 {
        // Ten at a time would be quicker; this is about memory.
        store.write(write(format!("many-{n:05}"), 2000)).await.expect("a write");
    }
    println!("pss_per_1000_entries_of_2000_bytes_kib={}", (pss() - begun) / 10);
    let begun = Instant::now();
    drop(store);
    println!("close_ms={}", begun.elapsed().as_millis());
    let begun = Instant::now();
    let store = SqliteStore::open(&path, Options::default()).expect("a store");
    println!("open_11000_entries_ms={}", begun.elapsed().as_millis());
    drop(store);
    for end in ["", "-wal", "-shm"] {
        // The log is gone after an orderly close; whatever is there goes.
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
}
