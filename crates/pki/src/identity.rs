//! A certificate with its key, and the request by which one is asked for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DnType, KeyPair};
use x509_parser::pem::parse_x509_pem;

use crate::Error;

/// A certificate chain (leaf first) and the leaf's key, as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificates.
    pub cert_pem: String,
    /// The private key.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("cert_pem", &self.cert_pem.len()).finish_non_exhaustive()
    }
}

impl Identity {
    /// A new key and a signing request for `user` in `groups`: key PEM, request PEM.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn new_csr(user: &str, groups: &[String]) -> Result<(String, String), Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        distinguished_name(&mut params, user, groups)?;
        let request = params.serialize_request(&key)?;
        Ok((key.serialize_pem(), request.pem()?))
    }

    /// When the certificate ends.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn not_after(&self) -> Result<SystemTime, Error> {
        Ok(self.validity()?.1)
    }

    /// When it should be renewed: after 70 % of its life.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn renew_at(&self) -> Result<SystemTime, Error> {
        let (from, to) = self.validity()?;
        let life = to.duration_since(from).unwrap_or_default();
        Ok(from + life.mul_f64(0.7))
    }

    fn validity(&self) -> Result<(SystemTime, SystemTime), Error> {
        let (_, pem) = parse_x509_pem(self.cert_pem.as_bytes()).map_err(|e| Error::malformed("certificate", e))?;
        let certificate = pem.parse_x509().map_err(|e| Error::malformed("certificate", e))?;
        let time = |at: i64| UNIX_EPOCH + Duration::from_secs(at.max(0).unsigned_abs());
        let validity = certificate.validity();
        Ok((time(validity.not_before.timestamp()), time(validity.not_after.timestamp())))
    }
}

/// Sets the subject of a certificate or request. A certificate of ours names one group at most.
pub(crate) fn distinguished_name(params: &mut CertificateParams, user: &str, groups: &[String]) -> Result<(), Error> {
    if groups.len() > 1 {
        return Err(Error::malformed("subject", "a certificate names one group at most"));
    }
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(group) = groups.first() {
        params.distinguished_name.push(DnType::OrganizationName, group.as_str());
    }
    params.distinguished_name.push(DnType::CommonName, user);
    Ok(())
}
