//! `apply`: server-side apply of every object in files, folders, or standard input.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::connect::Connection;
use crate::resource::Resources;
use crate::{Error, request};

/// The largest manifest that is read, bytes.
const LIMIT: u64 = 64 << 20;

/// The objects in a manifest: `-` is standard input, a folder means its `.yaml`, `.yml` and `.json` files.
///
/// # Errors
/// When something cannot be read or is no YAML.
pub fn read(source: &str) -> Result<Vec<Value>, Error> {
    let mut text = String::new();
    if source == "-" {
        std::io::stdin()
            .take(LIMIT)
            .read_to_string(&mut text)
            .map_err(Error::io("reading standard input"))?;
        return parse(source, &text);
    }
    let path = Path::new(source);
    if !path.is_dir() {
        let file = std::fs::File::open(path).map_err(Error::io(format!("opening {source}")))?;
        file.take(LIMIT).read_to_string(&mut text).map_err(Error::io(format!("reading {source}")))?;
        return parse(source, &text);
    }
    let entries = std::fs::read_dir(path).map_err(Error::io(format!("reading {source}")))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| {
        file.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known))
    });
    files.sort();
    let mut all = Vec::new();
    for file in files {
        all.extend(read(&file.to_string_lossy())?);
    }
    Ok(all)
}

fn parse(source: &str, text: &str) -> Result<Vec<Value>, Error> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|e| Error::Input(format!("{source} is no YAML: {e}")))?;
    let mut objects = Vec::new();
    for mut document in documents {
        if document["kind"] == "List" {
            objects.extend(document["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
        } else if !document.is_null() {
            objects.push(document);
        }
    }
    Ok(objects)
}

/// How an object is applied.
#[derive(Debug, Clone, Copy, Default)]
pub struct How<'a> {
    /// Namespace of objects that name none.
    pub namespace: Option<&'a str>,
    /// Take fields over from whoever set them last.
    pub force: bool,
}

/// What became of an applied object.
#[derive(Debug, Clone)]
pub struct Applied {
    /// `deployments.apps/web`.
    pub shown: String,
    /// `created`, `configured` or `unchanged`.
    pub word: &'static str,
    /// The object as the server has it now.
    pub object: Value,
}

/// Applies one object.
///
/// # Errors
/// When the server does not know its kind, or refuses.
pub async fn one(
    connection: &Connection,
    resources: &Resources,
    object: &Value,
    how: &How<'_>,
) -> Result<Applied, Error> {
    let resource = resources.of_object(object)?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        return Err(Error::Input(format!("a {} has no metadata.name", resource.kind)));
    }
    let space = object["metadata"]["namespace"].as_str().or(how.namespace).unwrap_or(&connection.namespace);
    let path = resource.path(Some(space), Some(name));
    let shown = format!("{}/{name}", resource.full_name());
    let asked = request(http::Method::GET, &path, Vec::new(), &[])?;
    let before: Option<Value> = connection.client.request(asked).await.ok();
    let force = if how.force { "&force=true" } else { "" };
    let path = format!("{path}?fieldManager=dunlin&fieldValidation=Strict{force}");
    let headers = [("content-type", "application/apply-patch+yaml")];
    let asked = request(http::Method::PATCH, &path, object.to_string().into_bytes(), &headers)?;
    let after: Value =
        connection.client.request(asked).await.map_err(Error::api(format!("applying {shown}")))?;
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let word = match before {
        None => "created",
        Some(before) if version(&before) == version(&after) => "unchanged",
        Some(_) => "configured",
    };
    Ok(Applied { shown, word, object: after })
}

/// Applies each object of a manifest and says what became of it.
///
/// # Errors
/// At the first object that the server refuses; those before it are applied.
pub async fn run(connection: &Connection, sources: &[String], namespace: Option<&str>) -> Result<(), Error> {
    let resources = Resources::discover(&connection.client).await?;
    for source in sources {
        for object in read(source)? {
            let how = How { namespace, force: false };
            let applied = one(connection, &resources, &object, &how).await?;
            println!("{} {}", applied.shown, applied.word);
        }
    }
    Ok(())
}
