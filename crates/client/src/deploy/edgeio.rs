//! EdgeIO's YAML: `api_version`, `job_name`, `image`, `requirements`, `cluster_location`, `worker_node`.

use serde_json::Value;

use super::fields::{Fields, Wrong, name};
use super::job::{Job, Pins, Port};

/// Versions of the grammar that are understood.
const VERSIONS: &[&str] = &["v0.1", "v0.2", "v0.3", "v1"];

pub(super) fn read(document: &Value, at: &str) -> Result<Job, Wrong> {
    let mut fields = Fields::new(document, at, "")?;
    if let Some(version) = fields.text("api_version")?
        && !VERSIONS.contains(&version.as_str())
    {
        let problem = format!("{version:?} is unknown; known are {}", VERSIONS.join(", "));
        return Err(Wrong::new(fields.path("api_version"), problem));
    }
    let job = Job {
        name: name(&fields.need_text("job_name", "the job's name")?, fields.path("job_name"))?,
        image: fields.need_text("image", "the image's reference")?,
        runtime_class: runtime(&mut fields)?,
        replicas: fields.integer("replicas", 0, 10_000)?.unwrap_or(1),
        command: fields.words("command")?,
        environment: fields.settings("environment")?,
        ports: ports(&mut fields)?,
        pins: Pins {
            cluster: fields.label("cluster_location")?,
            machine: fields.text("worker_node")?,
            area: fields.label("area")?,
        },
        ..Job::default()
    };
    let (cpu, memory) = match fields.take("requirements") {
        None => (None, None),
        Some(requirements) => {
            let mut inner = Fields::new(requirements, at, "requirements")?;
            let both = (inner.amount("cpu", "")?, inner.amount("memory", "M")?);
            inner.finish()?;
            both
        }
    };
    fields.finish()?;
    Ok(Job { cpu, memory, ..job })
}

/// What runs the image: containers need no runtime class, the others have one of their own name.
fn runtime(fields: &mut Fields) -> Result<Option<String>, Wrong> {
    match fields.text("image_runtime")?.as_deref() {
        None | Some("docker" | "container" | "containerd" | "oci") => Ok(None),
        Some(class @ ("wasm" | "microvm" | "unikernel" | "process")) => Ok(Some(class.to_owned())),
        Some(other) => Err(Wrong::new(
            fields.path("image_runtime"),
            format!("{other:?} is unknown; known are docker, wasm, microvm, unikernel, process"),
        )),
    }
}

/// `port: 8080:80`, or a list of such under `port` or `ports`.
fn ports(fields: &mut Fields) -> Result<Vec<Port>, Wrong> {
    let mut all = Vec::new();
    for field in ["port", "ports"] {
        let path = fields.path(field);
        match fields.take(field) {
            None => {}
            Some(Value::Array(items)) => {
                for (n, item) in items.iter().enumerate() {
                    all.push(mapping(item, format!("{path}[{n}]"))?);
                }
            }
            Some(one) => all.push(mapping(one, path)?),
        }
    }
    Ok(all)
}

/// `PORT`, `HOST:CONTAINER`, each with `/tcp` or `/udp` after it.
fn mapping(value: &Value, path: String) -> Result<Port, Wrong> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => String::new(),
    };
    let wrong = || {
        Wrong::new(&path, "HOST:CONTAINER is expected, two ports from 1 to 65535, as in 8080:80 or 53:53/udp")
    };
    let (ports, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
    let protocol = match protocol {
        "tcp" => "TCP",
        "udp" => "UDP",
        _ => return Err(wrong()),
    };
    let port = |text: &str| text.parse::<u16>().ok().filter(|n| *n > 0).map(i64::from).ok_or_else(wrong);
    match ports.split_once(':') {
        Some((host, container)) => {
            Ok(Port { host: Some(port(host)?), container: port(container)?, protocol })
        }
        None => Ok(Port { host: None, container: port(ports)?, protocol }),
    }
}
