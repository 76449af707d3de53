//! What is read of CRI's answers. Numbers of fields: `runtime/v1/api.proto` of `k8s.io/cri-api`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dunlin_grpc::wire::{Malformed, Message, Value, fields};

/// Names and values, as labels and annotations are.
pub type Map = BTreeMap<String, String>;

/// A sandbox in a list.
#[derive(Debug, Clone, Default)]
pub struct Sandbox {
    pub id: String,
    pub ready: bool,
    /// Nanoseconds since 1970.
    pub created: i64,
    pub labels: Map,
    pub annotations: Map,
}

/// What a container does, in CRI's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Created,
    Running,
    Exited,
    /// The daemon has lost it.
    Unknown,
}

/// A container in a list.
#[derive(Debug, Clone, Default)]
pub struct Container {
    pub id: String,
    pub state: State,
    pub labels: Map,
    pub annotations: Map,
}

/// A container by itself.
#[derive(Debug, Clone, Default)]
pub struct Status {
    pub state: State,
    pub started: i64,
    pub finished: i64,
    pub exit_code: i32,
    pub reason: String,
    /// The first process as the host numbers it; 0 if the daemon does not say.
    pub pid: u32,
}

/// An image.
#[derive(Debug, Clone, Default)]
pub struct Image {
    pub id: String,
    pub digests: Vec<String>,
    pub size: u64,
    /// Its configuration as JSON; empty if the daemon does not say.
    pub config: String,
}

/// How the daemon is.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// What is not as it should be.
    pub troubles: Vec<String>,
    /// The handlers that it has, if it says so.
    pub handlers: Option<Vec<String>>,
}

/// What a container uses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub cpu_nanoseconds: u64,
    pub memory_working_set: u64,
    pub memory_usage: u64,
}

/// A selector of labels, in a filter whose field for it is `field`.
pub fn selector(field: u32, labels: &[(&str, &str)]) -> Message {
    Message::default().map(field, labels.iter().copied())
}

/// A moment.
pub fn time(nanoseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

/// Puts a pair into a map.
fn put(map: &mut Map, value: Value) -> Result<(), Malformed> {
    let (key, value) = value.pair()?;
    map.insert(key, value);
    Ok(())
}

/// The text in the field `wanted` of an answer: an id, or a URL.
pub fn text(answer: Bytes, wanted: u32) -> Result<String, Malformed> {
    let mut found = String::new();
    fields(answer, |field, value| {
        if field == wanted {
            found = value.text();
        }
        Ok(())
    })?;
    Ok(found)
}

/// A message whose field 1 wraps an unsigned number.
fn wrapped(value: Value) -> Result<u64, Malformed> {
    let mut found = 0;
    fields(value.bytes(), |field, value| {
        if field == 1 {
            found = value.int().cast_unsigned();
        }
        Ok(())
    })?;
    Ok(found)
}

impl State {
    fn of(number: i64) -> Self {
        match number {
            0 => Self::Created,
            1 => Self::Running,
            2 => Self::Exited,
            _ => Self::Unknown,
        }
    }
}

/// The answer to `ListPodSandbox`.
pub fn sandboxes(answer: Bytes) -> Result<Vec<Sandbox>, Malformed> {
    let mut all = Vec::new();
    fields(answer, |field, value| {
        if field == 1 {
            let mut one = Sandbox { ready: true, ..Sandbox::default() };
            fields(value.bytes(), |field, value| {
                match field {
                    1 => one.id = value.text(),
                    3 => one.ready = value.int() == 0,
                    4 => one.created = value.int(),
                    5 => put(&mut one.labels, value)?,
                    6 => put(&mut one.annotations, value)?,
                    _ => {}
                }
                Ok(())
            })?;
            all.push(one);
        }
        Ok(())
    })?;
    Ok(all)
}

/// The field `info` of a verbose answer, in which daemons say more than CRI has words for.
pub fn info(answer: Bytes, wanted: u32) -> Result<Map, Malformed> {
    let mut info = Map::new();
    fields(answer, |field, value| if field == wanted { put(&mut info, value) } else { Ok(()) })?;
    Ok(info)
}

/// The answer to `ListContainers`.
pub fn containers(answer: Bytes) -> Result<Vec<Container>, Malformed> {
    let mut all = Vec::new();
    fields(answer, |field, value| {
        if field == 1 {
            let mut one = Container::default();
            fields(value.bytes(), |field, value| {
                match field {
                    1 => one.id = value.text(),
                    6 => one.state = State::of(value.int()),
                    8 => put(&mut one.labels, value)?,
                    9 => put(&mut one.annotations, value)?,
                    _ => {}
                }
                Ok(())
            })?;
            all.push(one);
        }
        Ok(())
    })?;
    Ok(all)
}

/// The answer to `ContainerStatus`.
pub fn status(answer: Bytes) -> Result<Status, Malformed> {
    let mut found = Status::default();
    let mut more = Map::new();
    fields(answer, |field, value| match field {
        1 => fields(value.bytes(), |field, value| {
            match field {
                3 => found.state = State::of(value.int()),
                5 => found.started = value.int(),
                6 => found.finished = value.int(),
                // Written as 64 bits, of which 32 count.
                7 => found.exit_code = value.int() as i32,
                10 => found.reason = value.text(),
                _ => {}
            }
            Ok(())
        }),
        2 => put(&mut more, value),
        _ => Ok(()),
    })?;
    found.pid = u32::try_from(json(&more)["pid"].as_u64().unwrap_or(0)).unwrap_or(0);
    Ok(found)
}

/// What `info` has under its usual name; nothing if it is no JSON.
pub fn json(info: &Map) -> serde_json::Value {
    info.get("info").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The path of the network namespace in a sandbox's `info`, as both containerd and CRI-O tell it.
pub fn network_namespace(info: &Map) -> Option<String> {
    let json = json(info);
    let all = json["runtimeSpec"]["linux"]["namespaces"].as_array()?;
    let network = all.iter().find(|n| n["type"] == "network")?;
    network["path"].as_str().filter(|path| !path.is_empty()).map(str::to_owned)
}

/// The answer to `ImageStatus`; `None` when there is no such image.
pub fn image(answer: Bytes) -> Result<Option<Image>, Malformed> {
    let mut found = Image::default();
    let mut more = Map::new();
    fields(answer, |field, value| match field {
        1 => fields(value.bytes(), |field, value| {
            match field {
                1 => found.id = value.text(),
                3 => found.digests.push(value.text()),
                4 => found.size = value.int().cast_unsigned(),
                _ => {}
            }
            Ok(())
        }),
        2 => put(&mut more, value),
        _ => Ok(()),
    })?;
    let config = &json(&more)["imageSpec"];
    if config.is_object() {
        found.config = config.to_string();
    }
    Ok(Some(found).filter(|image| !image.id.is_empty()))
}

/// The answer to a verbose `Status`.
pub fn health(answer: Bytes) -> Result<Health, Malformed> {
    let mut health = Health::default();
    let mut more = Map::new();
    let mut handlers = Vec::new();
    fields(answer, |field, value| match field {
        1 => fields(value.bytes(), |_, value| {
            let (mut name, mut good, mut why) = (String::new(), false, String::new());
            fields(value.bytes(), |field, value| {
                match field {
                    1 => name = value.text(),
                    2 => good = value.int() != 0,
                    4 => why = value.text(),
                    _ => {}
                }
                Ok(())
            })?;
            if !good && matches!(name.as_str(), "RuntimeReady" | "NetworkReady") {
                health.troubles.push(format!("{name} is false: {why}"));
            }
            Ok(())
        }),
        2 => put(&mut more, value),
        3 => text(value.bytes(), 1).map(|name| handlers.push(name)),
        _ => Ok(()),
    })?;
    // containerd before 2.0 has them only in its configuration, which it shows.
    let shown = more.get("config").and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let shown = shown.as_ref().and_then(|config| config["containerd"]["runtimes"].as_object());
    health.handlers = match shown {
        _ if !handlers.is_empty() => Some(handlers),
        Some(runtimes) => Some(runtimes.keys().cloned().collect()),
        None => None,
    };
    Ok(health)
}

/// The answer to `ContainerStats`.
pub fn usage(answer: Bytes) -> Result<Usage, Malformed> {
    let mut usage = Usage::default();
    fields(answer, |_, stats| {
        fields(stats.bytes(), |field, value| match field {
            2 => fields(value.bytes(), |field, value| {
                if field == 2 {
                    usage.cpu_nanoseconds = wrapped(value)?;
                }
                Ok(())
            }),
            3 => fields(value.bytes(), |field, value| {
                match field {
                    2 => usage.memory_working_set = wrapped(value)?,
                    4 => usage.memory_usage = wrapped(value)?,
                    _ => {}
                }
                Ok(())
            }),
            _ => Ok(()),
        })
    })?;
    Ok(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_with_its_process() {
        let status_of = |code: i64| {
            Message::default().text(1, "c").int(3, 2).int(5, 7).int(6, 9).int(7, code).text(10, "OOMKilled")
        };
        let answer = Message::default().message(1, status_of(-1)).map(2, [("info", r#"{"pid":42}"#)]);
        let found = status(answer.done()).unwrap();
        assert_eq!((found.state, found.started, found.finished), (State::Exited, 7, 9));
        assert_eq!((found.exit_code, found.reason.as_str(), found.pid), (-1, "OOMKilled", 42));
        // A daemon that says nothing more, and one that says nonsense.
        for info in [vec![], vec![("info", "no json")]] {
            let answer = Message::default().message(1, status_of(3)).map(2, info);
            assert_eq!(status(answer.done()).unwrap().pid, 0);
        }
    }

    #[test]
    fn handlers_are_read_of_either_place() {
        let condition = Message::default().text(1, "NetworkReady").text(4, "no plugin");
        let answer = Message::default()
            .message(1, Message::default().message(1, condition))
            .map(2, [("config", r#"{"containerd":{"runtimes":{"runc":{},"runsc":{}}}}"#)]);
        let found = health(answer.done()).unwrap();
        assert_eq!(found.troubles, ["NetworkReady is false: no plugin"]);
        assert_eq!(found.handlers.unwrap(), ["runc", "runsc"]);
        let answer = Message::default().message(3, Message::default().text(1, "kata"));
        assert_eq!(health(answer.done()).unwrap().handlers.unwrap(), ["kata"]);
        assert!(health(Bytes::new()).unwrap().handlers.is_none());
    }

    #[test]
    fn a_namespace_is_where_the_specification_says() {
        let of = |text: &str| network_namespace(&Map::from([("info".to_owned(), text.to_owned())]));
        let spec =
            r#"{"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/n"}]}}}"#;
        assert_eq!(of(spec).as_deref(), Some("/n"));
        assert_eq!(of(r#"{"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"}]}}}"#), None);
        assert_eq!(of("{"), None);
    }
}
