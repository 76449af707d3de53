//! TLS made of our certificates, with one cryptographic provider (ring) named explicitly.
//!
//! Certificates can be replaced while they are used ([`ServerIdentity`], [`ClientIdentity`]): new handshakes take the new
//! one, open connections stay. How certificates are judged, and at what time, is `verify`'s.

mod swap;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub use swap::{ClientIdentity, ServerIdentity};

use crate::{Error, Identity};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates in a PEM text.
///
/// # Errors
/// When it holds none, or something else.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    Error::unless_short("certificate", pem.as_bytes())?;
    let all = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Error::malformed("certificate", e))?;
    if all.is_empty() { Err(Error::malformed("certificate", "the text holds none")) } else { Ok(all) }
}

/// SHA-256 of a DER certificate, hexadecimal.
pub fn fingerprint(der: &[u8]) -> String {
    let digest = ::ring::digest::digest(&::ring::digest::SHA256, der);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn key(identity: &Identity) -> Result<PrivateKeyDer<'static>, Error> {
    Error::unless_short("key", identity.key_pem.as_bytes())?;
    PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(|e| Error::malformed("key", e))
}

fn roots(ca_pem: &str) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_pem)? {
        roots.add(certificate)?;
    }
    Ok(Arc::new(roots))
}

fn protocols(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|p| p.to_vec()).collect()
}

/// A server's side: its certificate, and client certificates of its CA for those who have one.
///
/// # Errors
/// When a certificate or key is malformed.
pub fn server_config(ca_pem: &str, identity: &Identity, alpn: &[&[u8]]) -> Result<ServerConfig, Error> {
    server_config_with(ca_pem, ServerIdentity::new(identity)?, alpn, Duration::ZERO)
}

/// The same with a certificate that can be replaced, and with a grace: how long ago a client's certificate may have
/// expired. A machine that was away for long can then come back and renew. Each use of the grace is logged.
///
/// # Errors
/// When a certificate is malformed.
pub fn server_config_with(
    ca_pem: &str,
    identity: Arc<ServerIdentity>,
    alpn: &[&[u8]],
    grace: Duration,
) -> Result<ServerConfig, Error> {
    let verifier = verify::Clients::new(roots(ca_pem)?, grace)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(identity);
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}

/// The same without client certificates: nobody's is asked for.
///
/// # Errors
/// When TLS cannot be set up.
pub fn server_config_without_clients(
    identity: Arc<ServerIdentity>,
    alpn: &[&[u8]],
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(identity);
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}

/// Whether a CA in `ca_pem` has signed the client certificate, which may have expired since.
pub fn is_signed_by(ca_pem: &str, identity: &Identity) -> bool {
    let judge = || -> Result<bool, Error> {
        let chain = certificates(&identity.cert_pem)?;
        let at = identity.not_after()?.min(crate::clock::now());
        let at = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let at = rustls::pki_types::UnixTime::since_unix_epoch(at);
        let verifier = verify::Clients::new(roots(ca_pem)?, Duration::ZERO)?;
        Ok(verifier.verify_client_cert(&chain[0], &chain[1..], at).is_ok())
    };
    judge().unwrap_or(false)
}

/// Certificates as PEM.
pub fn pem(certificates: &[Vec<u8>]) -> String {
    use base64::Engine;
    let mut text = String::new();
    for der in certificates {
        let encoded = base64::engine::general_purpose::STANDARD.encode(der);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in encoded.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// A client's side: it trusts this CA only, and shows its certificate if it has one.
///
/// # Errors
/// When a certificate or key is malformed.
pub fn client_config(
    ca_pem: &str,
    identity: Option<&Identity>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, Error> {
    client_config_with(ca_pem, identity.map(ClientIdentity::new).transpose()?, alpn)
}

/// The same with a certificate that can be replaced.
///
/// # Errors
/// When a certificate is malformed.
pub fn client_config_with(
    ca_pem: &str,
    identity: Option<Arc<ClientIdentity>>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, Error> {
    client(Arc::new(verify::Servers::new(roots(ca_pem)?)?), identity, alpn)
}

/// A joining machine's side: it knows nothing but the fingerprint of the CA, and accepts a server only if its chain
/// holds that CA and the CA has signed the server's certificate.
///
/// # Errors
/// When the fingerprint is none.
pub fn pinned_config(fingerprint: &str) -> Result<ClientConfig, Error> {
    client(Arc::new(verify::Pinned::new(fingerprint)?), None, &[b"http/1.1"])
}

fn client(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<Arc<ClientIdentity>>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => {
            let mut config = builder.with_client_cert_resolver(identity);
            // A resumed session would stand for the certificate that began it, after that one was replaced.
            config.resumption = rustls::client::Resumption::disabled();
            config
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}

#[cfg(test)]
mod tests;
