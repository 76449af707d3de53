//! The certificate authority of a server, made at its first start.
//!
//! Every certificate is valid from an hour before its issue, because the clocks of small machines differ.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use crate::identity::distinguished_name;
use crate::{Error, Identity, Subject, files};

/// How long the CA is valid.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a server certificate is valid; each start issues a fresh one.
const SERVER_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How far certificates are backdated.
const BACKDATED: Duration = Duration::from_secs(3600);
/// The largest signing request that is read; a real one has less than 1 KiB.
const REQUEST_LIMIT: usize = 16 * 1024;

/// A certificate authority with its key.
pub struct Authority {
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Opens the authority in `folder`, or makes one called `name`.
    ///
    /// # Errors
    /// When its files cannot be read or written, or hold something else.
    pub fn open_or_create(folder: &Path, name: &str) -> Result<Self, Error> {
        let (cert_file, key_file) = (folder.join("ca.crt"), folder.join("ca.key"));
        let (ca_pem, key) = match (files::read(&cert_file)?, files::read(&key_file)?) {
            (Some(cert), Some(key)) => {
                let key = String::from_utf8(key).map_err(|e| Error::malformed("key", e))?;
                (String::from_utf8(cert).map_err(|e| Error::malformed("certificate", e))?, KeyPair::from_pem(&key)?)
            }
            (Some(_), None) => {
                return Err(Error::malformed("certificate authority", format!("{} is missing; restore it", key_file.display())));
            }
            // A key without certificate is what a power cut between the two writes leaves: nothing was issued yet.
            (None, _) => {
                let key = KeyPair::generate()?;
                let mut params = valid_for(CA_LIFE);
                distinguished_name(&mut params, &format!("{name} CA"), &[])?;
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
                let cert = params.self_signed(&key)?;
                files::write(&key_file, key.serialize_pem().as_bytes())?;
                files::write(&cert_file, cert.pem().as_bytes())?;
                (cert.pem(), key)
            }
        };
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, key)?;
        Ok(Self { ca_pem, issuer })
    }

    /// The CA's certificate as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The SHA-256 of the CA's DER certificate in hexadecimal, which join tokens pin.
    pub fn fingerprint(&self) -> String {
        crate::tls::certificates(&self.ca_pem)
            .ok()
            .and_then(|all| all.first().map(|der| crate::tls::fingerprint(der)))
            .unwrap_or_default()
    }

    /// A server certificate for host names and addresses, with the CA in its chain (joining machines pin it).
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue_server(&self, names: &[String]) -> Result<Identity, Error> {
        let mut params = valid_for(SERVER_LIFE);
        distinguished_name(&mut params, "dunlin", &[])?;
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut identity = self.issue(params)?;
        identity.cert_pem.push_str(&self.ca_pem);
        Ok(identity)
    }

    /// A client certificate.
    ///
    /// # Errors
    /// When it cannot be made; it can name one group at most.
    pub fn issue_client(&self, user: &str, groups: &[String], life: Duration) -> Result<Identity, Error> {
        let mut params = valid_for(life);
        distinguished_name(&mut params, user, groups)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    /// Signs a request. Only its key is taken over: subject, life and usages are ours to say.
    ///
    /// # Errors
    /// When the request is malformed or not signed by its own key.
    pub fn sign_client_csr(&self, csr_pem: &str, user: &str, groups: &[String], life: Duration) -> Result<String, Error> {
        if csr_pem.len() > REQUEST_LIMIT {
            return Err(Error::malformed("signing request", format!("it is longer than {REQUEST_LIMIT} bytes")));
        }
        let mut request =
            CertificateSigningRequestParams::from_pem(csr_pem).map_err(|e| Error::malformed("signing request", e))?;
        let mut params = valid_for(life);
        distinguished_name(&mut params, user, groups)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        request.params = params;
        Ok(request.signed_by(&self.issuer)?.pem())
    }

    /// Whom a signing request asks to be.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn csr_subject(csr_pem: &str) -> Result<Subject, Error> {
        if csr_pem.len() > REQUEST_LIMIT {
            return Err(Error::malformed("signing request", format!("it is longer than {REQUEST_LIMIT} bytes")));
        }
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(csr_pem.as_bytes()).map_err(|e| Error::malformed("signing request", e))?;
        let (_, request) =
            X509CertificationRequest::from_der(&pem.contents).map_err(|e| Error::malformed("signing request", e))?;
        Ok(Subject::from_name(&request.certification_request_info.subject))
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Identity, Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }
}

fn valid_for(life: Duration) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATED;
    params.not_after = now + life;
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_a_reopening_and_signs_for_the_named_only() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open_or_create(folder.path(), "test").unwrap();
        let again = Authority::open_or_create(folder.path(), "test").unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        assert_eq!(first.fingerprint().len(), 64);

        let (_, csr) = Identity::new_csr("system:node:a", &["system:nodes".to_owned()]).unwrap();
        assert_eq!(Authority::csr_subject(&csr).unwrap().user, "system:node:a");
        let pem = again.sign_client_csr(&csr, "system:node:b", &["system:nodes".to_owned()], CA_LIFE).unwrap();
        let der = crate::tls::certificates(&pem).unwrap();
        let subject = crate::peer_subject(&der[0]).unwrap();
        assert_eq!((subject.user.as_str(), subject.groups), ("system:node:b", vec!["system:nodes".to_owned()]));
        assert!(Authority::csr_subject("nonsense").is_err());
        assert!(again.sign_client_csr(&"x".repeat(20_000), "a", &[], CA_LIFE).is_err());
    }

    #[test]
    fn says_when_to_renew() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(folder.path(), "test").unwrap();
        let identity = authority.issue_client("a", &[], Duration::from_secs(1000)).unwrap();
        let left = identity.not_after().unwrap().duration_since(identity.renew_at().unwrap()).unwrap();
        // 30 % of the life, which is backdated.
        assert!((1370..=1390).contains(&left.as_secs()), "{left:?}");
    }
}
