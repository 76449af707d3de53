//! `deploy`: whatever describes a job (Kubernetes YAML, EdgeIO's YAML, PiCasso's JSON) becomes a controller and its pods.
//!
//! Translation is pure and strict, and happens before anything is written: a file with a mistake deploys nothing. The
//! grammar stands in `docs/descriptors.md`.

mod edgeio;
mod fields;
mod job;
mod kubernetes;
mod picasso;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};

use crate::connect::Connection;
use crate::jobs;
use crate::resource::Resources;
use crate::{Error, Output, apply, print};

pub use fields::Wrong;
pub use job::Pins;

/// The largest file that is read, bytes.
const LIMIT: u64 = 1 << 20;
/// Descriptors in one file; what is larger is not written by hand.
const MOST: usize = 200;
/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(200);

/// What to deploy, and how.
#[derive(Debug, Clone, Default)]
pub struct Deploy {
    /// Files; `-` is standard input.
    pub files: Vec<String>,
    /// Namespace of objects that name none.
    pub namespace: Option<String>,
    /// Where to run, over what the files say.
    pub pins: Pins,
    /// How to print: lines, or the objects.
    pub output: Output,
    /// Print what would be made, and make nothing.
    pub dry_run: bool,
    /// Return when everything runs, or fail after this long.
    pub wait: Option<Duration>,
}

/// The objects that one document stands for. `at` names the document in errors.
///
/// # Errors
/// What is wrong, and where.
pub fn translate(document: &Value, at: &str, pins: &Pins) -> Result<Vec<Value>, Wrong> {
    let Some(fields) = document.as_object() else {
        return Err(Wrong::new(at, "is no descriptor: a mapping with fields is expected"));
    };
    if fields.contains_key("apiVersion") || fields.contains_key("kind") {
        kubernetes::translate(document, at, pins)
    } else if fields.contains_key("api_version") || fields.contains_key("job_name") {
        edgeio::read(document, at).map(|job| job.over(pins).objects())
    } else if fields.contains_key("imageName") {
        picasso::read(document, at).map(|job| job.over(pins).objects())
    } else {
        let all = "a Kubernetes object has apiVersion and kind, an EdgeIO descriptor api_version and job_name, a PiCasso descriptor imageName";
        Err(Wrong::new(at, format!("is of no known form: {all}")))
    }
}

/// The objects that a whole text stands for, in its order.
///
/// # Errors
/// When it is no YAML or JSON, too long, or a descriptor in it is wrong.
pub fn translate_all(source: &str, text: &str, pins: &Pins) -> Result<Vec<Value>, Error> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|e| Error::Input(format!("{source} is neither YAML nor JSON: {e}")))?;
    let mut flat = Vec::new();
    for (n, mut document) in documents.into_iter().enumerate() {
        let at = if n == 0 { source.to_owned() } else { format!("{source}, document {}", n + 1) };
        let (list, place) = match &mut document {
            Value::Null => continue,
            Value::Array(items) => (Some(std::mem::take(items)), ""),
            Value::Object(fields) if fields.get("kind").is_some_and(|kind| kind == "List") => {
                (fields.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take), "items")
            }
            _ => (None, ""),
        };
        match list {
            Some(items) => {
                let named = |(n, item)| (format!("{at}: {place}[{n}]"), item);
                flat.extend(items.into_iter().enumerate().map(named));
            }
            None => flat.push((at, document)),
        }
    }
    if flat.len() > MOST {
        return Err(Error::Input(format!(
            "{source} has {} descriptors, at most {MOST} are taken at once: split it",
            flat.len()
        )));
    }
    if flat.is_empty() {
        return Err(Error::Input(format!("{source} describes nothing")));
    }
    let mut objects = Vec::new();
    for (at, document) in flat {
        objects.extend(translate(&document, &at, pins).map_err(|wrong| Error::Input(wrong.to_string()))?);
    }
    Ok(objects)
}

fn read(source: &str) -> Result<String, Error> {
    let reader: Box<dyn Read> = match source {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(std::fs::File::open(path).map_err(Error::io(format!("opening {path}")))?),
    };
    let mut text = String::new();
    reader.take(LIMIT + 1).read_to_string(&mut text).map_err(Error::io(format!("reading {source}")))?;
    if text.len() as u64 > LIMIT {
        return Err(Error::Input(format!("{source} is larger than {} KiB: split it", LIMIT >> 10)));
    }
    Ok(text)
}

/// Translates, writes, shows, and waits if asked to.
///
/// # Errors
/// When a descriptor is wrong (then nothing is written), the server refuses, or the wait is in vain.
pub async fn run(connection: &Connection, deploy: &Deploy) -> Result<(), Error> {
    let mut objects = Vec::new();
    for file in &deploy.files {
        objects.extend(translate_all(file, &read(file)?, &deploy.pins)?);
    }
    let structured = matches!(deploy.output, Output::Json | Output::Yaml);
    if deploy.dry_run {
        let output = if structured { deploy.output } else { Output::Yaml };
        return print(&json!({"apiVersion": "v1", "kind": "List", "items": objects}), output);
    }
    let resources = Resources::discover(&connection.client).await?;
    let mut made = Vec::new();
    for object in &objects {
        let how = apply::How { namespace: deploy.namespace.as_deref(), force: true };
        let applied = apply::one(connection, &resources, object, &how).await?;
        if !structured {
            println!("{} {}", applied.shown, applied.word);
        }
        made.push(applied.object);
    }
    if structured {
        print(&json!({"apiVersion": "v1", "kind": "List", "items": made}), deploy.output)?;
    }
    match deploy.wait {
        Some(patience) => wait(connection, &made, patience, structured).await,
        None => Ok(()),
    }
}

/// Until every job of what was made runs (or, where it is work that ends, has ended well).
async fn wait(connection: &Connection, made: &[Value], patience: Duration, quiet: bool) -> Result<(), Error> {
    let uids: Vec<&str> = made
        .iter()
        .filter(|object| jobs::is_controller(object))
        .filter_map(|object| object["metadata"]["uid"].as_str())
        .collect();
    // Who may look into one namespace only shall be able to wait, too.
    let spaces: HashSet<&str> =
        made.iter().filter_map(|object| object["metadata"]["namespace"].as_str()).collect();
    let space = spaces.iter().next().copied().filter(|_| spaces.len() == 1);
    let end = tokio::time::Instant::now() + patience;
    let mut told = HashMap::new();
    loop {
        let all = jobs::fetch(connection, space).await?;
        let ours: Vec<_> = all.iter().filter(|job| uids.contains(&job.uid.as_str())).collect();
        for job in &ours {
            if told.insert(job.uid.clone(), job.state) != Some(job.state) && !quiet {
                println!("{} {}{}", job.name, job.state, job.why());
            }
        }
        let settled = |job: &&&jobs::Job| job.is_settled();
        if ours.iter().filter(settled).count() == uids.len() {
            return Ok(());
        }
        if tokio::time::Instant::now() >= end {
            let late: Vec<String> = ours
                .iter()
                .filter(|job| !job.is_settled())
                .map(|job| format!("{} is {}{}", job.name, job.state, job.why()))
                .collect();
            return Err(Error::Input(format!(
                "not everything runs after {} s: {}; `dunlin jobs -o wide` shows more",
                patience.as_secs(),
                late.join(", ")
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
