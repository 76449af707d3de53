//! `describe`: an object readable, with what happened to it.

use serde_json::Value;

use crate::connect::Connection;
use crate::get::align;
use crate::resource::Resources;
use crate::{Error, request};

/// Prints one object and its events.
///
/// # Errors
/// When the server refuses.
pub async fn run(
    connection: &Connection,
    word: &str,
    name: &str,
    namespace: Option<&str>,
) -> Result<(), Error> {
    let resources = Resources::discover(&connection.client).await?;
    let resource = resources.find(word)?;
    let namespace = namespace.unwrap_or(&connection.namespace);
    let asked = request(http::Method::GET, &resource.path(Some(namespace), Some(name)), Vec::new(), &[])?;
    let mut object: Value =
        connection.client.request(asked).await.map_err(Error::api(format!("getting {word} {name}")))?;
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let text = serde_saphyr::to_string(&object).map_err(|e| Error::Input(format!("writing YAML: {e}")))?;
    println!("{}", text.trim_end());

    let path = format!("/api/v1/events?fieldSelector=involvedObject.uid%3D{uid}");
    let events: Value = connection
        .client
        .request(request(http::Method::GET, &path, Vec::new(), &[])?)
        .await
        .map_err(Error::api("getting events"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut rows: Vec<Vec<String>> = events["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|event| {
            [&event["lastTimestamp"], &event["type"], &event["reason"], &event["message"]].map(text).into()
        })
        .collect();
    rows.sort();
    if rows.is_empty() {
        println!("\nEvents: none");
    } else {
        println!("\nEvents:");
        print!("{}", align(&rows));
    }
    Ok(())
}
