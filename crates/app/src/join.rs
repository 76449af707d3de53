//! How a machine or a cluster joins a server: it pins the server's CA by the token, asks for a certificate, and keeps it
//! in a file of its own. The key is made here and never leaves the machine.
//!
//! What keeps a membership good while it is used is in [`member`].

pub mod member;

use std::path::Path;

use dunlin_api::names::user::{GROUP_CLUSTERS, GROUP_NODES, node};
use dunlin_api::token::JoinToken;
use dunlin_pki::Identity;
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error};
use crate::layout::{private_folder, write_atomically};
use crate::server::signer;

/// What the joining side keeps of its server: the CA, and the certificate that makes it a node there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The server's URL at the time of joining, or those of several.
    pub server: String,
    /// The node's name there.
    pub node_name: String,
    /// Whether the node stands for a cluster.
    #[serde(default)]
    pub cluster: bool,
    /// Whether the cluster shows its machines as nodes, instead of itself.
    #[serde(default)]
    pub machines: bool,
    /// The CA's certificate.
    pub ca_pem: String,
    /// The node's certificate.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: String,
}

/// What is to be joined, as what, and where that is kept.
#[derive(Debug, Clone)]
pub struct Joining<'a> {
    /// The membership's file.
    pub file: &'a Path,
    /// The server's URL, or those of several with commas between.
    pub server: &'a str,
    /// The URL that is dialled.
    pub dial: &'a str,
    /// The node's name there.
    pub node_name: &'a str,
    /// Whether the node stands for a cluster; the token must be for that.
    pub cluster: bool,
    /// Whether the cluster shows its machines as nodes, instead of itself: decided once, when it joins.
    pub machines: bool,
}

impl Membership {
    /// The certificate and key as an identity.
    pub fn identity(&self) -> Identity {
        Identity { cert_pem: self.cert_pem.clone(), key_pem: self.key_pem.clone() }
    }

    /// What an earlier join left, if it is for this server, name and kind.
    pub fn load(joining: &Joining<'_>) -> Option<Self> {
        let bytes = std::fs::read(joining.file).ok()?;
        let kept: Self = serde_json::from_slice(&bytes).ok()?;
        // Servers may be added and taken away; one that stays says that it is the same cluster.
        let same = kept.server.split(',').any(|url| joining.server.split(',').any(|other| url == other))
            && kept.node_name == joining.node_name
            && (kept.cluster, kept.machines) == (joining.cluster, joining.machines);
        same.then_some(kept)
    }

    fn save(&self, file: &Path) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self).doing("writing the node's certificate")?;
        private_folder(file.parent().unwrap_or(Path::new(".")))?;
        write_atomically(file, &bytes, 0o600)
    }
}

fn groups(cluster: bool) -> Vec<String> {
    let all = [GROUP_NODES, GROUP_CLUSTERS];
    all[..=usize::from(cluster)].iter().map(|g| (*g).to_owned()).collect()
}

/// The name of a signing request: with the time, because a request of an earlier try stays on the server for a while,
/// and with something random, because the time may be wrong.
fn request_name(node_name: &str) -> Result<String, Error> {
    let mut bytes = [0u8; 4];
    getrandom::fill(&mut bytes)
        .map_err(|e| std::io::Error::other(e.to_string()))
        .doing("drawing the name of the request")?;
    let millis = std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_millis());
    Ok(format!("node-{node_name}-{millis}-{:08x}", u32::from_le_bytes(bytes)))
}

/// Joins with `token`.
///
/// # Errors
/// When the token is malformed, pins another CA, or is refused; when the server cannot be reached.
pub async fn join(joining: &Joining<'_>, token: &str) -> Result<Membership, Error> {
    let Joining { file, server, dial, node_name, cluster, machines } = *joining;
    let purpose = if cluster { "cluster" } else { "node" };
    let token: JoinToken = token.parse().map_err(|e| {
        Error::Input(format!(
            "the join token is malformed: {e}; `dunlin token create --for {purpose}` on the server prints one"
        ))
    })?;
    let ca_pem = fetch_ca(dial, &token).await?;
    let (key_pem, csr) =
        Identity::new_csr(&node(node_name), &groups(cluster)).doing("making the node's key")?;
    let tls = dunlin_pki::tls::client_config(&ca_pem, None, &[b"http/1.1"]).doing("setting up TLS")?;
    let client = client(dial, tls, Some(token.bearer()))?;
    let signed = signer::request(client, &request_name(node_name)?, &csr).await;
    let cert_pem = signed.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 401 => Error::Token { server: server.to_owned() },
        other => Error::Step { doing: format!("joining {server} as {node_name}"), source: other.into() },
    })?;
    let membership = Membership {
        server: server.to_owned(),
        node_name: node_name.to_owned(),
        cluster,
        machines,
        ca_pem,
        cert_pem,
        key_pem,
    };
    membership.save(file)?;
    tracing::info!(server, node_name, cluster, "joined");
    Ok(membership)
}

/// Asks for the next certificate by the present one, and keeps it.
///
/// # Errors
/// When the server refuses or cannot be reached; the old one stays in use.
pub async fn renew(file: &Path, membership: &Membership, dial: &str) -> Result<Membership, kube::Error> {
    let failed = |error: Error| kube::Error::Service(Box::new(error));
    let user = node(&membership.node_name);
    let (key_pem, csr) = Identity::new_csr(&user, &groups(membership.cluster))
        .doing("making the node's key")
        .map_err(failed)?;
    let tls =
        dunlin_pki::tls::client_config(&membership.ca_pem, Some(&membership.identity()), &[b"http/1.1"])
            .doing("setting up TLS")
            .map_err(failed)?;
    let client = client(dial, tls, None).map_err(failed)?;
    let name = request_name(&membership.node_name).map_err(failed)?;
    let cert_pem = signer::request(client, &name, &csr).await?;
    let renewed = Membership { cert_pem, key_pem, ..membership.clone() };
    renewed.save(file).map_err(failed)?;
    tracing::info!(server = membership.server, node_name = membership.node_name, "certificate renewed");
    Ok(renewed)
}

/// A client of the API at `server` by this TLS configuration, whose certificate may change while it is used.
///
/// # Errors
/// When the URL or the token cannot be used.
pub fn client(
    server: &str,
    tls: rustls::ClientConfig,
    bearer: Option<String>,
) -> Result<kube::Client, Error> {
    dunlin_node::connect::client(server, tls, bearer).doing("setting up the client of the API")
}

/// Fetches the CA over a connection that is trusted only if its chain ends in the CA that the token pins.
async fn fetch_ca(server: &str, token: &JoinToken) -> Result<String, Error> {
    use http_body_util::{BodyExt, Empty, Limited};
    let (host, port) = endpoint(server)?;
    let reaching = || format!("reaching the server {server}");
    let tcp = tokio::net::TcpStream::connect((host.as_str(), port)).await.doing(reaching())?;
    let config = dunlin_pki::tls::pinned_config(token.fingerprint()).doing("setting up TLS")?;
    let name = rustls::pki_types::ServerName::try_from(host.clone())
        .map_err(|e| Error::Input(format!("the server's name {host:?} is wrong: {e}")))?;
    let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config))
        .connect(name, tcp)
        .await
        .doing(format!(
            "checking that {server} is the server that the token was made on (if it is not, correct --server; if its \
             CA is new, make a new token there with `dunlin token create`)"
        ))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(tls)).await.doing(reaching())?;
    let _connection = dunlin_base::task::Task::spawn("fetch-ca", async move {
        // Its errors reach us through the request.
        let _ = connection.await;
    });
    let request = http::Request::get("/cacerts")
        .header(http::header::HOST, &host)
        .body(Empty::<bytes::Bytes>::new())
        .doing("asking for the CA")?;
    let response = sender.send_request(request).await.doing(reaching())?;
    let body = Limited::new(response.into_body(), 64 * 1024).collect().await.doing("reading the CA")?;
    String::from_utf8(body.to_bytes().to_vec()).doing("reading the CA")
}

/// Host and port of an `https://` URL.
pub fn endpoint(server: &str) -> Result<(String, u16), Error> {
    let wrong =
        || Error::Input(format!("the server's URL {server:?} is wrong: it must look like https://host:6443"));
    let uri: http::Uri = server.parse().map_err(|_| wrong())?;
    if uri.scheme_str() != Some("https") {
        return Err(wrong());
    }
    let host = uri.host().ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
    Ok((host, uri.port_u16().unwrap_or(6443)))
}
