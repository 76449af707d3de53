//! The names: which reference stands for which manifest. One small JSON file, replaced as a whole.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disk;
use super::error::Error;
use super::reference::{Reference, is_digest};

const VERSION: u32 = 1;
/// 64 MiB: more than 100,000 names.
const LARGEST: u64 = 64 << 20;

/// All names.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Index {
    version: u32,
    /// By normalised reference.
    pub images: BTreeMap<String, Named>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Named {
    /// The digest that the registry or the archive gave: of a manifest, or of an index of them.
    pub digest: String,
    /// The digest of the manifest for this machine.
    pub manifest: String,
    /// The digest of its configuration.
    pub id: String,
    /// Bytes of configuration and layers.
    pub size: u64,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970.
    pub last_used: u64,
    /// It came from a file: there may be no place to fetch it from again.
    pub imported: bool,
}

impl Index {
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = match disk::read_limited(path, LARGEST) {
            Ok(bytes) => bytes,
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { version: VERSION, images: BTreeMap::new() });
            }
            Err(error) => return Err(error),
        };
        let what = path.display().to_string();
        let index: Self = serde_json::from_slice(&bytes).map_err(|e| Error::format(&what, e.to_string()))?;
        if index.version != VERSION {
            return Err(Error::format(
                what,
                format!(
                    "it has version {}, this program reads {VERSION}; use the program that wrote it",
                    index.version
                ),
            ));
        }
        if let Some((name, _)) =
            index.images.iter().find(|(_, n)| ![&n.digest, &n.manifest, &n.id].iter().all(|d| is_digest(d)))
        {
            return Err(Error::format(what, format!("the digests of {name} are damaged")));
        }
        Ok(index)
    }

    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(self).map_err(|e| Error::format("the index", e.to_string()))?;
        disk::write_atomically(path, &bytes)
    }

    /// The image that the reference means: by its very name, or by digest under any tag of the same repository.
    pub fn find(&self, reference: &Reference) -> Option<(&String, &Named)> {
        if let Some(found) = self.images.get_key_value(&reference.to_string()) {
            return Some(found);
        }
        let digest = reference.digest.as_deref()?;
        let repository = reference.name();
        self.images.iter().find(|(name, named)| {
            (named.digest == digest || named.manifest == digest)
                && Reference::parse(name).is_ok_and(|other| other.name() == repository)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(c: char) -> String {
        format!("sha256:{}", c.to_string().repeat(64))
    }

    fn named(c: char) -> Named {
        Named {
            digest: digest(c),
            manifest: digest('e'),
            id: digest('f'),
            size: 1,
            created: 2,
            last_used: 3,
            imported: false,
        }
    }

    #[test]
    fn finds_by_name_and_by_digest_in_the_same_repository() {
        let mut index = Index { version: VERSION, images: BTreeMap::new() };
        index.images.insert("docker.io/library/a:1".into(), named('a'));
        let find =
            |name: &str| index.find(&Reference::parse(name).expect("name")).map(|(name, _)| name.as_str());
        assert_eq!(find("a:1"), Some("docker.io/library/a:1"));
        assert_eq!(find("a"), None);
        assert_eq!(find(&format!("a@{}", digest('a'))), Some("docker.io/library/a:1"));
        assert_eq!(find(&format!("a@{}", digest('e'))), Some("docker.io/library/a:1"));
        assert_eq!(find(&format!("b@{}", digest('a'))), None);
        assert_eq!(find(&format!("a@{}", digest('b'))), None);
    }

    #[test]
    fn survives_a_round_trip_and_refuses_damage() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("index.json");
        let mut index = Index::load(&path).expect("absent is empty");
        index.images.insert("docker.io/library/a:1".into(), named('a'));
        index.save(&path).expect("save");
        assert_eq!(Index::load(&path).expect("load"), index);
        std::fs::write(&path, r#"{"version":9,"images":{}}"#).expect("write");
        assert!(Index::load(&path).expect_err("a later version").to_string().contains("version 9"));
        std::fs::write(&path, "{").expect("write");
        assert!(Index::load(&path).is_err());
    }
}
