//! A directory that nothing gets out of: every operation names a path inside it, and the kernel resolves it there.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::{Errno, Result};

/// The directory.
pub(crate) struct Root {
    fd: OwnedFd,
    /// The directory opened last: archives list a directory's files together.
    last: Option<(PathBuf, OwnedFd)>,
}

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Root {
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: fs::open(path, flags, Mode::empty())?, last: None })
    }

    /// The directory itself.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens a directory inside, following symbolic links as if this were `/`; makes it and its parents if they are missing.
    pub fn directory(&mut self, path: &Path) -> Result<BorrowedFd<'_>> {
        if path.as_os_str().is_empty() {
            return Ok(self.fd.as_fd());
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let opened = match fs::openat2(&self.fd, path, DIRECTORY, Mode::empty(), IN_ROOT) {
                Err(Errno::NOENT) => self.make(path)?,
                other => other?,
            };
            self.last = Some((path.to_owned(), opened));
        }
        match &self.last {
            Some((_, fd)) => Ok(fd.as_fd()),
            None => Ok(self.fd.as_fd()),
        }
    }

    /// Forgets the directory opened last; needed when something was removed that may have led to it.
    pub fn forget(&mut self) {
        self.last = None;
    }

    fn make(&self, path: &Path) -> Result<OwnedFd> {
        let mut walked = PathBuf::new();
        for component in path.components() {
            walked.push(component);
            if let Err(Errno::NOENT) = fs::openat2(&self.fd, &walked, DIRECTORY, Mode::empty(), IN_ROOT) {
                let parent = match walked.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent,
                    _ => Path::new("."),
                };
                let parent = fs::openat2(&self.fd, parent, DIRECTORY, Mode::empty(), IN_ROOT)?;
                match fs::mkdirat(&parent, component.as_os_str(), Mode::from_raw_mode(0o755)) {
                    // A symbolic link that leads to nothing in this layer.
                    Err(Errno::EXIST) => return Err(Errno::NOTDIR),
                    other => other?,
                }
            }
        }
        fs::openat2(&self.fd, path, DIRECTORY, Mode::empty(), IN_ROOT)
    }
}

/// What stands at a name, not following it.
pub(crate) fn stat(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Stat>> {
    match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether it is overlayfs' mark of a deleted name.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Removes whatever stands at a name. Directories are emptied first, never through a symbolic link.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = fs::openat(parent, name, flags, Mode::empty())?;
            let mut entries = Vec::new();
            for entry in fs::Dir::read_from(&directory)? {
                let entry = entry?;
                let entry = entry.file_name().to_bytes();
                if entry != b"." && entry != b".." {
                    entries.push(entry.to_vec());
                }
            }
            for entry in entries {
                remove(directory.as_fd(), OsStr::from_bytes(&entry))?;
            }
            fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
        }
        Err(error) => Err(error),
    }
}
