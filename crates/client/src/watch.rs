//! Following changes: one watch after the other, each from where the last one ended.

use std::time::Duration;

use futures_util::{AsyncBufReadExt, TryStreamExt};
use serde_json::Value;

use crate::connect::Connection;
use crate::{Error, request};

/// Between a watch that ended and the next: a server that restarts is not asked in a tight loop.
const PAUSE: Duration = Duration::from_secs(1);

/// The version up to which an answer is known.
pub(crate) fn version(answer: &Value) -> String {
    let own = answer["metadata"]["resourceVersion"].as_str();
    // A table of one object, and the events of a watch, carry it in their rows.
    let row = answer["rows"]
        .as_array()
        .and_then(|rows| rows.last()?["object"]["metadata"]["resourceVersion"].as_str());
    own.filter(|v| !v.is_empty()).or(row).unwrap_or("0").to_owned()
}

/// Hands each changed object to `show`, until the server refuses. `path` has a query with `resourceVersion`.
///
/// # Errors
/// What the server said when it refused; `show`'s own.
pub(crate) async fn run(
    connection: &Connection,
    path: &str,
    accept: &str,
    mut show: impl FnMut(&Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut path = path.to_owned();
    loop {
        let asked = request(http::Method::GET, &path, Vec::new(), &[("accept", accept)])?;
        let stream = connection.client.request_stream(asked).await.map_err(Error::api("watching"))?;
        let mut lines = stream.lines();
        while let Ok(Some(line)) = lines.try_next().await {
            let event: Value = serde_json::from_str(&line)
                .map_err(|e| Error::Input(format!("watching: the server sent no JSON: {e}")))?;
            let object = &event["object"];
            if event["type"] == "ERROR" {
                let message =
                    object["message"].as_str().unwrap_or("the watch ended with an error").to_owned();
                let code = object["code"].as_u64().and_then(|c| u16::try_from(c).ok()).unwrap_or(500);
                return Err(Error::Refused { doing: "watching".to_owned(), message, code });
            }
            path = from(&path, &version(object));
            if event["type"] != "BOOKMARK" {
                show(object)?;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same watch from another version on.
fn from(path: &str, version: &str) -> String {
    let key = "resourceVersion=";
    let Some(start) = path.find(key).map(|at| at + key.len()) else { return path.to_owned() };
    let end = path[start..].find('&').map_or(path.len(), |n| start + n);
    format!("{}{version}{}", &path[..start], &path[end..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn goes_on_where_it_stopped() {
        assert_eq!(
            from("/api/v1/pods?watch=true&resourceVersion=5&x=y", "17"),
            "/api/v1/pods?watch=true&resourceVersion=17&x=y"
        );
        assert_eq!(
            from("/api/v1/pods?watch=true&resourceVersion=5", "17"),
            "/api/v1/pods?watch=true&resourceVersion=17"
        );
        assert_eq!(version(&json!({"metadata": {"resourceVersion": "3"}})), "3");
        assert_eq!(
            version(&json!({"metadata": {}, "rows": [{"object": {"metadata": {"resourceVersion": "4"}}}]})),
            "4"
        );
    }
}
