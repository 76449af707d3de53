//! The entries of a layer's archive, one after the other, into its directory.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::root::{Root, file_type, is_whiteout, remove, stat};
use super::tarball::{Entry, Kind, Tarball};
use crate::image::error::{Error, IoContext};

/// How much a layer may unpack to. The greatest known images have some hundred thousand files and 30 GiB; what lies far
/// beyond is an archive made to fill the disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub bytes: u64,
    pub entries: u64,
    /// The deepest path, in components: removing a layer descends once per component.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 2_000_000, depth: 256 }
    }
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Marks of the union file systems of old; nothing below them is part of the image.
const AUFS: &[u8] = b".wh..wh.";
const OVERLAY_OPAQUE: &str = "trusted.overlay.opaque";

/// Unpacks the whole archive; returns the bytes of its files.
pub(crate) fn tarball<R: Read>(
    archive: &mut Tarball<R>,
    directory: &Path,
    layer: &str,
    limits: Limits,
) -> Result<u64, Error> {
    let root = Root::open(directory).at("opening", directory)?;
    let mut unpacking =
        Unpacking { root, directory, layer, limits, entries: 0, bytes: 0, directories: Vec::new() };
    unpacking.start()?;
    while let Some(entry) = archive.next().map_err(|e| unpacking.archive_error("", e))? {
        unpacking.entry(&entry, archive)?;
    }
    archive.drain().map_err(|e| unpacking.archive_error("", e))?;
    unpacking.finish()?;
    Ok(unpacking.bytes)
}

struct Unpacking<'a> {
    root: Root,
    directory: &'a Path,
    layer: &'a str,
    limits: Limits,
    entries: u64,
    bytes: u64,
    /// Their times are set at the end, because every entry below changes them.
    directories: Vec<(PathBuf, (i64, u32))>,
}

impl Unpacking<'_> {
    /// The layer's root directory, should the archive not name it.
    fn start(&self) -> Result<(), Error> {
        fs::fchmod(self.root.fd(), Mode::from_raw_mode(0o755)).at("setting the mode of", self.directory)
    }

    fn entry<R: Read>(&mut self, entry: &Entry, archive: &mut Tarball<R>) -> Result<(), Error> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(entry.size);
        self.limit(self.entries, self.limits.entries, "entries")?;
        self.limit(self.bytes, self.limits.bytes, "bytes")?;
        let path = self.clean(&entry.path)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return self.root_entry(entry);
        };
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.deletion(&path, &parent, &name, hidden);
        }
        self.make(entry, archive, &path, &parent, &name)
    }

    /// A path relative to the layer's root: `.` and `/` are dropped, `..` is refused.
    fn clean(&self, raw: &[u8]) -> Result<PathBuf, Error> {
        if raw.contains(&0) {
            return Err(self.hostile(raw, "the path contains a zero byte"));
        }
        let mut path = PathBuf::new();
        for component in Path::new(OsStr::from_bytes(raw)).components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(self.hostile(raw, "the path climbs out of the layer with `..`"));
                }
            }
        }
        let depth = path.components().count();
        self.limit(depth as u64, self.limits.depth as u64, "path components")?;
        Ok(path)
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != Kind::Directory {
            return Err(self.hostile(&entry.path, "the layer's root is no directory"));
        }
        let fd = self.root.fd();
        fs::fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
            .and_then(|()| fs::fchmod(fd, Mode::from_raw_mode(entry.mode)))
            .at("setting the owner of", self.directory)?;
        self.directories.push((PathBuf::new(), entry.mtime));
        Ok(())
    }

    /// `.wh.name`: the lower layers' `name` is not seen; `.wh..wh..opq`: nothing of theirs is seen in this directory.
    fn deletion(&mut self, path: &Path, parent: &Path, name: &OsStr, hidden: &[u8]) -> Result<(), Error> {
        let full = self.directory.join(path);
        if name.as_bytes() == OPAQUE {
            return self.opaque(parent);
        }
        if name.as_bytes().starts_with(AUFS) {
            return Ok(());
        }
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(self.hostile(path.as_os_str().as_bytes(), "the deletion mark names nothing"));
        }
        let hidden = OsString::from_vec(hidden.to_vec());
        let fd = self.parent(parent, &full, path.as_os_str().as_bytes())?;
        match stat(fd, &hidden).at("reading", &full)? {
            // The layer itself has it: what is hidden is only what lies below.
            Some(found) if file_type(&found) == FileType::Directory => self.opaque(&parent.join(&hidden)),
            Some(_) => Ok(()),
            None => fs::mknodat(fd, &hidden, FileType::CharacterDevice, Mode::empty(), 0).at("hiding", &full),
        }
    }

    fn opaque(&mut self, directory: &Path) -> Result<(), Error> {
        let full = self.directory.join(directory);
        let relative = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        self.root.directory(directory).at("opening", &full)?;
        // An O_PATH descriptor takes no attributes.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = fs::ResolveFlags::IN_ROOT | fs::ResolveFlags::NO_MAGICLINKS;
        let fd = fs::openat2(self.root.fd(), relative, flags, Mode::empty(), resolve).at("opening", &full)?;
        fs::fsetxattr(&fd, OVERLAY_OPAQUE, b"y", XattrFlags::empty()).at("marking as opaque", &full)
    }

    fn make<R: Read>(
        &mut self,
        entry: &Entry,
        archive: &mut Tarball<R>,
        path: &Path,
        parent: &Path,
        name: &OsStr,
    ) -> Result<(), Error> {
        let full = self.directory.join(path);
        if let Kind::Hardlink(target) = &entry.kind {
            return self.hardlink(target, path, parent, name);
        }
        let (layer, hostile_path) = (self.layer, entry.path.clone());
        let fd = self.parent(parent, &full, &hostile_path)?;
        let before = stat(fd, name).at("reading", &full)?;
        let mut replaced = false;
        let mut hides = false;
        let mut exists = false;
        if let Some(before) = before {
            if entry.kind == Kind::Directory && file_type(&before) == FileType::Directory {
                exists = true;
            } else {
                // A directory in the place of a deleted one shows nothing of what was below.
                hides = entry.kind == Kind::Directory && is_whiteout(&before);
                remove(fd, name).at("replacing", &full)?;
                replaced = true;
            }
        }
        let mode = Mode::from_raw_mode(entry.mode);
        match &entry.kind {
            Kind::Directory if exists => {}
            Kind::Directory => fs::mkdirat(fd, name, Mode::from_raw_mode(0o700)).at("creating", &full)?,
            Kind::File => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = fs::openat(fd, name, flags, Mode::from_raw_mode(0o600)).at("creating", &full)?;
                copy(archive, std::fs::File::from(file)).map_err(|e| match e {
                    CopyError::Read(e) => archive_error(layer, &String::from_utf8_lossy(&entry.path), e),
                    CopyError::Write(e) => Error::io("writing", &full, e),
                })?;
            }
            Kind::Symlink(target) => {
                fs::symlinkat(OsStr::from_bytes(target), fd, name).at("creating", &full)?;
            }
            Kind::Char(major, minor) => {
                fs::mknodat(fd, name, FileType::CharacterDevice, mode, fs::makedev(*major, *minor))
                    .at("creating", &full)?;
            }
            Kind::Block(major, minor) => {
                fs::mknodat(fd, name, FileType::BlockDevice, mode, fs::makedev(*major, *minor))
                    .at("creating", &full)?;
            }
            Kind::Fifo => fs::mknodat(fd, name, FileType::Fifo, mode, 0).at("creating", &full)?,
            Kind::Hardlink(_) => {}
        }
        attributes(fd, name, entry).at("setting the attributes of", &full)?;
        if replaced {
            self.root.forget();
        }
        if entry.kind == Kind::Directory {
            self.directories.push((path.to_owned(), entry.mtime));
            if hides {
                self.opaque(path)?;
            }
        }
        Ok(())
    }

    /// The directory of an entry. Files where directories should be are the archive's fault.
    fn parent(&mut self, parent: &Path, full: &Path, entry: &[u8]) -> Result<BorrowedFd<'_>, Error> {
        let layer = self.layer;
        self.root.directory(parent).map_err(|error| match error {
            Errno::NOTDIR | Errno::LOOP | Errno::XDEV => Error::HostileLayer {
                layer: layer.to_owned(),
                entry: String::from_utf8_lossy(entry).into_owned(),
                reason: "a part of the path is no directory of this layer",
            },
            error => Error::io("opening the parent of", full, error.into()),
        })
    }

    /// A hard link's target is a path of the same layer.
    fn hardlink(&mut self, target: &[u8], path: &Path, parent: &Path, name: &OsStr) -> Result<(), Error> {
        let full = self.directory.join(path);
        let target = self.clean(target)?;
        let Some(target_name) = target.file_name() else {
            return Err(self.hostile(path.as_os_str().as_bytes(), "the link's target is the layer's root"));
        };
        if target == path {
            return Ok(());
        }
        let from =
            self.parent(target.parent().unwrap_or(Path::new("")), &full, path.as_os_str().as_bytes())?;
        let found = stat(from, target_name).at("reading", &full)?;
        let from = from.try_clone_to_owned().at("opening", &full)?;
        match found {
            None => {
                return Err(
                    self.hostile(path.as_os_str().as_bytes(), "the link's target is not in the layer")
                );
            }
            Some(stat) if file_type(&stat) == FileType::Directory => {
                return Err(self.hostile(path.as_os_str().as_bytes(), "the link's target is a directory"));
            }
            Some(_) => {}
        }
        let fd = self.parent(parent, &full, path.as_os_str().as_bytes())?;
        let mut replaced = false;
        if stat(fd, name).at("reading", &full)?.is_some() {
            remove(fd, name).at("replacing", &full)?;
            replaced = true;
        }
        // Without AT_SYMLINK_FOLLOW a link to a symbolic link is a link to the link itself.
        let linked = fs::linkat(from.as_fd(), target_name, fd, name, AtFlags::empty()).at("linking", &full);
        if replaced {
            self.root.forget();
        }
        linked
    }

    fn finish(&mut self) -> Result<(), Error> {
        // Children first: what a later entry replaced is skipped.
        for (path, mtime) in std::mem::take(&mut self.directories).into_iter().rev() {
            let name = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = fs::ResolveFlags::IN_ROOT | fs::ResolveFlags::NO_MAGICLINKS;
            match fs::openat2(self.root.fd(), name, flags, Mode::empty(), resolve) {
                Ok(fd) => {
                    fs::futimens(&fd, &times(mtime)).at("setting the times of", &self.directory.join(name))?
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(Error::io("opening", &self.directory.join(name), error.into())),
            }
        }
        Ok(())
    }

    fn limit(&self, found: u64, limit: u64, unit: &'static str) -> Result<(), Error> {
        if found <= limit {
            return Ok(());
        }
        Err(Error::Limit { what: format!("layer {}", self.layer), found, limit, unit })
    }

    fn hostile(&self, entry: &[u8], reason: &'static str) -> Error {
        let entry = String::from_utf8_lossy(entry).into_owned();
        Error::HostileLayer { layer: self.layer.to_owned(), entry, reason }
    }

    fn archive_error(&self, entry: &str, error: io::Error) -> Error {
        archive_error(self.layer, entry, error)
    }
}

fn archive_error(layer: &str, entry: &str, error: io::Error) -> Error {
    let at = if entry.is_empty() { String::new() } else { format!("entry {entry:?}: ") };
    Error::format(format!("layer {layer}"), format!("{at}{error}"))
}

enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

fn copy<R: Read>(archive: &mut Tarball<R>, mut file: std::fs::File) -> Result<(), CopyError> {
    let mut buffer = [0; 32 * 1024];
    loop {
        match archive.data().read(&mut buffer).map_err(CopyError::Read)? {
            0 => return Ok(()),
            n => io::Write::write_all(&mut file, &buffer[..n]).map_err(CopyError::Write)?,
        }
    }
}

/// Owner, mode, extended attributes, times; in this order, because a change of owner clears set-id bits and capabilities.
fn attributes(parent: BorrowedFd<'_>, name: &OsStr, entry: &Entry) -> rustix::io::Result<()> {
    fs::chownat(
        parent,
        name,
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    let is_link = matches!(entry.kind, Kind::Symlink(_));
    if !is_link {
        // The name was made just now and nobody else is in this directory, so that it is no symbolic link.
        fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    if matches!(entry.kind, Kind::File | Kind::Directory) {
        let wanted = |name: &str| name == "security.capability" || name.starts_with("user.");
        if entry.xattrs.iter().any(|(name, _)| wanted(name)) {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = fs::openat(parent, name, flags, Mode::empty())?;
            for (attribute, value) in entry.xattrs.iter().filter(|(name, _)| wanted(name)) {
                match fs::fsetxattr(&fd, attribute.as_str(), value, XattrFlags::empty()) {
                    // Some file systems keep no user attributes; images do without them.
                    Err(Errno::OPNOTSUPP) if attribute.starts_with("user.") => {}
                    other => other?,
                }
            }
        }
    }
    if entry.kind != Kind::Directory {
        fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
