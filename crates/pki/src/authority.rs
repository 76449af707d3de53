//! The certificate authority of one server: made at its first start, and the root of all trust in its cluster.
//!
//! It signs what it is told to sign. Who may ask for what is decided by its callers; a signing request contributes its
//! public key and nothing else.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};

use crate::identity::{certificates, distinguished_name, new_key, single_pem, validity};
use crate::{Error, Identity, Result, Subject, clock, files};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Ten years: replacing a CA means visiting every machine.
const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
/// One year; renewed at 70 % of it.
const SERVER_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Certificates start this long before they are issued (but at most a tenth of their life), for the clocks of clients
/// that are not ours and judge strictly.
const BACKDATED: Duration = Duration::from_secs(3600);

/// The CA.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    fingerprint: String,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads `ca.crt` and `ca.key` in `dir`, or makes them with `name` as common name.
    ///
    /// # Errors
    /// When a file cannot be read or written, is damaged, or the key is gone.
    pub fn open_or_create(dir: &Path, name: &str) -> Result<Self> {
        let (key_path, cert_path) = (dir.join("ca.key"), dir.join("ca.crt"));
        let key = match (files::read(&key_path)?, files::read(&cert_path)?) {
            (Some(key), Some(pem)) => return Self::from_pem(&key, pem),
            (None, Some(_)) => return Err(Error::Incomplete { present: cert_path, missing: key_path }),
            // The first start ended between the two files; nothing was issued yet.
            (Some(key), None) => read_key(&key)?,
            (None, None) => {
                let key = new_key()?;
                files::write(&key_path, key.serialize_pem().as_bytes())?;
                key
            }
        };
        let pem = self_signed(&key, name)?;
        files::write(&cert_path, pem.as_bytes())?;
        tracing::info!(name, "certificate authority made");
        Self::from_pem(&key.serialize_pem(), pem)
    }

    fn from_pem(key: &str, pem: String) -> Result<Self> {
        let key = read_key(key)?;
        let der = certificates(&pem)?.into_iter().next().ok_or_else(|| Error::Malformed {
            what: "CA certificate",
            reason: "there is none in the file".into(),
        })?;
        let malformed = |reason: String| Error::Malformed { what: "CA certificate", reason };
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&der).map_err(|e| malformed(e.to_string()))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(malformed("it does not belong to the key".into()));
        }
        let (not_before, not_after) = validity(&der)?;
        let fingerprint = fingerprint(&der);
        let issuer = Issuer::from_ca_cert_der(&der, key)
            .map_err(|source| Error::Make { operation: "reading the CA certificate", source })?;
        Ok(Self { issuer, pem, fingerprint, not_before, not_after })
    }

    /// The CA's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// The SHA-256 of the certificate's DER, in hex: what join tokens pin.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    /// Until when the CA is valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// A server certificate for DNS names and IP addresses, valid for a year.
    ///
    /// # Errors
    /// When a name is neither, or there is no randomness.
    pub fn issue_server(&self, names: &[String]) -> Result<Identity> {
        let mut params = self.params(SERVER_LIFE)?;
        params.distinguished_name = distinguished_name(names.first().map_or("dunlin", String::as_str), &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = names.iter().map(|n| alternative_name(n)).collect::<Result<_>>()?;
        let key = new_key()?;
        Ok(Identity { cert_pem: self.sign(params, &key)?, key_pem: key.serialize_pem() })
    }

    /// A client certificate with a new key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn issue_client(&self, user: &str, groups: &[String], ttl: Duration) -> Result<Identity> {
        let key = new_key()?;
        Ok(Identity { cert_pem: self.client(&key, user, groups, ttl)?, key_pem: key.serialize_pem() })
    }

    /// A client certificate for the key of a signing request. Subject, life and uses are ours, whatever it asked for.
    ///
    /// # Errors
    /// When the request cannot be read or its signature is wrong.
    pub fn sign_client_csr(&self, csr_pem: &str, user: &str, groups: &[String], ttl: Duration) -> Result<String> {
        let der = single_pem("signing request", csr_pem, &["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"])?;
        let request = CertificateSigningRequestParams::from_der(&der.into())
            .map_err(|e| Error::Malformed { what: "signing request", reason: e.to_string() })?;
        self.client(&request.public_key, user, groups, ttl)
    }

    /// Whom a signing request asks for.
    ///
    /// # Errors
    /// When the request cannot be read or its signature is wrong.
    pub fn csr_subject(csr_pem: &str) -> Result<Subject> {
        crate::csr_subject(csr_pem)
    }

    fn client(&self, key: &impl PublicKeyData, user: &str, groups: &[String], ttl: Duration) -> Result<String> {
        let mut params = self.params(ttl)?;
        params.distinguished_name = distinguished_name(user, groups);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, key)
    }

    /// What all leaf certificates have in common.
    fn params(&self, ttl: Duration) -> Result<CertificateParams> {
        let now = clock::at_least(clock::now(), self.not_before);
        let mut params = CertificateParams::default();
        params.not_before = clock::at_least(now - BACKDATED.min(ttl / 10), self.not_before).into();
        params.not_after = (now + ttl).min(self.not_after).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        Ok(params)
    }

    fn sign(&self, params: CertificateParams, key: &impl PublicKeyData) -> Result<String> {
        let signed = params.signed_by(key, &self.issuer);
        Ok(signed.map_err(|source| Error::Make { operation: "signing a certificate", source })?.pem())
    }
}

/// The SHA-256 of some DER, in hex.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn self_signed(key: &KeyPair, name: &str) -> Result<String> {
    let now = clock::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(name, &[]);
    // A day back, so that a leaf that is backdated still lies within.
    params.not_before = (now - DAY).into();
    params.not_after = (now + CA_LIFE).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.serial_number = Some(serial()?);
    let signed = params.self_signed(key);
    Ok(signed.map_err(|source| Error::Make { operation: "making the CA certificate", source })?.pem())
}

fn read_key(pem: &str) -> Result<KeyPair> {
    crate::limited("CA key", pem.as_bytes())?;
    KeyPair::from_pem(pem).map_err(|source| Error::Make { operation: "reading the CA key", source })
}

/// Sixteen random bytes with the top bit clear (a serial is a positive number).
fn serial() -> Result<SerialNumber> {
    let mut bytes = [0u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Crypto("drawing a serial number"))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn alternative_name(name: &str) -> Result<SanType> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    // What clients compare with must be a DNS name; anything else would be in the certificate and never match.
    rustls_pki_types::DnsName::try_from(name.trim_start_matches("*.").to_owned())
        .ok()
        .and_then(|_| name.try_into().ok())
        .map(SanType::DnsName)
        .ok_or_else(|| Error::Name { name: name.to_owned() })
}
