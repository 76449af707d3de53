//! How certificates are judged: by webpki against our CA, at a time that a wrong clock cannot spoil.
//!
//! Everything but the time and the choice of the root is left to webpki: signatures, uses, names. See [`crate::clock`]
//! for the rules about time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::{fingerprint, provider};
use crate::identity::validity;
use crate::{Error, clock};

type Verified<T> = std::result::Result<T, rustls::Error>;

/// When a certificate is judged, and when it ends.
fn moments(leaf: &CertificateDer<'_>, now: UnixTime) -> Verified<(SystemTime, SystemTime)> {
    let (not_before, not_after) =
        validity(leaf).map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
    Ok((clock::judged_at(now, not_before), not_after))
}

fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Judges servers by a known CA.
#[derive(Debug)]
pub(super) struct Servers(Arc<WebPkiServerVerifier>);

impl Servers {
    pub fn new(roots: Arc<RootCertStore>) -> Result<Self, Error> {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        verifier.map(Self).map_err(|e| Error::malformed("certificate authority", e))
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Verified<ServerCertVerified> {
        let (at, _) = moments(leaf, now)?;
        self.0.verify_server_cert(leaf, intermediates, name, ocsp, unix(at))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Verified<HandshakeSignatureValid> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Verified<HandshakeSignatureValid> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Judges servers by the fingerprint of a CA that the server itself shows: the CA is found in the chain, and then the
/// server's certificate is judged by it as ever.
#[derive(Debug)]
pub(super) struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    pub fn new(fingerprint: &str) -> Result<Self, Error> {
        if fingerprint.len() != 64 || !fingerprint.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::malformed("fingerprint of the CA", "it is not 64 hexadecimal digits"));
        }
        Ok(Self { fingerprint: fingerprint.to_ascii_lowercase(), provider: provider() })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Verified<ServerCertVerified> {
        let ca = intermediates.iter().find(|der| fingerprint(der) == self.fingerprint).ok_or_else(|| {
            rustls::Error::General("the server's CA is not the one that the join token pins".to_owned())
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier = Servers::new(Arc::new(roots)).map_err(|e| rustls::Error::General(e.to_string()))?;
        verifier.verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Verified<HandshakeSignatureValid> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Verified<HandshakeSignatureValid> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Judges clients by our CA. A client may also come without a certificate.
#[derive(Debug)]
pub(super) struct Clients {
    inner: Arc<dyn ClientCertVerifier>,
    grace: Duration,
}

impl Clients {
    pub fn new(roots: Arc<RootCertStore>, grace: Duration) -> Result<Self, Error> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots, provider()).allow_unauthenticated().build();
        let inner = verifier.map_err(|e| Error::malformed("certificate authority", e))?;
        Ok(Self { inner, grace })
    }
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Verified<ClientCertVerified> {
        let (at, not_after) = moments(leaf, now)?;
        let expired = at.duration_since(not_after).unwrap_or_default();
        if expired.is_zero() || expired > self.grace {
            return self.inner.verify_client_cert(leaf, intermediates, unix(at));
        }
        let verified = self.inner.verify_client_cert(leaf, intermediates, unix(not_after))?;
        let user = crate::peer_subject(leaf).map(|s| s.user).unwrap_or_default();
        tracing::warn!(
            user,
            expired_seconds = expired.as_secs(),
            "expired client certificate accepted within the grace"
        );
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Verified<HandshakeSignatureValid> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Verified<HandshakeSignatureValid> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
