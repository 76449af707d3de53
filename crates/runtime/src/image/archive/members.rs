//! The files of an archive: of a directory as they are, of a tar unpacked beside each other into the work directory.
//!
//! A tar is read once from front to back, because it may be compressed, and its parts refer to each other in any order.
//! Unpacked files have numbers for names, so that nothing in the archive decides where a file goes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::image::compression;
use crate::image::disk::{self, Disk, Work};
use crate::image::error::{Error, IoContext};
use crate::image::layer::{Kind, Tarball};
use crate::image::types::Progress;

/// More files than any archive of images has: three for each layer of each image.
const MOST_MEMBERS: usize = 100_000;

/// The files by name.
pub(super) enum Members {
    Directory(PathBuf),
    Tar { file: String, members: BTreeMap<String, Member> },
}

pub(super) enum Member {
    File {
        path: PathBuf,
        digest: String,
        size: u64,
    },
    /// `docker save` of old writes repeated layers as symbolic links.
    Link(String),
}

impl Members {
    pub fn open(path: &Path, work: &Work, progress: &Progress) -> Result<Self, Error> {
        let metadata = fs::metadata(path).at("opening", path)?;
        if metadata.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        progress.step(|| format!("reading {}", path.display()));
        Self::unpack(path, work)
    }

    fn unpack(path: &Path, work: &Work) -> Result<Self, Error> {
        let file = path.display().to_string();
        let wrong = |error: std::io::Error| Error::format(&file, error.to_string());
        let (_, plain) = compression::reader(File::open(path).at("opening", path)?).map_err(wrong)?;
        let mut tarball = Tarball::new(plain);
        let mut members = BTreeMap::new();
        while let Some(entry) = tarball.next().map_err(wrong)? {
            if members.len() >= MOST_MEMBERS {
                let (found, limit) = (members.len() as u64 + 1, MOST_MEMBERS as u64);
                return Err(Error::Limit { what: file, found, limit, unit: "entries" });
            }
            let Some(name) = normal("", &String::from_utf8_lossy(&entry.path)) else { continue };
            let member = match &entry.kind {
                Kind::File => {
                    let place = work.path().join(members.len().to_string());
                    let digest = copy(&mut tarball.data(), &place, &file)?;
                    Member::File { path: place, digest, size: entry.size }
                }
                Kind::Symlink(target) => {
                    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                    match normal(folder, &String::from_utf8_lossy(target)) {
                        Some(target) => Member::Link(target),
                        None => continue,
                    }
                }
                Kind::Hardlink(target) => match normal("", &String::from_utf8_lossy(target)) {
                    Some(target) => Member::Link(target),
                    None => continue,
                },
                _ => continue,
            };
            members.insert(name, member);
        }
        Ok(Self::Tar { file, members })
    }

    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Directory(root) => root.join(name).is_file(),
            Self::Tar { members, .. } => members.contains_key(name),
        }
    }

    /// The bytes of a small member that is no blob (`index.json`).
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        disk::read_limited(&self.find(name)?.0, limit)
    }

    /// The first bytes of a member, also of one that became a blob already.
    pub fn start(&self, name: &str, disk: &Disk) -> Result<Vec<u8>, Error> {
        let path = match self.find(name)? {
            (path, Some((digest, _))) if !path.exists() => disk.blob(&digest),
            (path, _) => path,
        };
        let mut bytes = Vec::new();
        File::open(&path).and_then(|f| f.take(16).read_to_end(&mut bytes)).at("reading", &path)?;
        Ok(bytes)
    }

    /// Makes the member a blob of the store; returns its digest, which must be `expected`, and its size.
    pub fn keep(
        &self,
        name: &str,
        expected: Option<&str>,
        disk: &Disk,
        work: &Work,
    ) -> Result<(String, u64), Error> {
        let (path, known) = match self.find(name) {
            Ok(found) => found,
            // Its file became a blob already, or an earlier import brought it.
            Err(error) => match expected {
                Some(digest) if disk.has_blob(digest, None) => {
                    return Ok((digest.to_owned(), length(disk, digest)?));
                }
                _ => return Err(error),
            },
        };
        let (digest, size) = match known {
            Some(known) => known,
            None => disk::digest_of_file(&path)?,
        };
        if let Some(expected) = expected.filter(|e| *e != digest) {
            let what = format!("{name} of {}", self.file());
            return Err(Error::Digest { what, expected: expected.to_owned(), found: digest });
        }
        work.pin(disk, [digest.as_str()])?;
        if !disk.has_blob(&digest, Some(size)) {
            match self {
                Self::Tar { .. } => disk.commit_blob(&path, &digest)?,
                Self::Directory(_) => {
                    let place = work.path().join(&digest["sha256:".len()..]);
                    let mut source = File::open(&path).at("opening", &path)?;
                    let copied = copy(&mut source, &place, name)?;
                    if copied != digest {
                        let what = format!("{name} of {}, which changed while it was read", self.file());
                        return Err(Error::Digest { what, expected: digest, found: copied });
                    }
                    disk.commit_blob(&place, &digest)?;
                }
            }
        }
        Ok((digest, size))
    }

    fn file(&self) -> String {
        match self {
            Self::Directory(root) => root.display().to_string(),
            Self::Tar { file, .. } => file.clone(),
        }
    }

    /// The file of a member, and its digest and size if they are known.
    fn find(&self, name: &str) -> Result<(PathBuf, Option<(String, u64)>), Error> {
        let missing = || Error::format(self.file(), format!("it has no {name}"));
        let name = normal("", name).ok_or_else(missing)?;
        match self {
            Self::Directory(root) => {
                let path = root.join(name);
                if path.is_file() { Ok((path, None)) } else { Err(missing()) }
            }
            Self::Tar { members, .. } => {
                let mut name = &name;
                // As many links as the kernel follows.
                for _ in 0..40 {
                    match members.get(name).ok_or_else(missing)? {
                        Member::File { path, digest, size } => {
                            return Ok((path.clone(), Some((digest.clone(), *size))));
                        }
                        Member::Link(target) => name = target,
                    }
                }
                Err(missing())
            }
        }
    }
}

fn length(disk: &Disk, digest: &str) -> Result<u64, Error> {
    let path = disk.blob(digest);
    fs::metadata(&path).map(|m| m.len()).at("reading", &path)
}

/// Copies to a new file; returns the digest of what was copied.
fn copy(source: &mut impl Read, place: &Path, what: &str) -> Result<String, Error> {
    let mut file = File::create(place).at("creating", place)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match source.read(&mut buffer).map_err(|e| Error::format(what, e.to_string()))? {
            0 => return Ok(disk::format_digest(hasher.finalize().as_slice())),
            n => {
                hasher.update(&buffer[..n]);
                file.write_all(&buffer[..n]).at("writing", place)?;
            }
        }
    }
}

/// A name relative to the archive's root; none if it leads out of it.
fn normal(folder: &str, name: &str) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for component in Path::new(folder).components().chain(Path::new(name).components()) {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir => drop(parts.pop()?),
            Component::Prefix(_) => return None,
        }
    }
    if parts.is_empty() { None } else { Some(parts.join("/")) }
}
