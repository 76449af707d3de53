//! Power cuts: whatever was acknowledged before the cut is there after it, and the file opens.
//!
//! A killed process is no power cut: the kernel still holds what it wrote. So this test keeps two pictures of each
//! file. A child process runs concurrent writers on a store; its `fsync` and `fdatasync` are ours, and copy the file
//! into a *shadow* folder before they return: the shadow is what a disk has promised to hold. The parent stops the
//! child at random moments. What the disk would hold then is the shadow plus any part of what was written since: each
//! block of 4 KiB may have arrived or not, one of them may be torn within, and the file may have its old length or its
//! new one. That image is opened and compared with what the child had acknowledged before it was stopped.
//!
//! The seed is printed; `DUNLIN_SEED` runs one again (the moments of the cuts still differ).

use std::collections::HashMap;
use std::ffi::{c_int, c_long};
use std::io::Write as _;
use std::os::fd::FromRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_store::sqlite::{Options, SqliteStore};
use dunlin_store::{Change, Class, Expect, Key, Scope, Store, Write};

const FILES: [&str; 2] = ["store.db", "store.db-wal"];
const WRITERS: u64 = 12;
const CHILDREN: u64 = 3;
const CUTS: u64 = 25;
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
    let path = std::fs::read_link(format!("/proc/self/fd/{fd}"))?;
    let Some(name) = path.file_name().filter(|n| FILES.iter().any(|f| n == f)) else { return Ok(()) };
    // SAFETY: the file stays the caller's; `ManuallyDrop` keeps it open.
    let file = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(fd) });
    // As slow as flash: otherwise hardly any cut would fall between the write and the promise.
    std::thread::sleep(DISK);
    let mut content = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
    std::os::unix::fs::FileExt::read_exact_at(&*file, &mut content, 0)?;
    let new = folder.join("new");
    std::fs::write(&new, content)?;
    std::fs::rename(new, folder.join(name))
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
        let store = Arc::new(SqliteStore::open(folder.join(FILES[0]), options()).unwrap());
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
    // A cut while the file is being made, before anything was promised, may leave half a header: docs/limits.md.
    if acknowledged.lines == 0 {
        return;
    }
    let store = SqliteStore::open(folder.join(FILES[0]), options()).expect("the file opens");
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
    let mut torn = 0;
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
            // The first cuts fall into the making of the file.
            let wanted = if cut < 3 { 0 } else { lines + 1 + numbers.below(300) as usize };
            let begun = Instant::now();
            while acknowledged(folder.path()).lines < wanted {
                assert!(begun.elapsed() < Duration::from_secs(60), "the child must go on writing");
                std::thread::sleep(Duration::from_micros(200 + numbers.below(2000)));
            }
            child.stop();
            let acks = acknowledged(folder.path());
            lines = acks.lines;
            let disk = folder.path().join(format!("cut-{cut}"));
            std::fs::create_dir(&disk).unwrap();
            for file in FILES {
                let written = std::fs::read(folder.path().join(file)).unwrap_or_default();
                let kept = std::fs::read(shadow.join(file)).ok();
                torn += u32::from(kept.as_ref().is_some_and(|k| *k != written));
                if let Some(image) = image(kept, written, &mut numbers) {
                    std::fs::write(disk.join(file), image).unwrap();
                }
            }
            child.signal(libc::SIGCONT);
            check(&disk, seed, &acks).await;
            std::fs::remove_dir_all(&disk).unwrap();
        }
        assert!(lines > 100, "{lines} acknowledged writes are too few to say anything");
    }
    eprintln!("{} cuts, {torn} files with unsynced parts", CHILDREN * CUTS);
    assert!(
        u64::from(torn) > CHILDREN * CUTS / 3,
        "{torn} cuts between write and fsync are too few to say anything"
    );
}
