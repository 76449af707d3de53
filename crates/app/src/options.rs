//! What a role can be told: one plain struct per role, filled from the configuration file and the flags above it.
//!
//! Names are those of the flags. Values here are checked for form only, so that a wrong one ends the program with its
//! name before a port is bound; whether they make sense together is decided by the role that takes them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Where everything is kept unless told otherwise.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/dunlin";
/// Where configuration is read from unless told otherwise; need not exist.
pub const DEFAULT_CONFIG_FILE: &str = "/etc/dunlin/config.yaml";

/// `dunlin server`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct ServerOptions {
    /// The cluster's name; the host's name if absent.
    pub name: Option<String>,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The address of the API: `ADDR:PORT`.
    #[serde(deserialize_with = "address")]
    pub listen: String,
    /// Names and addresses under which others reach this server; in its certificate and its join token.
    #[serde(deserialize_with = "words")]
    pub advertise: Vec<String>,
    /// Do not run pods on this machine.
    pub no_agent: bool,
    /// The name of this machine's node; the host's name if absent.
    pub node_name: Option<String>,
    /// Labels of this machine's node, `NAME=VALUE`.
    #[serde(deserialize_with = "labels")]
    pub label: Vec<String>,
    /// Where the objects are kept.
    #[serde(deserialize_with = "parsed")]
    pub store: StoreOption,
    /// The parent to join, as a cluster.
    pub parent: Option<String>,
    /// The parent's join token.
    pub token: Option<String>,
    /// What the parent sees.
    pub expose: Expose,
    /// Where this is: a name, or `LAT,LON`.
    pub area: Option<String>,
    /// The scheduling policy.
    pub scheduler: Option<String>,
    /// Addresses of pods.
    pub cluster_cidr: String,
    /// Addresses of services.
    pub service_cidr: String,
    /// What is logged: `info`, or `info,dunlin_agent=debug`.
    pub log: String,
    /// Silence after which a node counts as lost.
    #[serde(deserialize_with = "duration")]
    pub node_grace_period: Duration,
    /// How long pods stay bound to a lost node unless they say otherwise.
    #[serde(deserialize_with = "duration")]
    pub default_toleration: Duration,
    /// The silence after which a tunnel is probed.
    #[serde(deserialize_with = "duration")]
    pub ping_interval: Duration,
    /// Registries spoken to in plain HTTP.
    #[serde(deserialize_with = "words")]
    pub insecure_registry: Vec<String>,
    /// `registry=mirror` pairs; `*=mirror` for all registries.
    #[serde(deserialize_with = "words")]
    pub registry_mirror: Vec<String>,
    /// PEM files of certificate authorities that registries may use.
    #[serde(deserialize_with = "words")]
    pub registry_ca: Vec<String>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            name: None,
            data_dir: DEFAULT_DATA_DIR.into(),
            listen: "0.0.0.0:6443".to_owned(),
            advertise: Vec::new(),
            no_agent: false,
            node_name: None,
            label: Vec::new(),
            store: StoreOption::default(),
            parent: None,
            token: None,
            expose: Expose::default(),
            area: None,
            scheduler: None,
            cluster_cidr: "10.42.0.0/16".to_owned(),
            service_cidr: "10.43.0.0/16".to_owned(),
            log: "info".to_owned(),
            node_grace_period: Duration::from_secs(40),
            default_toleration: Duration::from_secs(300),
            ping_interval: Duration::from_secs(15),
            insecure_registry: Vec::new(),
            registry_mirror: Vec::new(),
            registry_ca: Vec::new(),
        }
    }
}

/// `dunlin agent`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct AgentOptions {
    /// The server to join: `https://host:6443`.
    pub server: Option<String>,
    /// Its join token; needed once.
    pub token: Option<String>,
    /// Join a real Kubernetes cluster with this instead of a server and a token.
    pub kubeconfig: Option<PathBuf>,
    /// The node's name; the host's name if absent.
    pub node_name: Option<String>,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Labels of the node, `NAME=VALUE`.
    #[serde(deserialize_with = "labels")]
    pub label: Vec<String>,
    /// Where this is: a name, or `LAT,LON`.
    pub area: Option<String>,
    /// What is logged.
    pub log: String,
    /// Registries spoken to in plain HTTP.
    #[serde(deserialize_with = "words")]
    pub insecure_registry: Vec<String>,
    /// `registry=mirror` pairs; `*=mirror` for all registries.
    #[serde(deserialize_with = "words")]
    pub registry_mirror: Vec<String>,
    /// PEM files of certificate authorities that registries may use.
    #[serde(deserialize_with = "words")]
    pub registry_ca: Vec<String>,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self {
            server: None,
            token: None,
            kubeconfig: None,
            node_name: None,
            data_dir: DEFAULT_DATA_DIR.into(),
            label: Vec::new(),
            area: None,
            log: "info".to_owned(),
            insecure_registry: Vec::new(),
            registry_mirror: Vec::new(),
            registry_ca: Vec::new(),
        }
    }
}

/// Where a server keeps its objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StoreOption {
    /// In a file of the data directory.
    #[default]
    Sqlite,
    /// In etcd, at these `host:port`.
    Etcd(Vec<String>),
}

impl FromStr for StoreOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "sqlite" {
            return Ok(Self::Sqlite);
        }
        let endpoints: Vec<String> =
            text.strip_prefix("etcd://").unwrap_or_default().split(',').map(str::to_owned).collect();
        if endpoints.iter().any(|e| e.rsplit_once(':').is_none_or(|(h, p)| h.is_empty() || p.parse::<u16>().is_err())) {
            return Err(format!("{text:?} is neither `sqlite` nor `etcd://HOST:PORT[,HOST:PORT]`"));
        }
        Ok(Self::Etcd(endpoints))
    }
}

/// What a parent sees of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expose {
    /// One node for the whole.
    #[default]
    Cluster,
    /// Each machine.
    Nodes,
}

/// Options that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The configuration file cannot be read.
    #[error("reading the configuration file {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The configuration file is not a map of options.
    #[error("the configuration file {path} is wrong: {reason}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// A value is wrong, or a name is unknown.
    #[error("{reason} (in the flags or in {path})")]
    Value {
        /// The configuration file that was used.
        path: PathBuf,
        /// Which value, and what is wrong with it.
        reason: String,
    },
}

/// The options in the file; none if the file is the default one and absent.
pub fn read_file(path: Option<&Path>) -> Result<Map<String, Value>, OptionsError> {
    let file = path.unwrap_or(Path::new(DEFAULT_CONFIG_FILE));
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if path.is_none() && e.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(source) => return Err(OptionsError::Read { path: file.to_owned(), source }),
    };
    let syntax = |reason: String| OptionsError::Syntax { path: file.to_owned(), reason };
    match serde_saphyr::from_str::<Option<Value>>(&text).map_err(|e| syntax(e.to_string()))? {
        None => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(syntax("it must be a map of option names to values".to_owned())),
    }
}

/// The options of a role: the file's, and the flags' above them. A list given by flags replaces the file's.
pub fn load<T: DeserializeOwned>(file: Option<&Path>, flags: Map<String, Value>) -> Result<T, OptionsError> {
    let mut merged = read_file(file)?;
    merged.extend(flags);
    serde_json::from_value(Value::Object(merged)).map_err(|e| OptionsError::Value {
        path: file.unwrap_or(Path::new(DEFAULT_CONFIG_FILE)).to_owned(),
        reason: e.to_string(),
    })
}

/// A list of words, or one string of them with commas.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    let split = |text: String| text.split(',').map(|w| w.trim().to_owned()).collect::<Vec<_>>();
    let words = match Words::deserialize(deserializer)? {
        Words::One(text) => split(text),
        Words::Many(list) => list.into_iter().flat_map(split).collect(),
    };
    Ok(words.into_iter().filter(|w| !w.is_empty()).collect())
}

/// A list of `NAME=VALUE`, or a map.
fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Labels {
        Map(BTreeMap<String, String>),
        Pairs(Vec<String>),
    }
    let pairs = match Labels::deserialize(deserializer)? {
        Labels::Map(map) => map.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
        Labels::Pairs(pairs) => pairs,
    };
    match pairs.iter().find(|pair| pair.split_once('=').is_none_or(|(name, _)| name.is_empty())) {
        Some(wrong) => Err(serde::de::Error::custom(format!("label {wrong:?} is wrong: write NAME=VALUE"))),
        None => Ok(pairs),
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.parse::<SocketAddr>() {
        Ok(_) => Ok(text),
        Err(_) => Err(serde::de::Error::custom(format!("listen {text:?} is wrong: write ADDRESS:PORT, as 0.0.0.0:6443"))),
    }
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: std::fmt::Display>>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|e| serde::de::Error::custom(format!("{text:?}: {e}")))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no duration; write 90s, 15m, 24h, 500ms")))
}

/// Reads `90s`, `1h30m`, `500ms`: the way Kubernetes writes durations.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut whole = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let part = match &rest[..unit] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            "d" => Duration::from_secs(number.checked_mul(86_400)?),
            _ => return None,
        };
        whole = whole.checked_add(part)?;
        rest = &rest[unit..];
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn flags(value: Value) -> Map<String, Value> {
        value.as_object().expect("a map").clone()
    }

    #[test]
    fn defaults_are_the_contract() {
        let options: ServerOptions = serde_json::from_value(json!({})).expect("defaults");
        assert_eq!(options, ServerOptions::default());
        assert_eq!(options.listen, "0.0.0.0:6443");
        assert_eq!(options.data_dir, Path::new("/var/lib/dunlin"));
    }

    #[test]
    fn flags_stand_above_the_file() {
        let dir = std::env::temp_dir().join(format!("dunlin-options-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("directory");
        let file = dir.join("config.yaml");
        std::fs::write(&file, "name: site-a\nlisten: 127.0.0.1:7443\nlabel:\n  a: b\nadvertise: x,y\nnode-grace-period: 4s\n")
            .expect("file");
        let options: ServerOptions =
            load(Some(&file), flags(json!({"listen": "127.0.0.1:1", "store": "etcd://h:2379"}))).expect("options");
        assert_eq!(options.name.as_deref(), Some("site-a"));
        assert_eq!(options.listen, "127.0.0.1:1");
        assert_eq!(options.advertise, ["x", "y"]);
        assert_eq!(options.label, ["a=b"]);
        assert_eq!(options.node_grace_period, Duration::from_secs(4));
        assert_eq!(options.store, StoreOption::Etcd(vec!["h:2379".into()]));
        std::fs::write(&file, "nmae: x\n").expect("file");
        let error = load::<ServerOptions>(Some(&file), Map::new()).expect_err("a misspelt name");
        assert!(error.to_string().contains("nmae"), "{error}");
        assert!(load::<ServerOptions>(Some(&dir.join("absent")), Map::new()).is_err(), "a file that was named must exist");
        std::fs::remove_dir_all(&dir).expect("clean up");
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        for wrong in ["", "5", "s", "-1s", "1y", "1 s"] {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
    }
}
