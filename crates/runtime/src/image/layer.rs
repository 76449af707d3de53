//! Unpacking a layer, once, into a directory that overlayfs takes as a lower directory.
//!
//! The archive comes from anyone. Every path is resolved by the kernel inside the layer's directory as in a `chroot`
//! (`openat2` with `RESOLVE_IN_ROOT`), so that neither `..` nor a symbolic link leads out; nothing is ever opened
//! through the last component of a path; attributes that would steer overlayfs are not taken from archives.
//! Deletions (`.wh.name`, `.wh..wh..opq`) become overlayfs' own marks: a character device 0:0, and `trusted.overlay.opaque`.

mod root;
mod tarball;
mod unpack;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::compression;
use super::config::MODULE;
use super::disk::{self, Disk, Work};
use super::error::{Error, IoContext};

pub(crate) use tarball::{Kind, Tarball};
pub(crate) use unpack::Limits;

/// How WebAssembly begins; an archive cannot.
const WASM: &[u8] = b"\0asm";
/// Beside a layer's `fs`: how many bytes its files have. It is written last, before the directory gets its name.
const SIZE_FILE: &str = "size";

/// The directory of an unpacked layer, if it is here.
pub(crate) fn unpacked(disk: &Disk, diff_id: &str) -> Option<PathBuf> {
    let layer = disk.layer(diff_id);
    layer.join(SIZE_FILE).exists().then(|| layer.join("fs"))
}

/// Bytes of an unpacked layer's files.
pub(crate) fn unpacked_size(directory: &Path) -> u64 {
    fs::read_to_string(directory.join(SIZE_FILE)).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0)
}

/// Unpacks a blob, checks that its plain bytes are what the configuration promised, and gives the layer its place.
/// The caller holds the layer's lock; this blocks.
pub(crate) fn unpack(
    disk: &Disk,
    work: &Work,
    blob: &Path,
    diff_id: &str,
    limits: Limits,
) -> Result<PathBuf, Error> {
    if let Some(ready) = unpacked(disk, diff_id) {
        return Ok(ready);
    }
    let place = disk.layer(diff_id);
    let new = work.path().join(place.file_name().unwrap_or_default());
    disk::remove_tree(&new).at("removing", &new)?;
    let result = unpack_into(&new, blob, diff_id, limits).and_then(|()| {
        // A directory without its marker is left from a program that did not write whole ones.
        disk::remove_tree(&place).at("removing", &place)?;
        fs::rename(&new, &place).at("renaming", &new)?;
        disk::sync_directory(&disk.layers())
    });
    if let Err(error) = result {
        // The space is needed more than the half layer; the first error is the one to tell.
        let _ = disk::remove_tree(&new);
        return Err(error);
    }
    Ok(place.join("fs"))
}

fn unpack_into(new: &Path, blob: &Path, diff_id: &str, limits: Limits) -> Result<(), Error> {
    let root = new.join("fs");
    fs::create_dir_all(&root).at("creating", &root)?;
    let file = File::open(blob).at("opening", blob)?;
    let (_, plain) = compression::reader(file).at("reading", blob)?;
    let hasher = Arc::new(Mutex::new(Sha256::new()));
    let mut hashed = Hashed { source: plain, hasher: hasher.clone() };
    let mut first = Vec::new();
    hashed.by_ref().take(WASM.len() as u64).read_to_end(&mut first).at("reading", blob)?;
    let module = first == WASM;
    let whole = io::Cursor::new(first).chain(hashed);
    let bytes = match module {
        true => unpack_module(whole, &root, blob, limits)?,
        false => unpack::tarball(&mut Tarball::new(whole), &root, diff_id, limits)?,
    };
    let found = match hasher.lock() {
        Ok(hasher) => disk::format_digest(hasher.clone().finalize().as_slice()),
        Err(_) => String::new(),
    };
    if found != diff_id {
        return Err(Error::Digest {
            what: format!("unpacked layer {}", blob.display()),
            expected: diff_id.to_owned(),
            found,
        });
    }
    let marker = new.join(SIZE_FILE);
    fs::write(&marker, bytes.to_string()).at("writing", &marker)?;
    // One call for the whole file system: a layer has thousands of files, and each fsync would cost a disk flush.
    let directory = File::open(new).at("opening", new)?;
    rustix::fs::syncfs(&directory).at("writing", new)
}

/// A layer that is no archive, but a module itself: the only file of its directory.
fn unpack_module(mut module: impl Read, root: &Path, blob: &Path, limits: Limits) -> Result<u64, Error> {
    let path = root.join(MODULE);
    let mut file = File::create(&path).at("creating", &path)?;
    let bytes = io::copy(&mut module.by_ref().take(limits.bytes + 1), &mut file).at("writing", &path)?;
    if bytes > limits.bytes {
        let what = format!("layer {}", blob.display());
        return Err(Error::Limit { what, found: bytes, limit: limits.bytes, unit: "bytes" });
    }
    Ok(bytes)
}

/// Hashes what passes.
struct Hashed<R> {
    source: R,
    hasher: Arc<Mutex<Sha256>>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        if let Ok(mut hasher) = self.hasher.lock() {
            hasher.update(&buffer[..n]);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests;
