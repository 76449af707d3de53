//! Whom a certificate names: the common name is the user, each organisation a group, as Kubernetes has it.

use std::time::{Duration, SystemTime};

use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use crate::{Error, clock, identity, tls};

/// A user and its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The common name.
    pub user: String,
    /// The organisations.
    pub groups: Vec<String>,
}

impl Subject {
    pub(crate) fn from_name(name: &X509Name<'_>) -> Self {
        let texts =
            |found: &mut dyn Iterator<Item = &x509_parser::x509::AttributeTypeAndValue<'_>>| -> Vec<String> {
                found.filter_map(|a| a.as_str().ok().map(str::to_owned)).collect()
            };
        Self {
            user: texts(&mut name.iter_common_name()).into_iter().next().unwrap_or_default(),
            groups: texts(&mut name.iter_organization()),
        }
    }
}

/// The subject of a DER certificate.
///
/// # Errors
/// When the bytes are no certificate, or it names nobody.
pub fn peer_subject(der: &[u8]) -> Result<Subject, Error> {
    Error::unless_short("certificate", der)?;
    let (_, certificate) = X509Certificate::from_der(der).map_err(|e| Error::malformed("certificate", e))?;
    let subject = Subject::from_name(certificate.subject());
    if subject.user.is_empty() {
        return Err(Error::malformed("certificate", "it has no common name"));
    }
    Ok(subject)
}

/// What a client's certificate says besides whom it names. TLS has verified it, the grace for expired ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Whom it names.
    pub subject: Subject,
    /// SHA-256 of the certificate's DER, hexadecimal.
    pub fingerprint: String,
    /// How long ago it has expired; zero if it has not.
    pub expired: Duration,
}

impl Peer {
    /// Reads a DER certificate and judges its end by our clock.
    ///
    /// # Errors
    /// When the bytes are no certificate, or it names nobody.
    pub fn read(der: &[u8]) -> Result<Self, Error> {
        let subject = peer_subject(der)?;
        let (not_before, not_after) = identity::validity(der)?;
        let at = clock::judged_at(SystemTime::now(), not_before);
        let expired = at.duration_since(not_after).unwrap_or_default();
        Ok(Self { subject, fingerprint: tls::fingerprint(der), expired })
    }
}
