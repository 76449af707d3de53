//! Credentials for pulling images, from `imagePullSecrets`.

use base64::Engine as _;
use dunlin_runtime::image::Credentials;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::agent::Shared;
use crate::model::spec;
use crate::sources::Kind;

/// The credentials for `image`, if a pull secret of the pod has some for its registry.
pub async fn credentials(shared: &Shared, pod: &Pod, image: &str) -> Option<Credentials> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    for secret in spec(pod).image_pull_secrets.iter().flatten() {
        let Ok(data) = shared.sources.get(Kind::Secret, namespace, &secret.name, uid).await else { continue };
        let auths = match (data.values.get(".dockerconfigjson"), data.values.get(".dockercfg")) {
            (Some(bytes), _) => serde_json::from_slice::<Value>(bytes).ok().map(|v| v["auths"].clone()),
            (_, Some(bytes)) => serde_json::from_slice(bytes).ok(),
            _ => None,
        };
        if let Some(found) = auths.as_ref().and_then(|a| choose(a, image)) {
            return Some(found);
        }
    }
    None
}

/// The entry of `auths` for the image's registry.
fn choose(auths: &Value, image: &str) -> Option<Credentials> {
    let first = image.split('/').next().unwrap_or("");
    let registry = if image.contains('/') && (first.contains(['.', ':']) || first == "localhost") {
        first
    } else {
        "docker.io"
    };
    auths.as_object()?.iter().find_map(|(key, entry)| {
        let host =
            key.trim_start_matches("https://").trim_start_matches("http://").split('/').next().unwrap_or("");
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        if host != registry {
            return None;
        }
        if let (Some(username), Some(password)) = (entry["username"].as_str(), entry["password"].as_str()) {
            return Some(Credentials::Basic { username: username.to_owned(), password: password.to_owned() });
        }
        let decoded = base64::engine::general_purpose::STANDARD.decode(entry["auth"].as_str()?).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (username, password) = text.split_once(':')?;
        Some(Credentials::Basic { username: username.to_owned(), password: password.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_by_registry() {
        let auths = serde_json::json!({"https://index.docker.io/v1/": {"auth": "dTpw"}, "r.example:5000": {"username": "a", "password": "b"}});
        let basic = |u: &str, p: &str| Some(Credentials::Basic { username: u.into(), password: p.into() });
        assert_eq!(choose(&auths, "busybox"), basic("u", "p"));
        assert_eq!(choose(&auths, "r.example:5000/x/y:1"), basic("a", "b"));
        assert_eq!(choose(&auths, "other.example/x"), None);
    }
}
