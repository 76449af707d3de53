//! Memory volumes of pods: file systems of the machine, since a daemon can be given nothing but paths.
//!
//! They lie below the node's directory for what does not survive a reboot, and what a crash leaves is taken away when the
//! runtime is opened the next time.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dunlin_runtime::{Error, Mount, SandboxId, SandboxSpec};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// The memory volumes of a runtime's sandboxes.
#[derive(Debug, Clone)]
pub struct Volumes {
    root: PathBuf,
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { operation, path: path.to_owned(), source }
}

impl Volumes {
    /// Those below `root`, which is made when it is needed.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn of(&self, id: &SandboxId) -> PathBuf {
        self.root.join(&id.0)
    }

    /// Where a mount's files are.
    pub fn source(&self, id: &SandboxId, mount: &Mount) -> PathBuf {
        match mount.memory_volume() {
            Some(name) => self.of(id).join(name),
            None => PathBuf::from(&mount.source),
        }
    }

    /// Makes those of a sandbox; one that is there is left alone.
    pub fn make(&self, spec: &SandboxSpec) -> Result<(), Error> {
        for (name, size) in &spec.memory_volumes {
            let path = self.of(&spec.id).join(name);
            fs::create_dir_all(&path).map_err(|e| failed("creating", &path, e))?;
            if is_mounted(&path) {
                continue;
            }
            let options = if *size == 0 { "mode=1777".to_owned() } else { format!("mode=1777,size={size}") };
            let options = std::ffi::CString::new(options).expect("digits hold no NUL");
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            mount("tmpfs", &path, "tmpfs", flags, Some(options.as_c_str()))
                .map_err(|e| failed("mounting a memory volume at", &path, e.into()))?;
        }
        Ok(())
    }

    /// Takes those of a sandbox away. Absent is success.
    pub fn remove(&self, id: &SandboxId) -> Result<(), Error> {
        let folder = self.of(id);
        let Ok(entries) = fs::read_dir(&folder) else { return Ok(()) };
        for path in entries.flatten().map(|entry| entry.path()) {
            // Something may still have it open for a moment; it vanishes with that.
            match unmount(&path, UnmountFlags::DETACH) {
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(failed("unmounting", &path, error.into())),
            }
            // Never what is inside: an unmount that has not worked would lose it.
            fs::remove_dir(&path).map_err(|e| failed("removing", &path, e))?;
        }
        fs::remove_dir(&folder).map_err(|e| failed("removing", &folder, e))
    }

    /// Takes away those of sandboxes that are gone.
    pub fn retain(&self, there: &BTreeSet<SandboxId>) -> Result<(), Error> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Ok(()) };
        let ids = entries.flatten().map(|e| SandboxId(e.file_name().to_string_lossy().into_owned()));
        ids.filter(|id| !there.contains(id)).try_for_each(|id| self.remove(&id))
    }
}

/// Whether mounts that are made below a path later could be seen elsewhere: whether its mount is shared, or follows one that is.
/// Source: proc_pid_mountinfo(5).
pub fn travels(mountinfo: &str, path: &Path) -> bool {
    let mut best = (0, false);
    for line in mountinfo.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let Some(point) = words.get(4).filter(|point| path.starts_with(point)) else { continue };
        // Of several at one place the last lies on top.
        if point.len() >= best.0 {
            let optional = words.iter().skip(6).take_while(|word| **word != "-");
            let mut optional = optional.map(|word| word.split(':').next().unwrap_or_default());
            best = (point.len(), optional.any(|word| matches!(word, "shared" | "master")));
        }
    }
    best.1
}

/// Whether something is mounted at a directory: it is on another device than the one above.
fn is_mounted(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|m| m.dev()).ok();
    path.parent().is_some_and(|above| device(above) != device(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_travel_where_the_innermost_says_so() {
        let info = "20 1 0:1 / / rw shared:1 - ext4 /dev/a rw\n21 20 0:2 / /data rw - ext4 /dev/b rw\n\
                    22 21 0:3 / /data/in rw master:4 - tmpfs none rw\n";
        for (path, expected) in [("/x", true), ("/data", false), ("/data/in/x", true), ("/database", true)] {
            assert_eq!(travels(info, Path::new(path)), expected, "{path}");
        }
        assert!(!travels("", Path::new("/")));
    }

    #[test]
    fn absent_is_removed() {
        let volumes = Volumes::new(PathBuf::from("/nonexistent/dunlin"));
        volumes.remove(&SandboxId("a".into())).unwrap();
        volumes.retain(&BTreeSet::new()).unwrap();
        let mount = |source: &str| Mount {
            source: source.into(),
            target: "/x".into(),
            read_only: false,
            propagation: None,
        };
        let id = SandboxId("a".into());
        assert_eq!(volumes.source(&id, &mount("tmpfs:c")), Path::new("/nonexistent/dunlin/a/c"));
        assert_eq!(volumes.source(&id, &mount("/data")), Path::new("/data"));
    }
}
