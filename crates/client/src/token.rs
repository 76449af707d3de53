//! `token`: the secrets by which machines join, made and revoked through the API like any other object.

use std::time::Duration;

use dunlin_api::token::JoinToken;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::connect::Connection;
use crate::get::align;
use crate::{Error, Output, print};

const PREFIX: &str = "bootstrap-token-";

fn api(connection: &Connection) -> Api<Secret> {
    Api::namespaced(connection.client.clone(), "kube-system")
}

/// Makes a token and prints it.
///
/// # Errors
/// When the server refuses, or the kubeconfig names no CA that the token could pin.
pub async fn create(
    connection: &Connection,
    ttl: Duration,
    fingerprint: impl FnOnce(&[u8]) -> String,
) -> Result<(), Error> {
    let ca = connection.ca.as_deref().ok_or_else(|| {
        Error::Input(
            "the kubeconfig has no certificate-authority-data, so the token cannot pin the server's CA"
                .to_owned(),
        )
    })?;
    let mut bytes = [0u8; 22];
    getrandom::fill(&mut bytes).map_err(|e| Error::Input(format!("drawing a token: {e}")))?;
    // 32 symbols, so that each of them is equally likely.
    let word: String =
        bytes.iter().map(|b| char::from(b"abcdefghijkmnpqrstuvwxyz23456789"[usize::from(b % 32)])).collect();
    let (id, secret) = word.split_at(6);
    let ends = k8s_openapi::jiff::Timestamp::now()
        .checked_add(k8s_openapi::jiff::SignedDuration::from_secs(
            i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
        ))
        .map_err(|e| Error::Input(format!("--ttl is too long: {e}")))?;
    let object: Secret = serde_json::from_value(json!({
        "metadata": {"name": format!("{PREFIX}{id}"), "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": id, "token-secret": secret, "expiration": format!("{ends:.0}"),
            "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
        },
    }))
    .map_err(|e| Error::Input(e.to_string()))?;
    api(connection).create(&PostParams::default(), &object).await.map_err(Error::api("storing the token"))?;
    let token = JoinToken::new(&fingerprint(ca), id, secret).map_err(|e| Error::Input(e.to_string()))?;
    println!("{token}");
    Ok(())
}

/// Lists tokens by id, without their secrets.
///
/// # Errors
/// When the server refuses.
pub async fn list(connection: &Connection, output: Output) -> Result<(), Error> {
    let params = ListParams::default().fields("type=bootstrap.kubernetes.io/token");
    let all = api(connection).list(&params).await.map_err(Error::api("listing tokens"))?;
    let mut rows = vec![vec!["ID".to_owned(), "EXPIRES".to_owned()]];
    for secret in all {
        let name = secret.metadata.name.unwrap_or_default();
        let Some(id) = name.strip_prefix(PREFIX) else { continue };
        let ends = secret
            .data
            .as_ref()
            .and_then(|data| data.get("expiration"))
            .map_or("never".to_owned(), |e| String::from_utf8_lossy(&e.0).into_owned());
        rows.push(vec![id.to_owned(), ends]);
    }
    if matches!(output, Output::Json | Output::Yaml) {
        let tokens: Vec<_> = rows[1..].iter().map(|row| json!({"id": row[0], "expires": row[1]})).collect();
        return print(&json!({"tokens": tokens}), output);
    }
    print!("{}", align(&rows));
    Ok(())
}

/// Ends a token, named by itself or by its id.
///
/// # Errors
/// When there is no such token.
pub async fn revoke(connection: &Connection, token: &str) -> Result<(), Error> {
    let parts: Vec<&str> = token.split('.').collect();
    let id = if parts.len() == 4 { parts[2] } else { parts[0] };
    api(connection)
        .delete(&format!("{PREFIX}{id}"), &DeleteParams::default())
        .await
        .map_err(Error::api(format!("revoking token {id}")))?;
    println!("token {id} revoked");
    Ok(())
}
