//! `logs`: what a container has written.

use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};

use crate::Error;
use crate::connect::Connection;

/// Prints a container's log as it comes.
///
/// # Errors
/// When the server refuses, or the stream breaks.
pub async fn run(
    connection: &Connection,
    pod: &str,
    namespace: Option<&str>,
    params: LogParams,
) -> Result<(), Error> {
    let api: Api<Pod> =
        Api::namespaced(connection.client.clone(), namespace.unwrap_or(&connection.namespace));
    let doing = format!("reading the log of pod {pod}");
    let lines = api.log_stream(pod, &params).await.map_err(Error::api(doing.clone()))?;
    let mut lines = lines.lines();
    while let Some(line) = lines.try_next().await.map_err(Error::io(doing.clone()))? {
        println!("{line}");
    }
    Ok(())
}
