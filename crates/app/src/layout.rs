//! Where things lie: the data directory, its version, and the runtime directory that derives from the node's identity.
//!
//! `VERSION` guards the whole directory: a program that would read it wrongly refuses before it touches anything.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error};

/// What `VERSION` says for directories that this program reads and writes.
const VERSION: &str = "dunlin 1";

/// An opened data directory.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Opens the directory, making it if there is none.
    ///
    /// # Errors
    /// When it cannot be made or read, or has another version.
    pub fn open(root: &Path) -> Result<Self, Error> {
        private_folder(root)?;
        let file = root.join("VERSION");
        match std::fs::read_to_string(&file) {
            Ok(found) if found.trim() == VERSION => {}
            Ok(found) => {
                let found = found.trim().to_owned();
                return Err(Error::Version { path: root.to_owned(), found, expected: VERSION });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                write_atomically(&file, format!("{VERSION}\n").as_bytes(), 0o644)?;
            }
            Err(error) => return Err(error).doing(format!("reading {}", file.display())),
        }
        let root = root.canonicalize().doing(format!("resolving {}", root.display()))?;
        Ok(Self { root })
    }

    /// The data directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The server's database.
    pub fn database(&self) -> PathBuf {
        self.root.join("server/store.db")
    }

    /// The server's keys; readable by its owner only.
    pub fn keys(&self) -> PathBuf {
        self.root.join("server/pki")
    }

    /// The keys of an issuer of OpenID Connect tokens, as they were last read.
    pub fn issuer_keys(&self, url: &str) -> PathBuf {
        let name = &dunlin_pki::tls::fingerprint(url.as_bytes())[..16];
        self.root.join(format!("server/issuer-{name}.json"))
    }

    /// The key that the keys of all servers on one store are sealed with.
    pub fn cluster_key(&self) -> PathBuf {
        self.root.join("server/cluster.key")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig.yaml")
    }

    /// The join token.
    pub fn token(&self) -> PathBuf {
        self.root.join("token")
    }

    /// What the agent keeps: pods, identity, containers.
    pub fn agent(&self) -> PathBuf {
        self.root.join("agent")
    }

    /// What a container runtime of others is given, and which it is.
    pub fn cri(&self) -> PathBuf {
        self.agent().join("cri")
    }

    /// What this server's uplink has joined.
    pub fn uplink(&self) -> PathBuf {
        self.root.join("uplink/membership.json")
    }

    /// What the agent has joined.
    pub fn membership(&self) -> PathBuf {
        self.agent().join("membership.json")
    }

    /// Who this machine's node is in a real Kubernetes.
    pub fn cluster(&self) -> PathBuf {
        self.agent().join("cluster")
    }

    /// The image store.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The node's identity: eight hexadecimal digits, made once, from which every name on this machine derives.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn node_id(&self) -> Result<String, Error> {
        private_folder(&self.agent())?;
        let file = self.agent().join("id");
        if let Ok(id) = std::fs::read_to_string(&file) {
            let id = id.trim();
            if id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Ok(id.to_owned());
            }
            return Err(Error::Input(format!(
                "{} holds {id:?} instead of eight hexadecimal digits; the pods of this machine hang on it: \
                 restore it, or run `dunlin reset` and start afresh",
                file.display()
            )));
        }
        let mut bytes = [0u8; 4];
        getrandom::fill(&mut bytes)
            .map_err(|e| std::io::Error::other(e.to_string()))
            .doing("drawing the node's identity")?;
        let id = bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        write_atomically(&file, id.as_bytes(), 0o644)?;
        Ok(id)
    }
}

/// The runtime directory of a node: sockets, and files that must not survive a reboot.
pub fn run_dir(node_id: &str) -> PathBuf {
    Path::new("/run/dunlin").join(node_id)
}

/// The name of a node's cgroups.
pub fn cgroup_root(node_id: &str) -> String {
    format!("dunlin-{node_id}")
}

/// Makes a folder that only its owner can enter.
pub(crate) fn private_folder(path: &Path) -> Result<(), Error> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .doing(format!("making the directory {}", path.display()))
}

/// Writes a file so that a power cut leaves the old content or the new, never a part.
pub(crate) fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let temporary = path.with_extension("new");
        let mut file =
            std::fs::File::options().create(true).write(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| match error.kind() {
        std::io::ErrorKind::StorageFull => {
            let folder = path.parent().unwrap_or(Path::new("."));
            let doing = format!(
                "the disk is full: free some space in {}; writing {}",
                folder.display(),
                path.display()
            );
            Error::Step { doing, source: error.into() }
        }
        _ => Error::Step { doing: format!("writing {}", path.display()), source: error.into() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_directory_of_another_version() {
        let folder = tempfile::tempdir().unwrap();
        Layout::open(folder.path()).unwrap();
        Layout::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("VERSION"), "dunlin 999\n").unwrap();
        let error = Layout::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("dunlin 999") && error.contains("--data-dir"), "{error}");
    }

    #[test]
    fn keeps_the_nodes_identity() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::open(folder.path()).unwrap();
        let id = layout.node_id().unwrap();
        assert_eq!(layout.node_id().unwrap(), id);
        std::fs::write(layout.agent().join("id"), "x").unwrap();
        assert!(layout.node_id().is_err());
    }
}
