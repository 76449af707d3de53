//! Service account tokens: good while what they are bound to lives.

use jiff::Timestamp;

use crate::config::User;
use crate::failure::Result;
use crate::object;
use crate::resources::known;
use crate::server::Inner;

/// The groups of every account of a namespace.
pub fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

/// Namespace and name of the service account that a user is.
pub fn named(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let fits = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    };
    (fits(namespace) && fits(name)).then_some((namespace, name))
}

/// The user of a token, if it verifies and everything that it is bound to still exists.
pub async fn user(server: &Inner, token: &str, audiences: &[String]) -> Result<Option<User>> {
    let own = [server.config.issuer_url.clone()];
    let audiences = if audiences.is_empty() { &own[..] } else { audiences };
    let claims = match server.config.issuer.verify(token, audiences, Timestamp::now().as_second()) {
        Ok(claims) => claims,
        Err(refused) => {
            tracing::debug!(reason = %refused, "bearer token refused");
            return Ok(None);
        }
    };
    let bound = &claims.kubernetes;
    let namespace = &bound.namespace;
    let checks = [
        ("serviceaccounts", Some(&bound.serviceaccount)),
        ("pods", bound.pod.as_ref()),
        ("secrets", bound.secret.as_ref()),
    ];
    for (resource, reference) in checks {
        let Some(reference) = reference else { continue };
        let found = server.find(known("", resource), namespace, &reference.name).await?;
        if found.is_none_or(|s| object::uid(&s.value) != reference.uid) {
            tracing::debug!(resource, name = %reference.name, "bearer token is bound to what is gone");
            return Ok(None);
        }
    }
    let mut user = User {
        name: format!("system:serviceaccount:{namespace}:{}", bound.serviceaccount.name),
        uid: bound.serviceaccount.uid.clone(),
        groups: groups(namespace),
        ..User::default()
    };
    let mut tell = |key: &str, value: &str| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    if let Some(pod) = &bound.pod {
        tell("pod-name", &pod.name);
        tell("pod-uid", &pod.uid);
    }
    if let Some(node) = &bound.node {
        tell("node-name", &node.name);
        tell("node-uid", &node.uid);
    }
    if let Some(id) = &claims.jti {
        tell("credential-id", &format!("JTI={id}"));
    }
    Ok(Some(user))
}
