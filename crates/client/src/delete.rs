//! `delete`: one object, or every object of a manifest.

use std::time::Duration;

use serde_json::{Value, json};

use crate::connect::Connection;
use crate::resource::{Resource, Resources};
use crate::{Error, apply, request};

/// What to delete.
#[derive(Debug, Clone, Default)]
pub struct Delete {
    /// Resource and name.
    pub object: Option<(String, String)>,
    /// Manifests.
    pub files: Vec<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Seconds given to containers.
    pub grace: Option<i64>,
    /// Return only when it is gone.
    pub wait: bool,
}

/// Deletes.
///
/// # Errors
/// When the server refuses.
pub async fn run(connection: &Connection, delete: &Delete) -> Result<(), Error> {
    let resources = Resources::discover(&connection.client).await?;
    let namespace = delete.namespace.as_deref().unwrap_or(&connection.namespace);
    if let Some((word, name)) = &delete.object {
        one(connection, resources.find(word)?, namespace, name, delete).await?;
    }
    for file in &delete.files {
        for object in apply::read(file)? {
            let resource = resources.of_object(&object)?;
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let space = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
            one(connection, resource, space, name, delete).await?;
        }
    }
    Ok(())
}

async fn one(
    connection: &Connection,
    resource: &Resource,
    namespace: &str,
    name: &str,
    delete: &Delete,
) -> Result<(), Error> {
    let path = resource.path(Some(namespace), Some(name));
    let shown = format!("{}/{name}", resource.full_name());
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
    if let Some(grace) = delete.grace {
        options["gracePeriodSeconds"] = json!(grace);
    }
    let headers = [("content-type", "application/json")];
    let asked = request(http::Method::DELETE, &path, options.to_string().into_bytes(), &headers)?;
    let answer: Value =
        connection.client.request(asked).await.map_err(Error::api(format!("deleting {shown}")))?;
    println!("{shown} deleted");
    let uid = answer["metadata"]["uid"].clone();
    if !delete.wait {
        return Ok(());
    }
    loop {
        let asked = request(http::Method::GET, &path, Vec::new(), &[])?;
        match connection.client.request::<Value>(asked).await {
            Ok(object) if uid.is_null() || object["metadata"]["uid"] == uid => {
                tokio::time::sleep(Duration::from_millis(200)).await
            }
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(Error::api(format!("waiting for {shown} to be gone"))(error)),
        }
    }
}
