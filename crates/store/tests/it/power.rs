//! Power cuts: whatever was acknowledged before the cut is there after it, and the file opens.
//!
//! A killed process is no power cut: the kernel still holds what it wrote. So this test keeps two pictures of each
//! file. A child process runs concurrent writers on a store; its `fsync` and `fdatasync` are ours, and copy the file
//! into a *shadow* folder before they return: the shadow is what a disk has promised to hold. The parent stops the
//! child at random moments. What the disk would hold then is the shadow plus any part of what was written since: each
//! block of 4 KiB may have arrived or not, one of them may be torn within, and the file may have its old length or its
//! new one. That image is opened and compared with what the child had acknowledged before it was stopped. A file that
//! was renamed has its old name or its new one until its folder was synced; so shadows go by inode, not by name.
//!
//! The seed is printed; `DUNLIN_SEED` runs one again (the moments of the cuts still differ).

use std::collections::HashMap;
use std::ffi::{c_int, c_long};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_store::sqlite::{Options, SqliteStore};
use dunlin_store::{Change, Class, Expect, Key, Scope, Store, Write};

const STORE: &str = "store.db";
/// The store's name while it is made.
const UNNAMED: &str = "store.db.new";
const WAL: &str = "store.db-wal";
/// In the shadow folder: the folder was synced while the store had its name.
const NAMED: &str = "named";
const WRITERS: u64 = 12;
const CHILDREN: u64 = 3;
const CUTS: u64 = 25;
/// So many of them fall into the making of the file.
const EARLY: u64 = 8;
const BLOCK: usize = 4096;
/// How long the simulated disk takes to keep what it was given.
const DISK: Duration = Duration::from_millis(3);

/// Where the shadows are; set in the child only.
static SHADOW: OnceLock<PathBuf> = OnceLock::new();

// SAFETY: these take the place of the C library's functions in this test binary, with the same types; they make the
// same system call.
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
    match SHADOW.get() {
        // The real disk is not part of the simulation.
        Some(folder) => match shadow(fd, folder) {
            Ok(()) => 0,
            Err(error) => panic!("the shadow cannot be made: {error}"),
        },
        // SAFETY: a system call on a number that the caller says is its file.
        None => unsafe { libc::syscall(call, fd) as c_int },
    }
}

/// Copies a file as it is now. The copy appears at once, and before the caller's `fsync` returns.
fn shadow(fd: c_int, folder: &Path) -> std::io::Result<()> {
    let file = PathBuf::from(format!("/proc/self/fd/{fd}"));
    let path = std::fs::read_link(&file)?;
    if folder.parent() == Some(&path) {
        if path.join(STORE).exists() {
            std::fs::write(folder.join(NAMED), "")?;
        }
        return Ok(());
    }
    if !path.file_name().is_some_and(|n| [STORE, UNNAMED, WAL].iter().any(|f| n == *f)) {
        return Ok(());
    }
    // As slow as flash: otherwise hardly any cut would fall between the write and the promise.
    std::thread::sleep(DISK);
    let content = std::fs::read(&file)?;
    let new = folder.join("new");
    std::fs::write(&new, content)?;
    std::fs::rename(new, folder.join(file.metadata()?.ino().to_string()))
}

/// A small generator of numbers (splitmix64): the same seed gives the same run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// What the `n`th step of a writer leaves under its key: nothing after a deletion. Both processes know it.
fn step(seed: u64, writer: u64, n: u64) -> Option<Bytes> {
    if n % 7 == 6 {
        return None;
    }
    let mut numbers = Numbers(seed ^ (writer << 32) ^ n);
    let length = numbers.below(if n.is_multiple_of(11) { 20_000 } else { 3_000 });
    let mut value = format!("{writer}:{n}:").into_bytes();
    value.extend((0..length).map(|_| numbers.next() as u8));
    Some(Bytes::from(value))
}

fn options() -> Options {
    // Small, so that checkpoints and new blocks fall into many of the cuts.
    Options { checkpoint_pages: 40, revision_block: 50, ..Options::default() }
}

/// The child: not a test of its own. Run without the variable it does nothing.
#[test]
fn child() {
    let Some(folder) = std::env::var_os("DUNLIN_POWER_FOLDER").map(PathBuf::from) else { return };
    let seed = std::env::var("DUNLIN_SEED").unwrap().parse().unwrap();
    SHADOW.set(folder.join("shadow")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(SqliteStore::open(folder.join(STORE), options()).unwrap());
        let acks = std::fs::OpenOptions::new().append(true).create(true).open(folder.join("acks")).unwrap();
        let acks = Arc::new(acks);
        let writers: Vec<_> =
            (0..WRITERS).map(|w| tokio::spawn(write_forever(store.clone(), acks.clone(), seed, w))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn write_forever(store: Arc<SqliteStore>, acks: Arc<std::fs::File>, seed: u64, writer: u64) {
    for n in 0.. {
        let change = match step(seed, writer, n) {
            Some(value) => Change::Put(Box::new(move |_| value)),
            None => Change::Delete(Box::new(|_| Bytes::new())),
        };
        let key = Key::new("pods", "n", format!("w{writer}"));
        let write = Write { key, expect: Expect::Any, class: Class::Durable, tag: None, change };
        let done = store.write(write).await.unwrap();
        // One write call per line: the parent reads whole lines.
        (&*acks).write_all(format!("{writer} {n} {}\n", done.revision).as_bytes()).unwrap();
        if n % 3 == 0 {
            let key = Key::new("leases", "n", format!("w{writer}"));
            let change = Change::Put(Box::new(|_| Bytes::new()));
            let write = Write { key, expect: Expect::Any, class: Class::Ephemeral, tag: None, change };
            let done = store.write(write).await.unwrap();
            (&*acks).write_all(format!("- - {}\n", done.revision).as_bytes()).unwrap();
        }
    }
}

#[derive(Default)]
struct Acknowledged {
    /// The last acknowledged step of each writer.
    steps: HashMap<u64, u64>,
    /// The highest revision that anybody has seen.
    revision: u64,
    lines: usize,
}

fn acknowledged(folder: &Path) -> Acknowledged {
    let mut all = Acknowledged::default();
    for line in std::fs::read_to_string(folder.join("acks")).unwrap_or_default().lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        all.revision = all.revision.max(parts[2].parse().unwrap());
        if parts[0] != "-" {
            all.steps.insert(parts[0].parse().unwrap(), parts[1].parse().unwrap());
        }
        all.lines += 1;
    }
    all
}

/// One file as a disk might hold it after the cut.
fn image(shadow: Option<Vec<u8>>, written: Vec<u8>, numbers: &mut Numbers) -> Option<Vec<u8>> {
    let arrives = [0, 50, 100][numbers.below(3) as usize];
    if shadow.is_none() && (written.is_empty() || arrives == 0) {
        return None;
    }
    let shadow = shadow.unwrap_or_default();
    let mut length = if numbers.below(2) == 0 { shadow.len() } else { written.len() };
    let mut image = vec![0; shadow.len().max(written.len())];
    image[..shadow.len()].copy_from_slice(&shadow);
    let mut torn = numbers.below(2) == 0;
    for start in (0..written.len()).step_by(BLOCK) {
        let end = (start + BLOCK).min(written.len());
        let same = shadow.get(start..end) == Some(&written[start..end]);
        if same || numbers.below(100) >= arrives {
            continue;
        }
        let end = if std::mem::take(&mut torn) {
            start + (numbers.below(8) as usize * 512).min(end - start)
        } else {
            end
        };
        image[start..end].copy_from_slice(&written[start..end]);
        length = length.max(end);
    }
    image.truncate(length);
    Some(image)
}

async fn check(folder: &Path, seed: u64, acknowledged: &Acknowledged) {
    let store = SqliteStore::open(folder.join(STORE), options()).expect("the file opens");
    assert!(store.revision() >= acknowledged.revision, "{} >= {}", store.revision(), acknowledged.revision);
    for writer in 0..WRITERS {
        let found = store.get(&Key::new("pods", "n", format!("w{writer}"))).await.unwrap().map(|e| e.value);
        // The step that was under way may have happened or not.
        let possible = match acknowledged.steps.get(&writer) {
            Some(n) => vec![step(seed, writer, *n), step(seed, writer, n + 1)],
            None => vec![None, step(seed, writer, 0)],
        };
        assert!(
            possible.contains(&found),
            "writer {writer}: acknowledged {:?}, found {:?}",
            acknowledged.steps.get(&writer),
            found.map(|v| String::from_utf8_lossy(&v[..v.len().min(12)]).into_owned()),
        );
    }
    // It goes on from there.
    let pods = Scope::resource("pods");
    let mut watch = store.watch(pods, Some(store.revision())).unwrap();
    let new = store.write(crate::file::put("new", b"x".to_vec())).await.unwrap();
    assert!(new.revision > acknowledged.revision);
    assert_eq!(watch.next().await.unwrap().revision, new.revision);
}

/// A child that is killed when this is dropped.
struct Child(std::process::Child);

impl Child {
    fn signal(&self, signal: c_int) {
        // SAFETY: a signal to our own child, which has not been waited for.
        assert_eq!(unsafe { libc::kill(self.0.id() as i32, signal) }, 0);
    }

    fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let mut status = 0;
        // SAFETY: waits for our own child, and writes into a local.
        let stopped = unsafe { libc::waitpid(self.0.id() as i32, &raw mut status, libc::WUNTRACED) };
        assert!(stopped > 0 && libc::WIFSTOPPED(status), "the child must go on writing (status {status})");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn cuts_lose_nothing_that_was_acknowledged() {
    if std::env::var_os("DUNLIN_POWER_FOLDER").is_some() {
        return;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = std::env::var("DUNLIN_SEED").map_or(now.as_nanos() as u64, |s| s.parse().unwrap());
    eprintln!("seed {seed}");
    let mut numbers = Numbers(seed);
    let (mut torn, mut early) = (0, 0);
    for _ in 0..CHILDREN {
        let folder = tempfile::tempdir().unwrap();
        let shadow = folder.path().join("shadow");
        std::fs::create_dir(&shadow).unwrap();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["power::child", "--exact", "--nocapture"])
            .env("DUNLIN_POWER_FOLDER", folder.path())
            .env("DUNLIN_SEED", seed.to_string())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let child = Child(child);
        let mut lines = 0;
        for cut in 0..CUTS {
            let wanted = if cut < EARLY { 0 } else { lines + 1 + numbers.below(300) as usize };
            let begun = Instant::now();
            loop {
                // Not to wait for anything: it makes the moment of the cut a random one.
                std::thread::sleep(Duration::from_micros(200 + numbers.below(2000)));
                let begins = [STORE, UNNAMED].iter().any(|name| folder.path().join(name).exists());
                if begins && acknowledged(folder.path()).lines >= wanted {
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "the child must go on writing");
            }
            child.stop();
            let acks = acknowledged(folder.path());
            lines = acks.lines;
            let disk = folder.path().join(format!("cut-{cut}"));
            std::fs::create_dir(&disk).unwrap();
            for file in [STORE, UNNAMED, WAL] {
                let Ok(metadata) = std::fs::metadata(folder.path().join(file)) else { continue };
                let written = std::fs::read(folder.path().join(file)).unwrap();
                let kept = std::fs::read(shadow.join(metadata.ino().to_string())).ok();
                torn += u32::from(kept.as_ref().is_some_and(|k| *k != written));
                early += u32::from(acks.lines == 0 && file != WAL);
                let unsure = file == STORE && !shadow.join(NAMED).exists() && numbers.below(2) == 0;
                if let Some(image) = image(kept, written, &mut numbers) {
                    std::fs::write(disk.join(if unsure { UNNAMED } else { file }), image).unwrap();
                }
            }
            check(&disk, seed, &acks).await;
            child.signal(libc::SIGCONT);
            std::fs::remove_dir_all(&disk).unwrap();
        }
        assert!(lines > 100, "{lines} acknowledged writes are too few to say anything");
    }
    eprintln!(
        "{} cuts, {early} before anything was acknowledged, {torn} files with unsynced parts",
        CHILDREN * CUTS
    );
    assert!(early > 0, "no cut fell into the making of the file");
    assert!(
        u64::from(torn) > CHILDREN * CUTS / 3,
        "{torn} cuts between write and fsync are too few to say anything"
    );
}
