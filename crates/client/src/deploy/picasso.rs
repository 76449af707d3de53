//! PiCasso's JSON deployment descriptor: `imageName`, `port_host`, `port_container`, and what surrounds them.

use serde_json::Value;

use super::fields::{Fields, Wrong, name};
use super::job::{Job, Pins, Port};

pub(super) fn read(document: &Value, at: &str) -> Result<Job, Wrong> {
    let mut fields = Fields::new(document, at, "")?;
    let image = fields.need_text("imageName", "the image's reference")?;
    let name = match fields.text("serviceName")? {
        Some(given) => name(&given, fields.path("serviceName"))?,
        // The last part of the reference, without tag and digest.
        None => {
            let last = image.rsplit('/').next().unwrap_or_default();
            let end = last.find([':', '@']).unwrap_or(last.len());
            name(&last[..end], fields.path("imageName"))?
        }
    };
    // How large the image is matters to nobody who looks at it; the registry says so itself.
    fields.amount("imageSize", "M")?;
    let job = Job {
        name,
        architecture: architecture(&mut fields)?,
        cpu: fields.amount("cpu", "")?,
        memory: fields.amount("memory", "M")?,
        replicas: fields.integer("replicas", 0, 10_000)?.unwrap_or(1),
        command: fields.words("command")?,
        environment: fields.settings("environment")?,
        ports: port(&mut fields)?.into_iter().collect(),
        pins: Pins {
            cluster: fields.label("cluster")?,
            machine: fields.text("node")?,
            area: fields.label("area")?,
        },
        image,
        ..Job::default()
    };
    fields.finish()?;
    Ok(job)
}

/// The name that Kubernetes has for an architecture.
fn architecture(fields: &mut Fields) -> Result<Option<String>, Wrong> {
    let Some(given) = fields.text("architecture")? else { return Ok(None) };
    let known = match given.as_str() {
        "amd64" | "x86_64" | "x86-64" => "amd64",
        "arm64" | "aarch64" => "arm64",
        "arm" | "armv6" | "armv7" | "armhf" => "arm",
        "riscv64" => "riscv64",
        _ => {
            let problem = format!("{given:?} is unknown; known are amd64, arm64, arm, riscv64");
            return Err(Wrong::new(fields.path("architecture"), problem));
        }
    };
    Ok(Some(known.to_owned()))
}

fn port(fields: &mut Fields) -> Result<Option<Port>, Wrong> {
    let host = fields.integer("port_host", 1, 65_535)?;
    let container = fields.integer("port_container", 1, 65_535)?;
    let protocol = match fields.text("protocol")?.as_deref() {
        None | Some("tcp" | "TCP") => "TCP",
        Some("udp" | "UDP") => "UDP",
        Some(other) => {
            return Err(Wrong::new(
                fields.path("protocol"),
                format!("{other:?} is unknown; known are tcp, udp"),
            ));
        }
    };
    match (host, container) {
        (None, None) => Ok(None),
        (host, Some(container)) => Ok(Some(Port { host, container, protocol })),
        (Some(_), None) => Err(Wrong::new(
            fields.path("port_container"),
            "is missing: say which port of the container port_host leads to",
        )),
    }
}
