//! Volumes that are put together from several sources.

use super::super::FieldError;
use super::super::field::{At, Errors};
use super::super::{extension, selectors, syntax};
use super::{downward_file, file_name, keys, mode};

/// Paths that sources have taken already.
#[derive(Default)]
struct Paths<'a>(Vec<&'a str>);

impl<'a> Paths<'a> {
    /// Takes a path; what is shown of a conflict is another thing for each source.
    fn take(&mut self, volume: &At, path: &'a str, shown: &str, errors: &mut Errors) {
        if self.0.contains(&path) {
            errors.invalid_value(volume, shown, "conflicting duplicate paths");
        } else {
            self.0.push(path);
        }
    }
}

pub(super) fn volume(volume: &At, errors: &mut Errors) {
    mode(&volume.get("defaultMode"), errors);
    let mut paths = Paths::default();
    for item in volume.get("sources").items() {
        let mut count = 0;
        for kind in ["secret", "configMap"] {
            let part = item.get(kind);
            if !part.is_set() {
                continue;
            }
            count += 1;
            errors.need(&part.get("name"));
            keys(&part.get("items"), errors);
            for file in part.get("items").items().iter().filter(|file| !file.get("path").is_empty()) {
                paths.take(volume, file.get("path").text(), part.get("name").text(), errors);
            }
        }
        let part = item.get("downwardAPI");
        if part.is_set() {
            count += 1;
            for file in part.get("items").items() {
                downward_file(&file.at(part.path.clone()), errors);
                let path = file.get("path").text();
                if !path.is_empty() {
                    paths.take(volume, path, path, errors);
                }
            }
        }
        let part = item.get("serviceAccountToken");
        if part.is_set() {
            count += 1;
            token(volume, &part, errors);
        }
        let part = item.get("clusterTrustBundle");
        if part.is_set() {
            count += 1;
            trust_bundle(&part, errors);
            let path = part.get("path").text();
            paths.take(volume, path, path, errors);
        }
        let part = item.get("podCertificate");
        if part.is_set() {
            count += 1;
            certificate(volume, &part, &mut paths, errors);
        }
        if count > 1 {
            errors.forbidden(&item, "may not specify more than 1 volume type per source");
        }
    }
}

fn token(volume: &At, part: &At, errors: &mut Errors) {
    let seconds = part.get("expirationSeconds");
    if seconds.int().is_some_and(|n| n < 600) {
        errors.invalid(&seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds.int().is_some_and(|n| n > 1 << 32) {
        errors.invalid(&seconds, "may not specify a duration larger than 2^32 seconds");
    }
    let path = part.get("path").at(volume.get("path").path);
    if path.is_empty() {
        errors.required(&path, "");
    } else {
        file_name(&path, errors);
    }
}

fn trust_bundle(part: &At, errors: &mut Errors) {
    let (name, signer) = (part.get("name"), part.get("signerName"));
    let selector = part.get("labelSelector");
    match (name.is_set(), signer.is_set()) {
        (true, true) => errors.invalid(part, "only one of name and signerName may be used"),
        (true, false) => {
            if name.is_empty() {
                errors.required(&name, "must be a valid object name");
            }
            for words in syntax::dns_subdomain(name.text()) {
                errors.invalid(&name, format!("not a valid clustertrustbundlename: {words}"));
            }
            if selector.is_set() {
                errors.invalid(&selector, "labelSelector must be unset if name is specified");
            }
        }
        (false, true) => {
            if signer.is_empty() {
                errors.required(&signer, "must be a valid signer name");
            }
            extension::signer_name(&signer, errors);
            selectors::label_selector(&selector, errors);
        }
        (false, false) => errors.required(part, "either name or signerName must be specified"),
    }
    errors.need(&part.get("path"));
    file_name(&part.get("path"), errors);
}

/// How long a certificate may live, in seconds: by the signers of Kubernetes itself, and by others.
const CERTIFICATE_LIFE: (i64, i64) = (24 * 3600, 91 * 24 * 3600);

fn certificate<'a>(volume: &At, part: &At<'a>, paths: &mut Paths<'a>, errors: &mut Errors) {
    let signer = part.get("signerName");
    extension::signer_name(&signer, errors);
    errors.one_of(
        &part.get("keyType"),
        &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"],
    );
    let seconds = part.get("maxExpirationSeconds");
    let own = signer.text().split('/').next().is_some_and(|domain| domain.ends_with("kubernetes.io"));
    let limit = if own { CERTIFICATE_LIFE.0 } else { CERTIFICATE_LIFE.1 };
    if seconds.int().is_some_and(|n| n < 3600) {
        errors.invalid(&seconds, "if provided, maxExpirationSeconds must be >= 3600");
    }
    if seconds.int().is_some_and(|n| n > limit) {
        errors.invalid(&seconds, format!("if provided, maxExpirationSeconds must be <= {limit}"));
    }
    let mut any = false;
    for name in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let path = part.get(name);
        if !path.is_empty() {
            any = true;
            file_name(&path, errors);
            paths.take(volume, path.text(), path.text(), errors);
        }
    }
    if !any {
        let words = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(FieldError::required(&part.path, words));
    }
}
