//! Certificates that are replaced while connections use them: new handshakes take the new one, open connections stay.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use super::provider;
use crate::identity::certificates;
use crate::{Error, Identity, Result};

#[derive(Debug)]
struct Slot(RwLock<Arc<CertifiedKey>>);

impl Slot {
    fn get(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

/// A server's certificate, followed by its CA's.
#[derive(Debug)]
pub struct ServerIdentity {
    slot: Slot,
    ca: Vec<CertificateDer<'static>>,
}

impl ServerIdentity {
    /// A slot with its first certificate.
    ///
    /// # Errors
    /// When certificate, key or CA cannot be used.
    pub fn new(identity: &Identity, ca_pem: &str) -> Result<Arc<Self>> {
        let ca = certificates(ca_pem)?;
        let slot = Slot(RwLock::new(Arc::new(certified(identity, &ca)?)));
        Ok(Arc::new(Self { slot, ca }))
    }

    /// Puts another certificate in its place.
    ///
    /// # Errors
    /// When certificate or key cannot be used; the old one stays.
    pub fn replace(&self, identity: &Identity) -> Result<()> {
        self.slot.set(certified(identity, &self.ca)?);
        Ok(())
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.slot.get())
    }
}

/// A client's certificate.
#[derive(Debug)]
pub struct ClientIdentity {
    slot: Slot,
}

impl ClientIdentity {
    /// A slot with its first certificate.
    ///
    /// # Errors
    /// When certificate or key cannot be used.
    pub fn new(identity: &Identity) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { slot: Slot(RwLock::new(Arc::new(certified(identity, &[])?))) }))
    }

    /// Puts another certificate in its place.
    ///
    /// # Errors
    /// When certificate or key cannot be used; the old one stays.
    pub fn replace(&self, identity: &Identity) -> Result<()> {
        self.slot.set(certified(identity, &[])?);
        Ok(())
    }
}

impl ResolvesClientCert for ClientIdentity {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = self.slot.get();
        key.key.choose_scheme(schemes)?;
        Some(key)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(identity: &Identity, more: &[CertificateDer<'static>]) -> Result<CertifiedKey> {
    let mut chain = certificates(&identity.cert_pem)?;
    if chain.is_empty() {
        return Err(Error::Malformed { what: "certificate", reason: "there is none in the PEM text".into() });
    }
    for certificate in more {
        if !chain.contains(certificate) {
            chain.push(certificate.clone());
        }
    }
    CertifiedKey::from_der(chain, identity.key()?, &provider()).map_err(Error::Tls)
}
