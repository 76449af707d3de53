//! An image's configuration: how its containers start, and which layers it is made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::error::Error;

/// The file in which a layer that is a WebAssembly module or component lies.
pub(crate) const MODULE: &str = "module.wasm";

/// How containers of the image start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The first words of the command.
    pub entrypoint: Vec<String>,
    /// The rest of the command, or all of it without an entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value` pairs, split.
    pub env: Vec<(String, String)>,
    /// `user`, `uid`, `user:group`, `uid:gid`, or empty for root.
    pub user: String,
    /// The working directory; empty means `/`.
    pub working_dir: String,
    /// The signal that asks its process to end (`SIGQUIT`, `15`).
    pub stop_signal: Option<String>,
    /// `80/tcp`, sorted.
    pub exposed_ports: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Paths that the image declares as volumes, sorted.
    pub volumes: Vec<String>,
}

impl ImageConfig {
    /// Reads it out of an image's configuration as OCI describes it. `what` names that in errors.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Self, Error> {
        ConfigBlob::parse(what, bytes).map(|blob| blob.config)
    }
}

/// What the store reads of the configuration blob.
#[derive(Debug, Clone)]
pub(crate) struct ConfigBlob {
    pub config: ImageConfig,
    pub architecture: String,
    pub os: String,
    pub variant: Option<String>,
    /// The layers' digests when uncompressed, lowest first.
    pub diff_ids: Vec<String>,
}

impl ConfigBlob {
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Self, Error> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|e| Error::format(what, e.to_string()))?;
        let mut inner = raw.config.unwrap_or_default();
        let diff_ids = match (raw.rootfs, raw.layer_digests) {
            (Some(rootfs), _) => rootfs.diff_ids,
            (None, Some(layers)) => {
                inner.entrypoint = vec![format!("/{MODULE}")];
                layers
            }
            (None, None) => {
                let reason = "it has neither `rootfs`, as an image's configuration, nor `layerDigests`, as a Wasm artifact's";
                return Err(Error::format(what, reason));
            }
        };
        let env = inner
            .env
            .into_iter()
            .map(|pair| match pair.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => (pair, String::new()),
            })
            .collect();
        Ok(Self {
            config: ImageConfig {
                entrypoint: inner.entrypoint,
                cmd: inner.cmd,
                env,
                user: inner.user,
                working_dir: inner.working_dir,
                stop_signal: inner.stop_signal.filter(|s| !s.is_empty()),
                exposed_ports: inner.exposed_ports.into_keys().collect(),
                labels: inner.labels,
                volumes: inner.volumes.into_keys().collect(),
            },
            architecture: raw.architecture,
            os: raw.os,
            variant: raw.variant,
            diff_ids,
        })
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default, deserialize_with = "nullable")]
    architecture: String,
    #[serde(default, deserialize_with = "nullable")]
    os: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    config: Option<RawConfig>,
    #[serde(default)]
    rootfs: Option<RootFs>,
    /// Of a Wasm artifact (`application/vnd.wasm.config.v0+json`): its layers are modules as they are.
    #[serde(default, rename = "layerDigests")]
    layer_digests: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "nullable")]
    diff_ids: Vec<String>,
}

/// Builders write `null` for what is empty, so every field takes it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    #[serde(deserialize_with = "nullable")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    env: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    user: String,
    #[serde(deserialize_with = "nullable")]
    working_dir: String,
    stop_signal: Option<String>,
    #[serde(deserialize_with = "nullable")]
    exposed_ports: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    volumes: BTreeMap<String, serde_json::Value>,
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_nulls_and_fields() {
        let json = br#"{"architecture":"amd64","os":"linux","config":{"Entrypoint":null,"Cmd":["sh","-c"],"Env":["A=b=c","D"],
            "User":"1000:1000","WorkingDir":"/w","StopSignal":"SIGQUIT","ExposedPorts":{"80/tcp":{}},"Labels":null,"Volumes":{"/v":{}}},
            "rootfs":{"type":"layers","diff_ids":["sha256:aa"]}}"#;
        let blob = ConfigBlob::parse("test", json).expect("config");
        assert_eq!(blob.config.cmd, ["sh", "-c"]);
        assert_eq!(blob.config.env, [("A".into(), "b=c".into()), ("D".into(), String::new())]);
        assert_eq!(blob.config.exposed_ports, ["80/tcp"]);
        assert_eq!(blob.config.volumes, ["/v"]);
        assert_eq!(blob.config.stop_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(blob.diff_ids, ["sha256:aa"]);
        assert!(ConfigBlob::parse("test", b"{}").is_err());
    }

    #[test]
    fn a_wasm_artifact_starts_its_module() {
        let json = br#"{"created":"2026-01-01T00:00:00Z","architecture":"wasm","os":"wasip2","layerDigests":["sha256:aa"],
            "component":{"exports":["wasi:cli/run@0.2.0"],"imports":[]}}"#;
        let blob = ConfigBlob::parse("test", json).expect("config");
        assert_eq!(
            (blob.config.entrypoint, blob.diff_ids),
            (vec!["/module.wasm".into()], vec!["sha256:aa".into()])
        );
        assert_eq!((blob.architecture.as_str(), blob.os.as_str()), ("wasm", "wasip2"));
    }
}
