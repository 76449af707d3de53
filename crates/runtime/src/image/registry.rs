//! How a registry is reached: which endpoints, in HTTP or HTTPS, and what its errors mean.

use std::net::IpAddr;
use std::time::Duration;

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;

use super::error::Error;
use super::reference::Reference;
use super::types::{Credentials, RegistryOptions};

/// A stalled connection is given up after this long without a byte; the next try goes on where it stopped.
const STALL: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(15);

/// A certificate whose key was never kept, so that nothing it signed can exist. It is the only trusted one of clients
/// that speak plain HTTP: those need none, and a machine without certificate authorities must be able to make one.
const NO_ONE: &[u8] = b"-----BEGIN CERTIFICATE-----
MIIBeTCCAR+gAwIBAgIUQZJSOER8EXzUbMJ9Tduo90bNGkEwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGbm8gb25lMCAXDTI2MTEyNDAyMDk1MloYDzIxMjYxMDMxMDIw
OTUyWjARMQ8wDQYDVQQDDAZubyBvbmUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAQnus2Mgi5fwdGeSBzCh4G6QFZhQHc67Pc3R7984MlmQuGpjuynF4I7DCIwkk2r
+9nens/gLNXU7F1WVQinTK1To1MwUTAdBgNVHQ4EFgQUskg5Kc7OBIORnJgMRQh0
E+AkTYEwHwYDVR0jBBgwFoAUskg5Kc7OBIORnJgMRQh0E+AkTYEwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiBphP/MXx1AUQXSxqfRJScyXbcl1FzV
kecSgmnUzfu7GwIhAOT41qDnoTRmQosyZxD5BX6f+NKAt2kXb/dYU7bLc3J8
-----END CERTIFICATE-----
";

/// One place to ask.
pub(crate) struct Endpoint {
    pub client: oci_client::Client,
    pub auth: RegistryAuth,
    /// The image, as this place names it.
    pub image: oci_client::Reference,
    /// For messages.
    pub registry: String,
}

/// The mirrors of the image's registry, and the registry itself as the last; credentials go to the registry only.
pub(crate) fn endpoints(
    reference: &Reference,
    credentials: Option<&Credentials>,
    options: &RegistryOptions,
) -> Result<Vec<Endpoint>, Error> {
    let mirrors = options.mirrors.iter().filter(|m| m.registry == reference.registry || m.registry == "*");
    let mut endpoints = Vec::new();
    for mirror in mirrors {
        let (host, prefix) = mirror.endpoint.split_once('/').unwrap_or((&mirror.endpoint, ""));
        let repository = match prefix.trim_matches('/') {
            "" => reference.repository.clone(),
            prefix => format!("{prefix}/{}", reference.repository),
        };
        let image = Reference { registry: host.to_owned(), repository, ..reference.clone() };
        endpoints.push(endpoint(&image, None, options)?);
    }
    endpoints.push(endpoint(reference, credentials, options)?);
    Ok(endpoints)
}

/// The registry of the reference itself.
pub(crate) fn endpoint(
    reference: &Reference,
    credentials: Option<&Credentials>,
    options: &RegistryOptions,
) -> Result<Endpoint, Error> {
    let plain = is_plain(&reference.registry, &options.insecure);
    let (registry, repository) = (reference.registry.clone(), reference.repository.clone());
    let image = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => oci_client::Reference::with_digest(registry, repository, digest.clone()),
        (None, tag) => oci_client::Reference::with_tag(
            registry,
            repository,
            tag.clone().unwrap_or_else(|| "latest".to_owned()),
        ),
    };
    let auth = match credentials {
        None => RegistryAuth::Anonymous,
        Some(Credentials::Basic { username, password }) => {
            RegistryAuth::Basic(username.clone(), password.clone())
        }
        Some(Credentials::Bearer(token)) => RegistryAuth::Bearer(token.clone()),
    };
    Ok(Endpoint {
        client: client(&reference.registry, plain, options)?,
        auth,
        image,
        registry: reference.registry.clone(),
    })
}

/// Whether the registry is spoken to in plain HTTP: configured so, or on this very machine.
fn is_plain(registry: &str, insecure: &[String]) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => registry.split(':').next().unwrap_or(registry),
    };
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    loopback || insecure.iter().any(|entry| entry == registry || entry == host)
}

fn client(registry: &str, plain: bool, options: &RegistryOptions) -> Result<oci_client::Client, Error> {
    // The HTTP client below is built without a cryptography provider and takes the process's. Whoever set one before
    // is right, too.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut certificates = Vec::new();
    for path in &options.ca_files {
        let data = std::fs::read(path).map_err(|e| Error::io("reading the registry CA", path, e))?;
        certificates.push(Certificate { encoding: CertificateEncoding::Pem, data });
    }
    let no_one = Certificate { encoding: CertificateEncoding::Pem, data: NO_ONE.to_vec() };
    let config = ClientConfig {
        protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
        tls_certs_only: if plain { vec![no_one] } else { Vec::new() },
        extra_root_certificates: certificates,
        platform_resolver: None,
        read_timeout: Some(STALL),
        connect_timeout: Some(CONNECT),
        user_agent: concat!("dunlin/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    oci_client::Client::try_from(config).map_err(|e| Error::Registry {
        registry: registry.to_owned(),
        operation: "preparing to reach",
        reference: registry.to_owned(),
        reason: format!(
            "{}; are the system's certificate authorities installed (ca-certificates)?",
            dunlin_base::error::chain(&e)
        ),
    })
}

/// Whether trying again may help.
pub(crate) fn is_temporary(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => true,
        OciDistributionError::ServerError { code, .. } => *code >= 500 || *code == 429 || *code == 408,
        OciDistributionError::RegistryError { envelope, .. } => {
            envelope.errors.iter().any(|e| e.code == OciErrorCode::Toomanyrequests)
        }
        _ => false,
    }
}

/// Says in our words what a registry or the way to it answered.
pub(crate) fn explain(
    error: &OciDistributionError,
    registry: &str,
    operation: &'static str,
    reference: &str,
) -> Error {
    let (registry, reference) = (registry.to_owned(), reference.to_owned());
    let has = |codes: &[OciErrorCode]| match error {
        OciDistributionError::RegistryError { envelope, .. } => {
            envelope.errors.iter().any(|e| codes.contains(&e.code))
        }
        _ => false,
    };
    let code = match error {
        OciDistributionError::ServerError { code, .. } => *code,
        _ => 0,
    };
    use OciDistributionError as E;
    use OciErrorCode as C;
    if matches!(error, E::UnauthorizedError { .. } | E::AuthenticationFailure(_))
        || matches!(code, 401 | 403)
        || has(&[C::Unauthorized, C::Denied])
    {
        return Error::Unauthorized { registry, operation, reference };
    }
    let unknown = [C::ManifestUnknown, C::NameUnknown, C::NotFound, C::BlobUnknown, C::ManifestBlobUnknown];
    if matches!(error, E::ImageManifestNotFoundError(_)) || code == 404 || has(&unknown) {
        return Error::Unknown { registry, reference };
    }
    let reason = match error {
        E::RegistryError { envelope, .. } => {
            envelope.errors.iter().map(|e| e.message.as_str()).collect::<Vec<_>>().join("; ")
        }
        E::ServerError { code, message, .. } => format!("HTTP status {code} {}", shortened(message)),
        other => dunlin_base::error::chain(other),
    };
    if is_temporary(error) {
        return Error::Unreachable { registry, operation, reference, reason };
    }
    Error::Registry { registry, operation, reference, reason }
}

/// The beginning of a server's text: some answer with whole pages.
fn shortened(text: &str) -> String {
    let line: String = text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::types::Mirror;

    #[test]
    fn plain_http_is_for_this_machine_and_for_what_is_configured() {
        let insecure = ["registry.site:5000".to_owned(), "10.1.2.3".to_owned()];
        for registry in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000"] {
            assert!(is_plain(registry, &[]), "{registry}");
        }
        for registry in ["registry.site:5000", "10.1.2.3:80", "10.1.2.3"] {
            assert!(is_plain(registry, &insecure), "{registry}");
            assert!(!is_plain(registry, &[]), "{registry}");
        }
        assert!(!is_plain("registry.site:5001", &insecure));
        assert!(!is_plain("localhost.example.com", &insecure));
    }

    #[test]
    fn mirrors_come_first_and_get_no_credentials() {
        let options = RegistryOptions {
            insecure: vec!["mirror:5000".into(), "docker.io".into()],
            mirrors: vec![
                Mirror { registry: "docker.io".into(), endpoint: "mirror:5000/hub".into() },
                Mirror { registry: "quay.io".into(), endpoint: "other:5000".into() },
            ],
            ca_files: Vec::new(),
        };
        let credentials = Credentials::Basic { username: "u".into(), password: "p".into() };
        let reference = Reference::parse("busybox").expect("name");
        let endpoints = endpoints(&reference, Some(&credentials), &options).expect("endpoints");
        let names: Vec<String> = endpoints.iter().map(|e| e.image.to_string()).collect();
        assert_eq!(names, ["mirror:5000/hub/library/busybox:latest", "docker.io/library/busybox:latest"]);
        assert_eq!(endpoints[0].auth, RegistryAuth::Anonymous);
        assert_ne!(endpoints[1].auth, RegistryAuth::Anonymous);
    }
}
