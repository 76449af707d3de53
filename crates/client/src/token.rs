//! `token`: the secrets by which machines join, made and revoked through the API like any other object.

use std::time::Duration;

use dunlin_api::names::secret_type::BOOTSTRAP_TOKEN;
use dunlin_api::names::user::GROUP_BOOTSTRAP_CLUSTERS;
use dunlin_api::token::JoinToken;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::connect::Connection;
use crate::get::align;
use crate::{Error, Output, print};

const PREFIX: &str = "bootstrap-token-";
/// Where a bootstrap token names the groups that its holder is in besides `system:bootstrappers`.
const GROUPS: &str = "auth-extra-groups";

fn api(connection: &Connection) -> Api<Secret> {
    Api::namespaced(connection.client.clone(), "kube-system")
}

/// What a token lets its holder join as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// One machine after the other, as nodes.
    Node,
    /// Clusters, each as one node.
    Cluster,
}

impl std::str::FromStr for Purpose {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "node" => Ok(Self::Node),
            "cluster" => Ok(Self::Cluster),
            other => Err(format!("{other:?} cannot join: write node or cluster")),
        }
    }
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Cluster => "cluster",
        })
    }
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct New {
    /// What it is for.
    pub purpose: Purpose,
    /// How long it is valid.
    pub ttl: Duration,
    /// What people should know about it.
    pub description: Option<String>,
}

/// Makes a token and prints it.
///
/// # Errors
/// When the server refuses, or the kubeconfig names no CA that the token could pin.
pub async fn create(
    connection: &Connection,
    new: &New,
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
            i64::try_from(new.ttl.as_secs()).unwrap_or(i64::MAX),
        ))
        .map_err(|e| Error::Input(format!("--ttl is too long: {e}")))?;
    let mut object = json!({
        "metadata": {"name": format!("{PREFIX}{id}"), "namespace": "kube-system"},
        "type": BOOTSTRAP_TOKEN,
        "stringData": {
            "token-id": id, "token-secret": secret, "expiration": format!("{ends:.0}"),
            "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
        },
    });
    if new.purpose == Purpose::Cluster {
        object["stringData"][GROUPS] = json!(GROUP_BOOTSTRAP_CLUSTERS);
    }
    if let Some(description) = &new.description {
        object["stringData"]["description"] = json!(description);
    }
    let object: Secret = serde_json::from_value(object).map_err(|e| Error::Input(e.to_string()))?;
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
    let params = ListParams::default().fields(&format!("type={BOOTSTRAP_TOKEN}"));
    let all = api(connection).list(&params).await.map_err(Error::api("listing tokens"))?;
    let mut rows = vec![["ID", "FOR", "EXPIRES", "DESCRIPTION"].map(str::to_owned).to_vec()];
    rows.extend(all.iter().filter_map(row));
    if matches!(output, Output::Json | Output::Yaml) {
        let tokens: Vec<_> = rows[1..]
            .iter()
            .map(|row| json!({"id": row[0], "for": row[1], "expires": row[2], "description": row[3]}))
            .collect();
        return print(&json!({"tokens": tokens}), output);
    }
    print!("{}", align(&rows));
    Ok(())
}

/// Id, purpose, expiry and description of a token.
fn row(secret: &Secret) -> Option<Vec<String>> {
    let id = secret.metadata.name.as_deref()?.strip_prefix(PREFIX)?;
    let field = |name: &str| {
        let bytes = secret.data.as_ref()?.get(name)?;
        Some(String::from_utf8_lossy(&bytes.0).into_owned())
    };
    let groups = field(GROUPS).unwrap_or_default();
    let purpose = if groups.split(',').any(|g| g == GROUP_BOOTSTRAP_CLUSTERS) {
        Purpose::Cluster
    } else {
        Purpose::Node
    };
    let ends = field("expiration").unwrap_or_else(|| "never".to_owned());
    Some(vec![id.to_owned(), purpose.to_string(), ends, field("description").unwrap_or_default()])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_listed_with_what_it_is_for() {
        let secret = |data: serde_json::Value| -> Secret {
            let encode = |v: &serde_json::Value| {
                k8s_openapi::ByteString(v.as_str().unwrap_or_default().as_bytes().to_vec())
            };
            let data = data.as_object().unwrap().iter().map(|(k, v)| (k.clone(), encode(v))).collect();
            let mut secret = Secret { data: Some(data), ..Secret::default() };
            secret.metadata.name = Some("bootstrap-token-abcdef".to_owned());
            secret
        };
        let node = secret(json!({"description": "for the shed"}));
        assert_eq!(row(&node).unwrap(), ["abcdef", "node", "never", "for the shed"]);
        let groups = format!("system:bootstrappers:other,{GROUP_BOOTSTRAP_CLUSTERS}");
        let cluster = secret(json!({GROUPS: groups, "expiration": "2030-01-01T00:00:00Z"}));
        assert_eq!(row(&cluster).unwrap(), ["abcdef", "cluster", "2030-01-01T00:00:00Z", ""]);
    }
}
