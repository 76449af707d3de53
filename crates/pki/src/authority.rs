//! The certificate authority of a server, made at its first start.
//!
//! Every certificate is valid from a little before its issue, because the clocks of small machines differ, and until the
//! CA's own end at most.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};

use crate::identity::{alternative_names, distinguished_name};
use crate::{Error, Identity, Subject, clock, files};

/// How long the CA is valid.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a certificate is valid unless told otherwise.
pub const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How far certificates are backdated at most. A tenth of a shorter life: 70 % of it must lie ahead when it begins.
const BACKDATED: Duration = Duration::from_secs(3600);
/// The largest signing request that is read; a real one has less than 1 KiB.
const REQUEST_LIMIT: usize = 16 * 1024;

/// A certificate authority with its key.
pub struct Authority {
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
    /// When the CA ends.
    end: SystemTime,
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
                (
                    String::from_utf8(cert).map_err(|e| Error::malformed("certificate", e))?,
                    KeyPair::from_pem(&key)?,
                )
            }
            (Some(_), None) => {
                return Err(Error::malformed(
                    "certificate authority",
                    format!("{} is missing; restore it", key_file.display()),
                ));
            }
            // A key without certificate is what a power cut between the two writes leaves: nothing was issued yet.
            (None, _) => {
                let key = KeyPair::generate()?;
                let mut params = valid_for(CA_LIFE, None)?;
                distinguished_name(&mut params, &format!("{name} CA"), &[])?;
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
                let cert = params.self_signed(&key)?;
                files::write(&key_file, key.serialize_pem().as_bytes())?;
                files::write(&cert_file, cert.pem().as_bytes())?;
                (cert.pem(), key)
            }
        };
        let der = crate::tls::certificates(&ca_pem)?;
        let (_, ca) =
            X509Certificate::from_der(&der[0]).map_err(|e| Error::malformed("certificate authority", e))?;
        if ca.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(Error::malformed(
                "certificate authority",
                "its key does not belong to its certificate",
            ));
        }
        let (_, end) = crate::identity::validity(&der[0])?;
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, key)?;
        Ok(Self { ca_pem, issuer, end })
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
    pub fn issue_server(&self, names: &[String], life: Duration) -> Result<Identity, Error> {
        let mut params = valid_for(life, Some(self.end))?;
        distinguished_name(&mut params, "dunlin", &[])?;
        params.subject_alt_names = alternative_names(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut identity = self.issue(params)?;
        identity.cert_pem.push_str(&self.ca_pem);
        Ok(identity)
    }

    /// A client certificate.
    ///
    /// # Errors
    /// When it cannot be made; it can name two groups at most.
    pub fn issue_client(&self, user: &str, groups: &[String], life: Duration) -> Result<Identity, Error> {
        let mut params = valid_for(life, Some(self.end))?;
        distinguished_name(&mut params, user, groups)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    /// Signs a request. Only its key is taken over: subject, life and usages are ours to say.
    ///
    /// # Errors
    /// When the request is malformed or not signed by its own key.
    pub fn sign_client_csr(
        &self,
        csr_pem: &str,
        user: &str,
        groups: &[String],
        life: Duration,
    ) -> Result<String, Error> {
        if csr_pem.len() > REQUEST_LIMIT {
            return Err(Error::malformed(
                "signing request",
                format!("it is longer than {REQUEST_LIMIT} bytes"),
            ));
        }
        let mut request = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|e| Error::malformed("signing request", e))?;
        let mut params = valid_for(life, Some(self.end))?;
        distinguished_name(&mut params, user, groups)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        request.params = params;
        Ok(request.signed_by(&self.issuer)?.pem())
    }

    /// Whom a signing request asks to be. Its signature is checked: who asks holds the key.
    ///
    /// # Errors
    /// When it is malformed or not signed by its own key.
    pub fn csr_subject(csr_pem: &str) -> Result<Subject, Error> {
        if csr_pem.len() > REQUEST_LIMIT {
            return Err(Error::malformed(
                "signing request",
                format!("it is longer than {REQUEST_LIMIT} bytes"),
            ));
        }
        let (_, pem) = x509_parser::pem::parse_x509_pem(csr_pem.as_bytes())
            .map_err(|e| Error::malformed("signing request", e))?;
        let (_, request) = X509CertificationRequest::from_der(&pem.contents)
            .map_err(|e| Error::malformed("signing request", e))?;
        request.verify_signature().map_err(|e| Error::malformed("signing request", e))?;
        Ok(Subject::from_name(&request.certification_request_info.subject))
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Identity, Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }
}

pub(crate) fn valid_for(life: Duration, end: Option<SystemTime>) -> Result<CertificateParams, Error> {
    let now = clock::now();
    let mut params = CertificateParams::default();
    params.not_before = (now - BACKDATED.min(life / 10)).into();
    params.not_after = end.map_or(now + life, |end| end.min(now + life)).into();
    params.serial_number = Some(serial()?);
    Ok(params)
}

/// Random and positive. A serial made of the key would be the same for each renewal of one key.
fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = [0u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|e| Error::malformed("source of randomness", e))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
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
        let pem =
            again.sign_client_csr(&csr, "system:node:b", &["system:nodes".to_owned()], CA_LIFE).unwrap();
        let der = crate::tls::certificates(&pem).unwrap();
        let subject = crate::peer_subject(&der[0]).unwrap();
        assert_eq!(
            (subject.user.as_str(), subject.groups),
            ("system:node:b", vec!["system:nodes".to_owned()])
        );
        let two = ["system:nodes".to_owned(), "dunlin:clusters".to_owned()];
        let (_, csr) = Identity::new_csr("system:node:c", &two).unwrap();
        assert_eq!(Authority::csr_subject(&csr).unwrap().groups, two);
        let pem = again.sign_client_csr(&csr, "system:node:c", &two, CA_LIFE).unwrap();
        let der = crate::tls::certificates(&pem).unwrap();
        assert_eq!(crate::peer_subject(&der[0]).unwrap().groups, two);
        assert!(Authority::csr_subject("nonsense").is_err());
        assert!(again.sign_client_csr(&"x".repeat(20_000), "a", &[], CA_LIFE).is_err());
    }

    #[test]
    fn says_when_to_renew() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(folder.path(), "test").unwrap();
        let identity = authority.issue_client("a", &[], Duration::from_secs(1000)).unwrap();
        let left = identity.not_after().unwrap().duration_since(identity.renew_at().unwrap()).unwrap();
        // 30 % of the life, which is backdated by a tenth.
        assert!((325..=335).contains(&left.as_secs()), "{left:?}");
        assert!(
            identity.renew_at().unwrap() > SystemTime::now(),
            "a short life is not due from its first moment"
        );
    }

    #[test]
    fn keeps_an_identity_in_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(folder.path(), "test").unwrap();
        let path = folder.path().join("deep/node.pem");
        assert!(Identity::load(&path).unwrap().is_none());
        let identity = authority.issue_client("a", &["g".to_owned()], CA_LIFE * 2).unwrap();
        identity.save(&path).unwrap();
        let kept = Identity::load(&path).unwrap().unwrap();
        assert_eq!(kept.subject().unwrap(), Subject { user: "a".to_owned(), groups: vec!["g".to_owned()] });
        assert!(kept.not_after().unwrap() <= authority.end, "nothing outlives its CA");
        std::fs::write(&path, authority.ca_pem()).unwrap();
        assert!(Identity::load(&path).is_err());
        let mode = |name: &str| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("ca.key"), mode("deep/node.pem")), (0o600, 0o600));
    }

    #[test]
    fn refuses_a_request_that_was_changed_and_a_ca_with_another_key() {
        use rustls::pki_types::CertificateSigningRequestDer;
        use rustls::pki_types::pem::PemObject;
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(folder.path(), "test").unwrap();
        let (_, csr) = Identity::new_csr("system:node:a", &[]).unwrap();
        let mut der = CertificateSigningRequestDer::from_pem_slice(csr.as_bytes()).unwrap().to_vec();
        let at = der.windows(6).position(|w| w == b"node:a").unwrap();
        der[at + 5] = b'b';
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der);
        let changed =
            format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n");
        assert!(Authority::csr_subject(&changed).is_err());
        assert!(authority.sign_client_csr(&changed, "system:node:b", &[], CA_LIFE).is_err());

        let other = KeyPair::generate().unwrap().serialize_pem();
        std::fs::write(folder.path().join("ca.key"), other).unwrap();
        assert!(Authority::open_or_create(folder.path(), "test").is_err());
    }
}
