//! Where everything lies. One place, so that what is made and what is removed cannot drift apart.
//!
//! Below `run_dir` (gone after a reboot): sandboxes with socket, bundles, exit records. Below `data_dir` (on disk): the
//! writable layers, because they may be large, and compiled WebAssembly.

use std::path::{Path, PathBuf};

use dunlin_runtime::{ContainerId, Mount, SandboxId};

/// The runtime's directories.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Survives a reboot.
    pub data: PathBuf,
    /// Gone after a reboot.
    pub run: PathBuf,
}

impl Layout {
    /// All sandboxes.
    pub fn sandboxes(&self) -> PathBuf {
        self.run.join("sandboxes")
    }
    /// One sandbox.
    pub fn sandbox(&self, id: &SandboxId) -> Sandbox {
        Sandbox { dir: self.sandboxes().join(&id.0), layers: self.layers().join(&id.0) }
    }
    /// The writable layers of all sandboxes.
    pub fn layers(&self) -> PathBuf {
        self.data.join("containers")
    }
    /// The processes that guests share.
    pub fn hosts(&self) -> PathBuf {
        self.run.join("hosts")
    }
    /// Compiled WebAssembly.
    pub fn compiled(&self) -> PathBuf {
        self.data.join("compiled")
    }
}

/// The directories of one sandbox.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// Below `run_dir`.
    pub dir: PathBuf,
    /// Below `data_dir`.
    pub layers: PathBuf,
}

impl Sandbox {
    /// What was asked for.
    pub fn spec(&self) -> PathBuf {
        self.dir.join("spec.json")
    }
    /// libcontainer's own state.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }
    /// The pod's shared memory.
    pub fn shm(&self) -> PathBuf {
        self.dir.join("shm")
    }
    /// A memory volume.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.dir.join("volumes").join(name)
    }
    /// What a mount takes its files from.
    pub fn source(&self, mount: &Mount) -> PathBuf {
        mount.memory_volume().map_or_else(|| PathBuf::from(&mount.source), |name| self.volume(name))
    }
    /// All bundles.
    pub fn bundles(&self) -> PathBuf {
        self.dir.join("containers")
    }
    /// A container's bundle.
    pub fn bundle(&self, id: &ContainerId) -> PathBuf {
        self.bundles().join(&id.0)
    }
    /// A container's writable layer and the overlay's work directory.
    pub fn layer(&self, id: &ContainerId) -> PathBuf {
        self.layers.join(&id.0)
    }
}

/// Whether an id can be a file name of ours: letters, digits, `-`, `_` and `.`, not `.` or `..`, at most 200 bytes.
pub fn is_name(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 200
        && id != "."
        && id != ".."
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A path as text; the protocol and the OCI configuration know only UTF-8.
pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_directory() {
        for bad in ["", ".", "..", "a/b", "a\0", "ä", &"x".repeat(201)] {
            assert!(!is_name(bad), "{bad:?}");
        }
        for good in ["app-0", "6f1c1d5e-0000", "a.b_c"] {
            assert!(is_name(good), "{good:?}");
        }
    }
}
