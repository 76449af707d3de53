//! Certificates that are replaced while connections use them: new handshakes take the new one, open connections stay.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{certificates, key, provider};
use crate::{Error, Identity};

#[derive(Debug)]
struct Slot(RwLock<Arc<CertifiedKey>>);

impl Slot {
    fn new(identity: &Identity) -> Result<Self, Error> {
        Ok(Self(RwLock::new(Arc::new(certified(identity)?))))
    }

    fn get(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, identity: &Identity) -> Result<(), Error> {
        let new = Arc::new(certified(identity)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

fn certified(identity: &Identity) -> Result<CertifiedKey, Error> {
    Ok(CertifiedKey::from_der(certificates(&identity.cert_pem)?, key(identity)?, &provider())?)
}

/// A server's certificate.
#[derive(Debug)]
pub struct ServerIdentity(Slot);

impl ServerIdentity {
    /// A slot with its first certificate.
    ///
    /// # Errors
    /// When certificate or key is malformed, or they do not belong together.
    pub fn new(identity: &Identity) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self(Slot::new(identity)?)))
    }

    /// Puts another certificate in its place.
    ///
    /// # Errors
    /// As `new`; the old one stays.
    pub fn replace(&self, identity: &Identity) -> Result<(), Error> {
        self.0.replace(identity)
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
}

/// A client's certificate.
#[derive(Debug)]
pub struct ClientIdentity(Slot);

impl ClientIdentity {
    /// A slot with its first certificate.
    ///
    /// # Errors
    /// When certificate or key is malformed, or they do not belong together.
    pub fn new(identity: &Identity) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self(Slot::new(identity)?)))
    }

    /// Puts another certificate in its place.
    ///
    /// # Errors
    /// As `new`; the old one stays.
    pub fn replace(&self, identity: &Identity) -> Result<(), Error> {
        self.0.replace(identity)
    }
}

impl ResolvesClientCert for ClientIdentity {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = self.0.get();
        key.key.choose_scheme(schemes)?;
        Some(key)
    }

    fn has_certs(&self) -> bool {
        true
    }
}
