//! A certificate with its key, and the request by which one is asked for.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Error, Subject, clock, files, tls};

/// The part of its life after which a certificate is renewed.
const RENEWED: f64 = 0.7;

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
        Self::new_csr_for(user, groups, &[])
    }

    /// The same for something that serves under `names`, which are host names and addresses.
    ///
    /// # Errors
    /// When the key cannot be made, or a name cannot stand in a certificate.
    pub fn new_csr_for(user: &str, groups: &[String], names: &[String]) -> Result<(String, String), Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        distinguished_name(&mut params, user, groups)?;
        params.subject_alt_names = alternative_names(names)?;
        let request = params.serialize_request(&key)?;
        Ok((key.serialize_pem(), request.pem()?))
    }

    /// A certificate that nobody has signed but its own key: for who serves before anybody has.
    ///
    /// # Errors
    /// When the key cannot be made, or a name cannot stand in a certificate.
    pub fn self_signed(user: &str, names: &[String], life: Duration) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = crate::authority::valid_for(life, None)?;
        distinguished_name(&mut params, user, &[])?;
        params.subject_alt_names = alternative_names(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key)?;
        Ok(Self { cert_pem: certificate.pem(), key_pem: key.serialize_pem() })
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
        Ok(from + life.mul_f64(RENEWED))
    }

    /// How long there is until it should be renewed, by our clock; `None` if our clock cannot know. A clock that says
    /// that the certificate is not valid yet knows nothing of its end either.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn renew_in(&self) -> Result<Option<Duration>, Error> {
        let now = clock::now();
        if now < self.validity()?.0 {
            return Ok(None);
        }
        Ok(Some(self.renew_at()?.duration_since(now).unwrap_or_default()))
    }

    /// 70 % of its life: when a certificate that has just been issued should be renewed, whatever our clock says.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn renew_after(&self) -> Result<Duration, Error> {
        let (from, to) = self.validity()?;
        Ok(to.duration_since(from).unwrap_or_default().mul_f64(RENEWED))
    }

    /// How long there is until it should be renewed; zero is now. `issued` is when this process has seen it issued: what
    /// counts where our clock cannot tell. A certificate that was just issued is not renewed before 70 % of what was left
    /// of it then, since some authorities date back by more than a short life.
    pub fn due_in(&self, issued: Option<Instant>) -> Duration {
        let since = issued.map(|at| at.elapsed());
        match self.renew_in() {
            Ok(Some(wait)) => {
                let left = self.not_after().ok().and_then(|end| end.duration_since(clock::now()).ok());
                let fresh = since
                    .zip(left)
                    .map(|(since, left)| (since + left).mul_f64(RENEWED).saturating_sub(since));
                wait.max(fresh.unwrap_or_default())
            }
            Ok(None) => {
                let life = self.renew_after().unwrap_or_default();
                since.map_or(Duration::ZERO, |since| life.saturating_sub(since))
            }
            Err(_) => Duration::ZERO,
        }
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

/// Host names and addresses as a certificate names them.
pub(crate) fn alternative_names(names: &[String]) -> Result<Vec<SanType>, Error> {
    let one = |name: &String| match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.as_str().try_into()?)),
    };
    names.iter().map(one).collect()
}

/// From when and until when a DER certificate is valid.
pub(crate) fn validity(der: &[u8]) -> Result<(SystemTime, SystemTime), Error> {
    Error::unless_short("certificate", der)?;
    let (_, certificate) = X509Certificate::from_der(der).map_err(|e| Error::malformed("certificate", e))?;
    let time = |at: i64| UNIX_EPOCH + Duration::from_secs(at.max(0).unsigned_abs());
    let validity = certificate.validity();
    Ok((time(validity.not_before.timestamp()), time(validity.not_after.timestamp())))
}

/// `organizationName` as an attribute of its own, because rcgen keeps one value for each kind of attribute.
const SECOND_ORGANIZATION: [u64; 4] = [2, 5, 4, 10];

/// Sets the subject of a certificate or request. A certificate of ours names two groups at most.
pub(crate) fn distinguished_name(
    params: &mut CertificateParams,
    user: &str,
    groups: &[String],
) -> Result<(), Error> {
    if groups.len() > 2 {
        return Err(Error::malformed("subject", "a certificate names two groups at most"));
    }
    params.distinguished_name = rcgen::DistinguishedName::new();
    let kinds = [DnType::OrganizationName, DnType::CustomDnType(SECOND_ORGANIZATION.to_vec())];
    for (kind, group) in kinds.into_iter().zip(groups) {
        params.distinguished_name.push(kind, group.as_str());
    }
    params.distinguished_name.push(DnType::CommonName, user);
    Ok(())
}
