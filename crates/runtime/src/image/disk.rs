//! The store's directory: where things lie, and how they get there whole.
//!
//! ```text
//! index.json            names -> manifest digests        lock     held for the moments in which the index changes
//! blobs/sha256/<hex>    manifests, configurations, compressed layers
//! layers/<diffid>/fs    unpacked layers, lowerdirs for overlayfs; beside it `size`
//! partial/<hex>         blobs on their way               locks/   one file per blob or layer being made
//! tmp/<n>/              work in progress: `lock` (held while its owner lives), `pins` (digests not to be collected)
//! ```
//!
//! A file or directory has its final name only after its content reached the disk, so that a power cut leaves either
//! nothing or all of it. Locks are `flock`: they end with their holder, and they work between processes and threads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::error::{Error, IoContext};
use super::reference::is_digest;

/// How often a lock that someone else holds is tried again. Whoever holds it fetches or unpacks, which takes longer.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// The directory.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Opens the directory, makes what is missing, and removes the work of owners that are gone.
    pub fn open(root: PathBuf) -> Result<Self, Error> {
        let disk = Self { root };
        let private =
            |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path).at("creating", path);
        private(&disk.root)?;
        for name in ["blobs/sha256", "layers", "partial", "locks", "tmp"] {
            private(&disk.root.join(name))?;
        }
        let guard = disk.lock()?;
        disk.live_pins(&guard)?;
        drop(guard);
        Ok(disk)
    }

    pub fn index(&self) -> PathBuf {
        self.root.join("index.json")
    }

    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub fn blob(&self, digest: &str) -> PathBuf {
        self.blobs().join(hex_of(digest))
    }

    pub fn layer(&self, diff_id: &str) -> PathBuf {
        self.layers().join(hex_of(diff_id))
    }

    pub fn partial(&self, digest: &str) -> PathBuf {
        self.partials().join(hex_of(digest))
    }

    /// The lock under which names change and things are deleted. Held for moments, never while fetching or unpacking.
    pub fn lock(&self) -> Result<Guard, Error> {
        let path = self.root.join("lock");
        let file = open_lock(&path).at("opening", &path)?;
        file.lock().at("locking", &path)?;
        Ok(Guard(file))
    }

    /// The lock of one blob or layer, if nobody holds it.
    pub fn try_lock_item(&self, name: &str) -> Result<Option<Guard>, Error> {
        let path = self.locks().join(name.replace(':', "-"));
        loop {
            let file = open_lock(&path).at("opening", &path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                Err(fs::TryLockError::Error(e)) => return Err(Error::io("locking", &path, e)),
            }
            // Garbage collection may have removed the file between opening and locking it.
            let held = file.metadata().at("reading", &path)?.ino();
            if fs::metadata(&path).is_ok_and(|now| now.ino() == held) {
                return Ok(Some(Guard(file)));
            }
        }
    }

    /// The lock of one blob or layer, waiting for whoever makes it now.
    pub async fn lock_item(&self, name: &str) -> Result<Guard, Error> {
        loop {
            if let Some(guard) = self.try_lock_item(name)? {
                return Ok(guard);
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    /// A directory for work in progress, removed when dropped.
    pub fn work(&self) -> Result<Work, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let guard = self.lock()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join("tmp").join(format!("{}-{number}", std::process::id()));
        if path.exists() {
            // The process id was used before, by a process that is gone.
            remove_tree(&path).at("removing", &path)?;
        }
        fs::DirBuilder::new().mode(0o700).create(&path).at("creating", &path)?;
        let lock_path = path.join("lock");
        let lock = open_lock(&lock_path).at("creating", &lock_path)?;
        lock.lock().at("locking", &lock_path)?;
        drop(guard);
        Ok(Work { path, _lock: lock })
    }

    /// The digests that living owners of work need; the work of dead ones is removed.
    pub fn live_pins(&self, _guard: &Guard) -> Result<Vec<String>, Error> {
        let mut pins = Vec::new();
        let tmp = self.root.join("tmp");
        for entry in fs::read_dir(&tmp).at("reading", &tmp)? {
            let path = entry.at("reading", &tmp)?.path();
            let alive = File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_err());
            if alive {
                let mut text = String::new();
                if let Ok(mut file) = File::open(path.join("pins")) {
                    file.read_to_string(&mut text).at("reading", &path)?;
                }
                pins.extend(text.lines().map(str::to_owned));
            } else {
                remove_tree(&path).at("removing", &path)?;
            }
        }
        Ok(pins)
    }

    /// Whether the blob is here, whole.
    pub fn has_blob(&self, digest: &str, size: Option<u64>) -> bool {
        fs::metadata(self.blob(digest)).is_ok_and(|m| m.is_file() && size.is_none_or(|size| m.len() == size))
    }

    /// A small blob (a manifest, a configuration), checked against its digest.
    pub fn read_blob(&self, digest: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let path = self.blob(digest);
        let bytes = read_limited(&path, limit)?;
        let found = digest_of(&bytes);
        if found != digest {
            return Err(Error::Digest {
                what: format!("blob {}", path.display()),
                expected: digest.to_owned(),
                found,
            });
        }
        Ok(bytes)
    }

    /// Keeps bytes as a blob; returns their digest.
    pub fn write_blob(&self, bytes: &[u8]) -> Result<String, Error> {
        let digest = digest_of(bytes);
        if !self.has_blob(&digest, Some(bytes.len() as u64)) {
            write_atomically(&self.blob(&digest), bytes)?;
        }
        Ok(digest)
    }

    /// Gives a whole, checked file its place as a blob. It must lie in this directory.
    pub fn commit_blob(&self, file: &Path, digest: &str) -> Result<(), Error> {
        File::open(file).and_then(|f| f.sync_all()).at("writing", file)?;
        let place = self.blob(digest);
        fs::rename(file, &place).at("renaming", file)?;
        sync_directory(&self.blobs())
    }
}

/// A held lock.
#[derive(Debug)]
pub(crate) struct Guard(#[allow(dead_code)] File);

/// Work in progress.
#[derive(Debug)]
pub(crate) struct Work {
    path: PathBuf,
    _lock: File,
}

impl Work {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps garbage collection from these digests as long as this value lives. The caller checks *afterwards* whether
    /// they are here: what was there before may have been collected meanwhile.
    pub fn pin<'a>(&self, disk: &Disk, digests: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        let path = self.path.join("pins");
        let _guard = disk.lock()?;
        let mut file = OpenOptions::new().create(true).append(true).open(&path).at("opening", &path)?;
        let lines: String = digests.into_iter().flat_map(|d| [d, "\n"]).collect();
        file.write_all(lines.as_bytes()).at("writing", &path)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "work in progress could not be removed");
        }
    }
}

/// Removes a tree, also one whose directories forbid it to their owner.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes a file beside its place and renames it, with both on disk when this returns.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let beside =
        path.with_extension(format!("new-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
        return Err(Error::io("writing", path, error));
    }
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// Makes what was renamed into or out of the directory survive a power cut.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|d| d.sync_all()).at("writing", path)
}

/// Reads a whole file that must not be larger than `limit`.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let file = File::open(path).at("opening", path)?;
    let size = file.metadata().at("reading", path)?.len();
    if size > limit {
        return Err(Error::Limit { what: path.display().to_string(), found: size, limit, unit: "bytes" });
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).at("reading", path)?;
    Ok(bytes)
}

/// `sha256:<hex>` of bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format_digest(Sha256::digest(bytes).as_slice())
}

/// `sha256:<hex>` of a file, and its size.
pub(crate) fn digest_of_file(path: &Path) -> Result<(String, u64), Error> {
    let mut file = File::open(path).at("opening", path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        match file.read(&mut buffer).at("reading", path)? {
            0 => return Ok((format_digest(hasher.finalize().as_slice()), size)),
            n => {
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
}

pub(crate) fn format_digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::from("sha256:"), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The file name of a digest. Digests are checked where they enter the program; this holds the line once more.
fn hex_of(digest: &str) -> &str {
    assert!(is_digest(digest), "a digest must have been checked before it names a file");
    &digest["sha256:".len()..]
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_of_the_dead_is_removed_and_that_of_the_living_stays() {
        let dir = tempfile::tempdir().expect("directory");
        let disk = Disk::open(dir.path().to_owned()).expect("open");
        let work = disk.work().expect("work");
        work.pin(&disk, ["sha256:aa"]).expect("pin");
        let dead = dir.path().join("tmp/1-1");
        fs::create_dir_all(dead.join("fs")).expect("dead work");
        let again = Disk::open(dir.path().to_owned()).expect("open again");
        assert!(!dead.exists());
        assert!(work.path().exists());
        let guard = again.lock().expect("lock");
        assert_eq!(again.live_pins(&guard).expect("pins"), ["sha256:aa"]);
        drop(guard);
        drop(work);
        let guard = again.lock().expect("lock");
        assert!(again.live_pins(&guard).expect("pins").is_empty());
    }

    #[test]
    fn a_blob_that_rotted_is_noticed() {
        let dir = tempfile::tempdir().expect("directory");
        let disk = Disk::open(dir.path().to_owned()).expect("open");
        let digest = disk.write_blob(b"hello").expect("write");
        assert_eq!(digest, "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        fs::write(disk.blob(&digest), b"hellO").expect("rot");
        assert!(matches!(disk.read_blob(&digest, 100), Err(Error::Digest { .. })));
        assert!(matches!(disk.read_blob(&digest, 2), Err(Error::Limit { .. })));
    }

    #[tokio::test]
    async fn an_item_is_made_by_one_at_a_time() {
        let dir = tempfile::tempdir().expect("directory");
        let disk = Disk::open(dir.path().to_owned()).expect("open");
        let guard = disk.try_lock_item("x").expect("lock").expect("free");
        assert!(disk.try_lock_item("x").expect("lock").is_none());
        fs::remove_file(disk.locks().join("x")).expect("collected");
        assert!(disk.try_lock_item("x").expect("lock").is_some(), "a new file is a new lock");
        drop(guard);
    }
}
