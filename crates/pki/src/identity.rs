//! A certificate with its key, and the request by which one is asked for.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DnType, KeyPair};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Error, Subject, files, tls};

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

    /// Whom the certificate names.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn subject(&self) -> Result<Subject, Error> {
        crate::peer_subject(&tls::certificates(&self.cert_pem)?[0])
    }

    /// Reads what `save` has written, or nothing if there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn load(path: &Path) -> Result<Option<Self>, Error> {
        let Some(bytes) = files::read(path)? else { return Ok(None) };
        Error::unless_short("identity", &bytes)?;
        let text = String::from_utf8(bytes).map_err(|e| Error::malformed("identity", e))?;
        let start = text.find("-----BEGIN PRIVATE KEY-----");
        let start = start.ok_or_else(|| Error::malformed("identity", "the file holds no private key"))?;
        let identity = Self { cert_pem: text[..start].to_owned(), key_pem: text[start..].to_owned() };
        tls::ClientIdentity::new(&identity)?;
        Ok(Some(identity))
    }

    /// Writes certificate and key into one file, so that a power cut never leaves two that do not match.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        files::write(path, format!("{}\n{}\n", self.cert_pem.trim_end(), self.key_pem.trim_end()).as_bytes())
    }

    fn validity(&self) -> Result<(SystemTime, SystemTime), Error> {
        validity(&tls::certificates(&self.cert_pem)?[0])
    }
}

/// From when and until when a DER certificate is valid.
pub(crate) fn validity(der: &[u8]) -> Result<(SystemTime, SystemTime), Error> {
    Error::unless_short("certificate", der)?;
    let (_, certificate) = X509Certificate::from_der(der).map_err(|e| Error::malformed("certificate", e))?;
    let time = |at: i64| UNIX_EPOCH + Duration::from_secs(at.max(0).unsigned_abs());
    let validity = certificate.validity();
    Ok((time(validity.not_before.timestamp()), time(validity.not_after.timestamp())))
}

/// Sets the subject of a certificate or request. A certificate of ours names one group at most.
pub(crate) fn distinguished_name(
    params: &mut CertificateParams,
    user: &str,
    groups: &[String],
) -> Result<(), Error> {
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
