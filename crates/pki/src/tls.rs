//! TLS made of our certificates, with one cryptographic provider (ring) named explicitly.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use crate::{Error, Identity};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates in a PEM text.
///
/// # Errors
/// When it holds none, or something else.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
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
    PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(|e| Error::malformed("key", e))
}

fn roots(ca_pem: &str) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn protocols(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|p| p.to_vec()).collect()
}

/// A server's side: its certificate, and client certificates of its CA for those who have one.
///
/// # Errors
/// When a certificate or key is malformed.
pub fn server_config(ca_pem: &str, identity: &Identity, alpn: &[&[u8]]) -> Result<ServerConfig, Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| Error::malformed("certificate authority", e))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&identity.cert_pem)?, key(identity)?)?;
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}

/// A client's side: it trusts this CA only, and shows its certificate if it has one.
///
/// # Errors
/// When a certificate or key is malformed.
pub fn client_config(ca_pem: &str, identity: Option<&Identity>, alpn: &[&[u8]]) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca_pem)?);
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(certificates(&identity.cert_pem)?, key(identity)?)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}

/// A joining machine's side: it knows nothing but the fingerprint of the CA, and accepts a server only if its chain
/// holds that CA and the CA has signed the server's certificate.
///
/// # Errors
/// When the provider refuses, which it does not.
pub fn pinned_config(fingerprint: &str) -> Result<ClientConfig, Error> {
    let verifier = Pinned { fingerprint: fingerprint.to_ascii_lowercase(), provider: provider() };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = protocols(&[b"http/1.1"]);
    Ok(config)
}

#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = intermediates.iter().find(|der| fingerprint(der) == self.fingerprint).ok_or_else(|| {
            rustls::Error::General("the server's CA is not the one that the join token pins".to_owned())
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;
    use std::io::{Read, Write};

    /// Shakes hands in memory; gives the client's error if it has one.
    fn shake(server: ServerConfig, client: ClientConfig) -> Result<Option<Vec<u8>>, rustls::Error> {
        let mut server = rustls::ServerConnection::new(Arc::new(server)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
        for _ in 0..10 {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &wire[..]).unwrap();
            let _ = server.process_new_packets();
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut &wire[..]).unwrap();
            client.process_new_packets()?;
        }
        client.writer().write_all(b"x").unwrap();
        let _ = client.reader().read(&mut [0]);
        Ok(server.peer_certificates().and_then(|c| c.first()).map(|c| c.to_vec()))
    }

    #[test]
    fn knows_its_clients_and_pins_its_ca() {
        let folder = tempfile::tempdir().unwrap();
        let ours = Authority::open_or_create(&folder.path().join("a"), "a").unwrap();
        let theirs = Authority::open_or_create(&folder.path().join("b"), "b").unwrap();
        let server = || {
            let identity = ours.issue_server(&["localhost".to_owned()]).unwrap();
            server_config(ours.ca_pem(), &identity, &[b"http/1.1"]).unwrap()
        };
        let jane = ours.issue_client("jane", &[], std::time::Duration::from_secs(60)).unwrap();
        let client = client_config(ours.ca_pem(), Some(&jane), &[b"http/1.1"]).unwrap();
        let der = shake(server(), client).unwrap().unwrap();
        assert_eq!(crate::peer_subject(&der).unwrap().user, "jane");

        assert!(shake(server(), client_config(theirs.ca_pem(), None, &[]).unwrap()).is_err());
        assert!(shake(server(), pinned_config(&ours.fingerprint()).unwrap()).is_ok());
        assert!(shake(server(), pinned_config(&theirs.fingerprint()).unwrap()).is_err());
    }
}
