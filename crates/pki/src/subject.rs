//! Whom a certificate or a request is about: the common name is the user, each organization a group, as in Kubernetes.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::identity::single_pem;
use crate::{Error, Result, limited};

/// A user and its groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The common name.
    pub user: String,
    /// The organizations, in order.
    pub groups: Vec<String>,
}

/// The subject of a certificate that TLS has verified.
///
/// # Errors
/// When it cannot be parsed or has not exactly one common name.
pub fn peer_subject(der: &[u8]) -> Result<Subject> {
    limited("certificate", der)?;
    let malformed = |reason: String| Error::Malformed { what: "certificate", reason };
    let (_, certificate) =
        x509_parser::parse_x509_certificate(der).map_err(|e| malformed(e.to_string()))?;
    subject(certificate.subject()).map_err(malformed)
}

/// The subject that a signing request asks for. Its signature is checked: the asker holds the key.
///
/// # Errors
/// When the request cannot be parsed or its signature is wrong.
pub fn csr_subject(csr_pem: &str) -> Result<Subject> {
    let malformed = |reason: String| Error::Malformed { what: "signing request", reason };
    let der = single_pem("signing request", csr_pem, &["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"])?;
    let (rest, request) =
        X509CertificationRequest::from_der(&der).map_err(|e| malformed(e.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed("something follows it".into()));
    }
    request.verify_signature().map_err(|e| malformed(e.to_string()))?;
    subject(&request.certification_request_info.subject).map_err(malformed)
}

fn subject(name: &X509Name<'_>) -> std::result::Result<Subject, String> {
    let mut users = name.iter_common_name();
    let user = users.next().ok_or("it has no common name")?;
    if users.next().is_some() {
        return Err("it has several common names".into());
    }
    let user = user.as_str().map_err(|e| e.to_string())?.to_owned();
    if user.is_empty() {
        return Err("its common name is empty".into());
    }
    let groups = name.iter_organization().map(|g| g.as_str().map(str::to_owned));
    let groups = groups.collect::<std::result::Result<_, _>>().map_err(|e| e.to_string())?;
    Ok(Subject { user, groups })
}
