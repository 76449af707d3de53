//! Bootstrap tokens: `<id>.<secret>`, kept as Secrets in `kube-system`, used by machines that join.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use crate::auth::same;
use crate::config::User;
use crate::failure::Result;
use crate::object::text;
use crate::resources::known;
use crate::server::Inner;
use crate::time;

/// Id and secret, if the token has that form.
pub fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

/// The user of a token that is known, meant for authentication, and not expired.
pub async fn user(server: &Inner, id: &str, secret: &str) -> Result<Option<User>> {
    let name = format!("bootstrap-token-{id}");
    let Some(stored) = server.find(known("", "secrets"), "kube-system", &name).await? else {
        return Ok(None);
    };
    Ok(check(&stored.value, id, secret, Timestamp::now()))
}

fn field(value: &Value, name: &str) -> String {
    if let Some(plain) = value.get("stringData").and_then(|d| d.get(name)).and_then(Value::as_str) {
        return plain.to_owned();
    }
    let bytes = STANDARD.decode(text(value, &["data", name])).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

fn check(value: &Value, id: &str, secret: &str, now: Timestamp) -> Option<User> {
    if text(value, &["type"]) != "bootstrap.kubernetes.io/token"
        || !text(value, &["metadata", "deletionTimestamp"]).is_empty()
        || field(value, "token-id") != id
        || !same(field(value, "token-secret").as_bytes(), secret.as_bytes())
        || field(value, "usage-bootstrap-authentication") != "true"
    {
        return None;
    }
    let expiry = field(value, "expiration");
    if !expiry.is_empty() && time::parse(&expiry).is_none_or(|end| end <= now) {
        return None;
    }
    let mut user = User::new(format!("system:bootstrap:{id}"), &["system:bootstrappers"]);
    let extra = field(value, "auth-extra-groups");
    user.groups
        .extend(extra.split(',').filter(|g| g.starts_with("system:bootstrappers:")).map(str::to_owned));
    Some(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_is_good_until_it_expires() {
        let encode = |s: &str| json!(STANDARD.encode(s));
        let secret = json!({"type": "bootstrap.kubernetes.io/token", "metadata": {}, "data": {
            "token-id": encode("abcdef"), "token-secret": encode("0123456789abcdef"),
            "usage-bootstrap-authentication": encode("true"), "expiration": encode("2026-01-01T00:00:00Z"),
        }});
        let at = |t: &str| check(&secret, "abcdef", "0123456789abcdef", t.parse().unwrap());
        assert_eq!(at("2025-12-31T23:59:59Z").unwrap().name, "system:bootstrap:abcdef");
        assert!(at("2026-01-01T00:00:00Z").is_none());
        assert!(check(&secret, "abcdef", "0123456789abcdeX", Timestamp::UNIX_EPOCH).is_none());
    }
}
