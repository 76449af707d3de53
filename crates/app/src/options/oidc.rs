//! An issuer of OpenID Connect tokens, as flags describe it. The rules are those of Kubernetes' API server.

use dunlin_apiserver::{Mapping, OidcIssuer, Source};
use dunlin_pki::jws::Algorithm;

use super::access::Access;
use crate::error::Error;

/// The largest file with certificates that is read, bytes.
const LARGEST: u64 = 1 << 20;

/// The issuer that the choices describe, if they do.
///
/// # Errors
/// When something is said that cannot be followed.
pub fn issuer(choices: &Access) -> Result<Option<OidcIssuer>, Error> {
    let wrong = |text: String| Err(Error::Input(text));
    let (url, client) = match (&choices.oidc_issuer_url, &choices.oidc_client_id) {
        (Some(url), Some(client)) => (url.clone(), client.clone()),
        (None, None) if !is_any(choices) => return Ok(None),
        _ => {
            return wrong(
                "--oidc-issuer-url and --oidc-client-id go together: give both, whenever another --oidc flag is given"
                    .to_owned(),
            );
        }
    };
    if !url.starts_with("https://") {
        return wrong(format!("--oidc-issuer-url {url} is wrong: it has to begin with https://"));
    }
    let mut algorithms = Vec::new();
    for name in choices.oidc_signing_algs.iter().flat_map(|names| names.split(',')) {
        let Some(algorithm) = Algorithm::named(name) else {
            let known: Vec<&str> = Algorithm::NAMES.iter().map(|(name, _)| *name).collect();
            return wrong(format!("--oidc-signing-algs {name} is wrong: there are {}", known.join(", ")));
        };
        algorithms.push(algorithm);
    }
    if algorithms.is_empty() {
        algorithms.push(Algorithm::Rs256);
    }
    let mut required = Vec::new();
    for text in &choices.oidc_required_claim {
        match text.split_once('=') {
            Some((claim, value)) if !claim.is_empty() => required.push((claim.to_owned(), value.to_owned())),
            _ => return wrong(format!("--oidc-required-claim {text:?} is wrong: write CLAIM=VALUE")),
        }
    }
    let claim = choices.oidc_username_claim.clone().unwrap_or_else(|| "sub".to_owned());
    let prefix = match choices.oidc_username_prefix.as_deref() {
        Some("-") => String::new(),
        Some(prefix) => prefix.to_owned(),
        // Names that two issuers could give to two people are kept apart.
        None if claim != "email" => format!("{url}#"),
        None => String::new(),
    };
    let groups = choices.oidc_groups_claim.clone().map(|claim| {
        Source::Claim(Mapping { claim, prefix: choices.oidc_groups_prefix.clone().unwrap_or_default() })
    });
    Ok(Some(OidcIssuer {
        discovery_url: None,
        ca: authority(choices)?,
        audiences: vec![client],
        algorithms,
        username: Source::Claim(Mapping { claim, prefix }),
        groups,
        uid: None,
        extra: Vec::new(),
        required,
        claim_rules: Vec::new(),
        user_rules: Vec::new(),
        cache: None,
        url,
    }))
}

/// Whether anything is said of an issuer.
pub(super) fn is_any(choices: &Access) -> bool {
    choices.oidc_issuer_url.is_some()
        || choices.oidc_client_id.is_some()
        || choices.oidc_username_claim.is_some()
        || choices.oidc_username_prefix.is_some()
        || choices.oidc_groups_claim.is_some()
        || choices.oidc_groups_prefix.is_some()
        || choices.oidc_ca_file.is_some()
        || !choices.oidc_required_claim.is_empty()
        || !choices.oidc_signing_algs.is_empty()
}

fn authority(choices: &Access) -> Result<Option<Vec<u8>>, Error> {
    let Some(file) = &choices.oidc_ca_file else { return Ok(None) };
    let shown = file.display();
    let wrong = |why: String| Error::Input(format!("--oidc-ca-file {shown} cannot be used: {why}"));
    if std::fs::metadata(file).map_err(|e| wrong(e.to_string()))?.len() > LARGEST {
        return Err(wrong(format!("it is larger than {LARGEST} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
    match dunlin_pki::tls::certificates(&text) {
        Ok(found) if !found.is_empty() => Ok(Some(text.into_bytes())),
        Ok(_) => Err(wrong("it holds no certificate in PEM form".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> Access {
        Access {
            oidc_issuer_url: Some("https://a".into()),
            oidc_client_id: Some("us".into()),
            ..Access::default()
        }
    }

    #[test]
    fn names_of_an_issuer_are_its_own_unless_told_otherwise() {
        let prefix = |change: fn(&mut Access)| {
            let mut choices = both();
            change(&mut choices);
            match issuer(&choices).unwrap().unwrap().username {
                Source::Claim(mapping) => mapping.prefix,
                Source::Expression(expression) => panic!("{expression:?}"),
            }
        };
        assert_eq!(prefix(|_| {}), "https://a#");
        assert_eq!(prefix(|c| c.oidc_username_claim = Some("email".into())), "");
        assert_eq!(prefix(|c| c.oidc_username_prefix = Some("-".into())), "");
        assert_eq!(prefix(|c| c.oidc_username_prefix = Some("a:".into())), "a:");
        assert!(issuer(&Access::default()).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "nothing").unwrap();
        let refuse = |change: &dyn Fn(&mut Access), words: &str| {
            let mut choices = both();
            change(&mut choices);
            let told = issuer(&choices).unwrap_err().to_string();
            assert!(told.contains(words), "{told}");
        };
        refuse(&|c| c.oidc_client_id = None, "go together");
        refuse(&|c| c.oidc_issuer_url = Some("http://a".into()), "https://");
        refuse(&|c| c.oidc_signing_algs = vec!["RS256,HS256".into()], "HS256");
        refuse(&|c| c.oidc_required_claim = vec!["hd".into()], "CLAIM=VALUE");
        refuse(&|c| c.oidc_ca_file = Some(file.clone()), "ca.pem");
        let lonely = Access { oidc_groups_claim: Some("groups".into()), ..Access::default() };
        assert!(issuer(&lonely).is_err());
    }
}
