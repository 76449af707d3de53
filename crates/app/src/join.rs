//! How an agent joins: it pins the server's CA by the token, asks for a certificate, and keeps it.
//!
//! The key is made here and never leaves the machine.

use dunlin_api::token::JoinToken;
use dunlin_pki::Identity;
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error};
use crate::layout::{Layout, write_atomically};
use crate::server::signer;

/// What an agent keeps of its server: the CA, and the certificate that makes it a node there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The server's URL at the time of joining.
    pub server: String,
    /// The node's name there.
    pub node_name: String,
    /// The CA's certificate.
    pub ca_pem: String,
    /// The node's certificate.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: String,
}

impl Membership {
    /// The certificate and key as an identity.
    pub fn identity(&self) -> Identity {
        Identity { cert_pem: self.cert_pem.clone(), key_pem: self.key_pem.clone() }
    }

    fn file(layout: &Layout) -> std::path::PathBuf {
        layout.agent().join("membership.json")
    }

    /// What an earlier join left, if it is for this server and node.
    pub fn load(layout: &Layout, server: &str, node_name: &str) -> Option<Self> {
        let bytes = std::fs::read(Self::file(layout)).ok()?;
        let kept: Self = serde_json::from_slice(&bytes).ok()?;
        (kept.server == server && kept.node_name == node_name).then_some(kept)
    }

    fn save(&self, layout: &Layout) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self).doing("writing the node's certificate")?;
        write_atomically(&Self::file(layout), &bytes, 0o600)
    }
}

/// Joins `server` with `token` under `node_name`.
///
/// # Errors
/// When the token is malformed, pins another CA, or is refused; when the server cannot be reached.
pub async fn join(layout: &Layout, server: &str, token: &str, node_name: &str) -> Result<Membership, Error> {
    let token: JoinToken = token.parse().map_err(|e| {
        Error::Input(format!(
            "the join token is malformed: {e}; `dunlin token create` on the server prints one"
        ))
    })?;
    let ca_pem = fetch_ca(server, &token).await?;
    let (key_pem, csr) = Identity::new_csr(&format!("system:node:{node_name}"), &["system:nodes".to_owned()])
        .doing("making the node's key")?;
    let client = client(server, &ca_pem, None, Some(token.bearer()))?;
    let name = format!("node-{node_name}-{}", layout.node_id()?);
    // The name carries the time, because a request of an earlier try stays on the server for a while.
    let name = format!("{name}-{}", std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_millis()));
    let cert_pem = signer::request(client, &name, &csr).await.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 401 => Error::Token { server: server.to_owned() },
        other => Error::Step { doing: format!("joining {server} as {node_name}"), source: other.into() },
    })?;
    let membership =
        Membership { server: server.to_owned(), node_name: node_name.to_owned(), ca_pem, cert_pem, key_pem };
    membership.save(layout)?;
    tracing::info!(server, node_name, "joined");
    Ok(membership)
}

/// Renews the certificate when 70 % of its life have passed; a failure leaves the old one in use.
pub async fn renew(layout: &Layout, membership: &Membership) -> Result<Membership, Error> {
    let user = format!("system:node:{}", membership.node_name);
    let (key_pem, csr) =
        Identity::new_csr(&user, &["system:nodes".to_owned()]).doing("making the node's key")?;
    let client = client(&membership.server, &membership.ca_pem, Some(membership), None)?;
    let millis = std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_millis());
    let name = format!("renew-{}-{millis}", membership.node_name);
    let cert_pem = signer::request(client, &name, &csr).await.doing("renewing the node's certificate")?;
    let renewed = Membership { cert_pem, key_pem, ..membership.clone() };
    renewed.save(layout)?;
    Ok(renewed)
}

/// A client of the API at `server` that trusts `ca_pem` only.
pub fn client(
    server: &str,
    ca_pem: &str,
    membership: Option<&Membership>,
    bearer: Option<String>,
) -> Result<kube::Client, Error> {
    use base64::Engine;
    let url =
        server.parse().map_err(|e| Error::Input(format!("the server's URL {server:?} is wrong: {e}")))?;
    let mut config = kube::Config::new(url);
    config.root_cert = Some(
        dunlin_pki::tls::certificates(ca_pem)
            .doing("reading the server's CA")?
            .iter()
            .map(|der| der.to_vec())
            .collect(),
    );
    if let Some(membership) = membership {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        config.auth_info.client_certificate_data = Some(encode(&membership.cert_pem));
        config.auth_info.client_key_data = Some(encode(&membership.key_pem).into());
    }
    config.auth_info.token = bearer.map(Into::into);
    kube::Client::try_from(config).doing(format!("setting up the client of {server}"))
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
