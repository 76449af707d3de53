//! A certificate with its key: made, kept in a file, and judged for renewal.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Error, Result, Subject, clock, files, limited, peer_subject};

/// A certificate (its chain, the leaf first) and its private key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, in PEM.
    pub cert_pem: String,
    /// The key, as PKCS#8 in PEM.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

impl Identity {
    /// A new key, and a request to sign it for `user` in `groups`: `(key_pem, csr_pem)`.
    ///
    /// # Errors
    /// When there is no randomness or a name cannot be encoded.
    pub fn new_csr(user: &str, groups: &[String]) -> Result<(String, String)> {
        let key = new_key()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(user, groups);
        let csr = params.serialize_request(&key).and_then(|csr| csr.pem());
        let csr = csr.map_err(|source| Error::Make { operation: "making a signing request", source })?;
        Ok((key.serialize_pem(), csr))
    }

    /// Reads what `save` wrote; nothing if there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let Some(text) = files::read(path)? else { return Ok(None) };
        limited("identity", text.as_bytes())?;
        let Some(start) = text.find("-----BEGIN PRIVATE KEY-----") else {
            return Err(Error::Malformed { what: "identity", reason: "it has no private key".into() });
        };
        let identity = Self { cert_pem: text[..start].to_owned(), key_pem: text[start..].to_owned() };
        identity.key()?;
        identity.leaf()?;
        Ok(Some(identity))
    }

    /// Writes certificate and key into one file, so that they always match.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        files::write(path, format!("{}{}", ending(&self.cert_pem), ending(&self.key_pem)).as_bytes())
    }

    /// Whom the certificate is about.
    ///
    /// # Errors
    /// When it cannot be parsed.
    pub fn subject(&self) -> Result<Subject> {
        peer_subject(&self.leaf()?)
    }

    /// From when the certificate is valid.
    ///
    /// # Errors
    /// When it cannot be parsed.
    pub fn not_before(&self) -> Result<SystemTime> {
        Ok(validity(&self.leaf()?)?.0)
    }

    /// Until when the certificate is valid.
    ///
    /// # Errors
    /// When it cannot be parsed.
    pub fn not_after(&self) -> Result<SystemTime> {
        Ok(validity(&self.leaf()?)?.1)
    }

    /// When a successor should be asked for: at 70 % of its life.
    ///
    /// # Errors
    /// When it cannot be parsed.
    pub fn renew_at(&self) -> Result<SystemTime> {
        let (from, to) = validity(&self.leaf()?)?;
        Ok(from + to.duration_since(from).unwrap_or(Duration::ZERO).mul_f64(0.7))
    }

    pub(crate) fn leaf(&self) -> Result<CertificateDer<'static>> {
        certificates(&self.cert_pem)?.into_iter().next().ok_or_else(|| Error::Malformed {
            what: "certificate",
            reason: "there is none in the PEM text".into(),
        })
    }

    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>> {
        limited("private key", self.key_pem.as_bytes())?;
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|e| Error::Malformed { what: "private key", reason: e.to_string() })
    }
}

pub(crate) fn new_key() -> Result<KeyPair> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .map_err(|source| Error::Make { operation: "making a key", source })
}

pub(crate) fn distinguished_name(user: &str, groups: &[String]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // Groups first, as Kubernetes' own tools write it.
    for group in groups {
        name.push(DnType::OrganizationName, group.as_str());
    }
    name.push(DnType::CommonName, user);
    name
}

/// All certificates of a PEM text.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    limited("certificate", pem.as_bytes())?;
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| Error::Malformed { what: "certificate", reason: e.to_string() })
}

/// The one section of a PEM text, which must have one of the labels.
pub(crate) fn single_pem(what: &'static str, pem: &str, labels: &[&str]) -> Result<Vec<u8>> {
    limited(what, pem.as_bytes())?;
    let malformed = |reason: &str| Error::Malformed { what, reason: reason.into() };
    let label = pem.split("-----BEGIN ").nth(1).and_then(|rest| rest.split("-----").next());
    if !label.is_some_and(|l| labels.contains(&l)) {
        return Err(malformed("it is not in PEM"));
    }
    let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes());
    match (sections.next(), sections.next()) {
        (Some(Ok((_, der))), None) => Ok(der),
        (Some(Err(e)), _) => Err(malformed(&e.to_string())),
        _ => Err(malformed("it is not one section of PEM")),
    }
}

/// From when until when a certificate is valid.
pub(crate) fn validity(der: &[u8]) -> Result<(SystemTime, SystemTime)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der)
        .map_err(|e| Error::Malformed { what: "certificate", reason: e.to_string() })?;
    let validity = certificate.validity();
    Ok((
        clock::from_seconds(validity.not_before.timestamp()),
        clock::from_seconds(validity.not_after.timestamp()),
    ))
}

fn ending(pem: &str) -> String {
    format!("{}\n", pem.trim_end())
}
