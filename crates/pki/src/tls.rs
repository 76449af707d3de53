//! TLS with our CA: configurations for both sides, with certificates that can be replaced while they are used.
//!
//! The provider is always ring, given explicitly: a process-wide default would be another crate's choice. A server
//! sends its CA after its own certificate, so that a machine which knows only the CA's fingerprint can join.

mod swap;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub use swap::{ClientIdentity, ServerIdentity};

use crate::identity::certificates;
use crate::{Error, Identity, Result};

/// A server that also accepts clients without a certificate (they have a token, or nothing).
///
/// # Errors
/// When certificates or keys cannot be used.
pub fn server_config(ca_pem: &str, identity: &Identity, alpn: &[&[u8]]) -> Result<ServerConfig> {
    server_config_with(ca_pem, ServerIdentity::new(identity, ca_pem)?, alpn, Duration::ZERO)
}

/// The same with a replaceable certificate, and a grace for clients whose certificate has expired: a machine that was
/// away for long can still come back and renew. Each use of the grace is logged.
///
/// # Errors
/// When the CA cannot be used.
pub fn server_config_with(
    ca_pem: &str,
    identity: Arc<ServerIdentity>,
    alpn: &[&[u8]],
    grace: Duration,
) -> Result<ServerConfig> {
    let verifier = verify::Clients::new(roots(ca_pem)?, grace)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(identity);
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}

/// A client that trusts our CA only, with a certificate or without.
///
/// # Errors
/// When certificates or keys cannot be used.
pub fn client_config(ca_pem: &str, identity: Option<&Identity>, alpn: &[&[u8]]) -> Result<ClientConfig> {
    let identity = identity.map(ClientIdentity::new).transpose()?;
    client_config_with(ca_pem, identity, alpn)
}

/// The same with a replaceable certificate.
///
/// # Errors
/// When the CA cannot be used.
pub fn client_config_with(
    ca_pem: &str,
    identity: Option<Arc<ClientIdentity>>,
    alpn: &[&[u8]],
) -> Result<ClientConfig> {
    let verifier = verify::Servers::new(roots(ca_pem)?)?;
    client(Arc::new(verifier), identity, alpn)
}

/// A client that knows nothing but the fingerprint of the CA (hex of the SHA-256 of its DER), for joining.
///
/// # Errors
/// When the fingerprint is none.
pub fn pinned_config(fingerprint: &str) -> Result<ClientConfig> {
    client(Arc::new(verify::Pinned::new(fingerprint)?), None, &[])
}

fn client(
    verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>,
    identity: Option<Arc<ClientIdentity>>,
    alpn: &[&[u8]],
) -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn protocols(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|p| p.to_vec()).collect()
}

fn roots(ca_pem: &str) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_pem)? {
        roots.add(certificate).map_err(Error::Tls)?;
    }
    if roots.is_empty() {
        return Err(Error::Malformed { what: "CA certificate", reason: "there is none in the PEM text".into() });
    }
    Ok(Arc::new(roots))
}
