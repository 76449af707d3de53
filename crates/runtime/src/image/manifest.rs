//! Manifests and indexes of them (OCI image specification, Docker schema 2), and the choice of the one for this machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::reference::is_digest;

/// The largest manifest or index that is read, bytes. Registries refuse more than 4 MiB, too.
pub(crate) const LARGEST_MANIFEST: u64 = 4 << 20;
/// The largest configuration that is read, bytes.
pub(crate) const LARGEST_CONFIG: u64 = 8 << 20;
/// The most layers of an image. Overlayfs takes 500 lower directories; Docker builds at most 127 layers.
pub(crate) const MOST_LAYERS: usize = 256;
/// The most entries of an index.
const MOST_ENTRIES: usize = 4096;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// A pointer to a blob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// What a manifest is made for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_deref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// An image's manifest, in the form in which we write one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageManifest {
    pub schema_version: u32,
    pub media_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// What a manifest blob can be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Manifest {
    Image(ImageManifest),
    Index(Vec<Descriptor>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

impl Manifest {
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::format(format!("manifest of {what}"), reason);
        let raw: Raw = serde_json::from_slice(bytes).map_err(|e| wrong(&e.to_string()))?;
        if raw.schema_version != 2 {
            return Err(wrong(
                "it has another schema version than 2; build or push the image with a current tool",
            ));
        }
        let manifest = match (raw.manifests, raw.config) {
            (Some(manifests), None) => Self::Index(manifests),
            (None, Some(config)) => Self::Image(ImageManifest {
                schema_version: 2,
                media_type: raw.media_type.unwrap_or_else(|| OCI_MANIFEST.to_owned()),
                config,
                layers: raw.layers.unwrap_or_default(),
            }),
            _ => return Err(wrong("it is neither an image manifest nor an index")),
        };
        let limit = |found: usize, limit: usize, unit: &'static str| {
            let (found, limit) = (found as u64, limit as u64);
            if found <= limit {
                Ok(())
            } else {
                Err(Error::Limit { what: format!("manifest of {what}"), found, limit, unit })
            }
        };
        let digests: Vec<&str> = match &manifest {
            Self::Index(entries) => {
                limit(entries.len(), MOST_ENTRIES, "entries")?;
                entries.iter().map(|d| d.digest.as_str()).collect()
            }
            Self::Image(image) => {
                limit(image.layers.len(), MOST_LAYERS, "layers")?;
                [&image.config].into_iter().chain(&image.layers).map(|d| d.digest.as_str()).collect()
            }
        };
        match digests.into_iter().find(|d| !is_digest(d)) {
            Some(digest) => Err(wrong(&format!("{digest:?} is no sha256 digest"))),
            None => Ok(manifest),
        }
    }
}

/// What this machine runs: architecture and variant in Go's words.
pub(crate) fn host() -> Platform {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", None),
        "x86" => ("386", None),
        "aarch64" => ("arm64", Some("v8")),
        "arm" => ("arm", Some(if cfg!(target_feature = "v7") { "v7" } else { "v6" })),
        "powerpc64" => ("ppc64le", None),
        "loongarch64" => ("loong64", None),
        other => (other, None),
    };
    Platform {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        variant: variant.map(str::to_owned),
    }
}

/// The entry of an index for a machine like `host`; the best variant that it can run. WebAssembly runs anywhere and is
/// taken where nothing native is offered.
pub(crate) fn choose<'a>(entries: &'a [Descriptor], host: &Platform) -> Option<&'a Descriptor> {
    entries
        .iter()
        .filter_map(|entry| Some((score(entry.platform.as_ref()?, host)?, entry)))
        .max_by_key(|(s, _)| *s)
        .map(|(_, entry)| entry)
}

/// Whether the machine runs it, and how well it fits (more is better).
fn score(platform: &Platform, host: &Platform) -> Option<u32> {
    if platform.architecture == "wasm" {
        return Some(0);
    }
    if platform.os != host.os || platform.architecture != host.architecture {
        return None;
    }
    let number =
        |variant: &Option<String>| variant.as_deref().and_then(|v| v.strip_prefix('v')?.parse::<u32>().ok());
    match (number(&platform.variant), number(&host.variant)) {
        (None, _) => Some(50),
        (Some(variant), Some(most)) if variant <= most => Some(100 + variant),
        (Some(_), Some(_)) => None,
        // amd64/v2 and later need features that are not probed here.
        (Some(variant), None) => (variant <= 1).then_some(100),
    }
}

/// Whether an image whose configuration says this runs here. An empty architecture says nothing and passes.
pub(crate) fn runs_here(platform: &Platform, host: &Platform) -> bool {
    platform.architecture.is_empty()
        || platform.architecture == "wasm"
        || (platform.architecture == host.architecture && (platform.os.is_empty() || platform.os == host.os))
}

/// What an index offers, for an error message.
pub(crate) fn offered(entries: &[Descriptor]) -> String {
    let names: Vec<String> = entries
        .iter()
        .filter_map(|e| e.platform.as_ref())
        .filter(|p| p.os != "unknown")
        .map(Platform::to_string)
        .collect();
    if names.is_empty() { "no platforms".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(os: &str, architecture: &str, variant: Option<&str>) -> Descriptor {
        Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest: format!("sha256:{}", "a".repeat(64)),
            size: 1,
            platform: Some(Platform {
                architecture: architecture.into(),
                os: os.into(),
                variant: variant.map(Into::into),
            }),
            annotations: None,
        }
    }

    fn chosen(host: (&str, Option<&str>), entries: &[Descriptor]) -> Option<String> {
        let host =
            Platform { os: "linux".into(), architecture: host.0.into(), variant: host.1.map(Into::into) };
        choose(entries, &host).and_then(|e| e.platform.as_ref()).map(Platform::to_string)
    }

    #[test]
    fn picks_the_best_that_runs() {
        let entries = [
            entry("unknown", "unknown", None),
            entry("windows", "amd64", None),
            entry("linux", "arm", Some("v5")),
            entry("linux", "arm", Some("v6")),
            entry("linux", "arm", Some("v7")),
            entry("linux", "arm64", Some("v8")),
            entry("linux", "amd64", Some("v3")),
            entry("linux", "amd64", None),
        ];
        assert_eq!(chosen(("amd64", None), &entries).as_deref(), Some("linux/amd64"));
        assert_eq!(chosen(("arm", Some("v6")), &entries).as_deref(), Some("linux/arm/v6"));
        assert_eq!(chosen(("arm64", Some("v8")), &entries).as_deref(), Some("linux/arm64/v8"));
        assert_eq!(chosen(("riscv64", None), &entries), None);
        assert_eq!(chosen(("riscv64", None), &[entry("wasi", "wasm", None)]).as_deref(), Some("wasi/wasm"));
        assert!(!offered(&entries).contains("unknown"));
    }

    #[test]
    fn refuses_what_is_no_manifest() {
        for (json, reason) in [
            (r#"{"schemaVersion":1}"#, "schema version"),
            (r#"{"schemaVersion":2}"#, "neither"),
            (
                r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:../../etc","size":1}]}"#,
                "no sha256 digest",
            ),
            ("[]", "invalid"),
        ] {
            let error = Manifest::parse("x", json.as_bytes()).expect_err(json).to_string();
            assert!(error.contains(reason), "{json}: {error}");
        }
        let layer = format!(r#"{{"digest":"sha256:{}","size":1}}"#, "a".repeat(64));
        let many = vec![layer.clone(); MOST_LAYERS + 1].join(",");
        let json = format!(r#"{{"schemaVersion":2,"config":{layer},"layers":[{many}]}}"#);
        assert!(matches!(Manifest::parse("x", json.as_bytes()), Err(Error::Limit { .. })));
    }
}
