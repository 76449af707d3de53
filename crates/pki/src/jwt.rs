//! Service account tokens: JSON Web Tokens signed with ES256, with the claims of Kubernetes' bound tokens.
//!
//! Source: RFC 7515 and 7519, KEP-1205 (bound service account tokens). Only our own signature algorithm is accepted.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::jws::{Algorithm, Keys, Token};
use crate::{Error, files};

/// The longest token that is looked at, bytes.
const LIMIT: usize = 8 * 1024;
/// How far clocks may differ, seconds.
const SKEW: i64 = 60;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer's URL.
    pub iss: String,
    /// `system:serviceaccount:<namespace>:<name>`.
    pub sub: String,
    /// For whom it is.
    pub aud: Vec<String>,
    /// When it ends, seconds since 1970.
    pub exp: i64,
    /// When it was issued.
    pub iat: i64,
    /// From when on it is valid.
    pub nbf: i64,
    /// A unique id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Bound,
}

/// The objects that a token is bound to: when one of them is gone, so is the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The namespace.
    pub namespace: String,
    /// The service account.
    pub serviceaccount: Reference,
    /// The pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
}

/// An object by name and uid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no token of this form.
    #[error("the token is malformed")]
    Malformed,
    /// Somebody else signed it, or it was changed.
    #[error("the token's signature is wrong")]
    Signature,
    /// It comes from another issuer.
    #[error("the token's issuer is {0:?}")]
    Issuer(String),
    /// It is for somebody else.
    #[error("the token is for {0:?}")]
    Audience(Vec<String>),
    /// It is not valid yet, or no longer.
    #[error("the token has expired or is not yet valid")]
    Time,
}

/// Issues and verifies tokens with one key.
pub struct Issuer {
    url: String,
    key: EcdsaKeyPair,
    key_id: String,
    /// The public half, as it is published.
    keys: Keys,
    random: SystemRandom,
}

impl Issuer {
    /// Opens the key in `folder` or makes one; `url` is the issuer that tokens name.
    ///
    /// # Errors
    /// When the key file cannot be read or written, or holds something else.
    pub fn open_or_create(folder: &Path, url: &str) -> Result<Self, Error> {
        let file = folder.join("service-account.p8");
        let random = SystemRandom::new();
        let pkcs8 = match files::read(&file)? {
            Some(bytes) => bytes,
            None => {
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                    .map_err(|e| Error::malformed("key", e))?;
                files::write(&file, made.as_ref())?;
                made.as_ref().to_vec()
            }
        };
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random)
            .map_err(|e| Error::malformed("key", format!("{}: {e}", file.display())))?;
        let key_id = crate::tls::fingerprint(key.public_key().as_ref())[..16].to_owned();
        let keys = Keys::read(published(&key, &key_id).to_string().as_bytes())?;
        Ok(Self { url: url.to_owned(), key, key_id, keys, random })
    }

    /// The issuer's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A signed token.
    ///
    /// # Errors
    /// When signing fails, which needs a broken source of randomness.
    pub fn issue(&self, claims: &Claims) -> Result<String, Error> {
        let header = json!({"alg": "ES256", "kid": self.key_id, "typ": "JWT"}).to_string();
        let payload = serde_json::to_vec(claims).map_err(|e| Error::malformed("claims", e))?;
        let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(payload));
        let signature =
            self.key.sign(&self.random, signed.as_bytes()).map_err(|e| Error::malformed("key", e))?;
        Ok(format!("{signed}.{}", BASE64.encode(signature.as_ref())))
    }

    /// The claims of a token of ours that is for one of `audiences` at `now` (seconds since 1970).
    ///
    /// # Errors
    /// When it is not to be accepted.
    pub fn verify(&self, token: &str, audiences: &[String], now: i64) -> Result<Claims, Refused> {
        if token.len() > LIMIT {
            return Err(Refused::Malformed);
        }
        let token = Token::parse(token).map_err(|_| Refused::Malformed)?;
        self.keys.verify(&token, &[Algorithm::Es256]).map_err(|_| Refused::Signature)?;
        let claims: Claims = serde_json::from_slice(&token.payload).map_err(|_| Refused::Malformed)?;
        if claims.iss != self.url {
            return Err(Refused::Issuer(claims.iss));
        }
        if !claims.aud.iter().any(|a| audiences.contains(a)) {
            return Err(Refused::Audience(claims.aud));
        }
        if now >= claims.exp.saturating_add(SKEW) || now < claims.nbf.saturating_sub(SKEW) {
            return Err(Refused::Time);
        }
        Ok(claims)
    }

    /// The public key as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> Value {
        published(&self.key, &self.key_id)
    }
}

fn published(key: &EcdsaKeyPair, id: &str) -> Value {
    // An uncompressed point: 4, then 32 bytes each of x and y.
    let point = key.public_key().as_ref();
    let (x, y) = point.get(1..65).map_or((&[][..], &[][..]), |p| p.split_at(32));
    json!({"keys": [{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": id,
        "x": BASE64.encode(x), "y": BASE64.encode(y),
    }]})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        let reference = |name: &str| Reference { name: name.to_owned(), uid: "u".to_owned() };
        Claims {
            iss: "https://a".to_owned(),
            sub: "system:serviceaccount:n:s".to_owned(),
            aud: vec!["https://a".to_owned()],
            exp: 1000,
            iat: 0,
            nbf: 0,
            jti: None,
            kubernetes: Bound {
                namespace: "n".to_owned(),
                serviceaccount: reference("s"),
                pod: Some(reference("p")),
                secret: None,
                node: None,
            },
        }
    }

    #[test]
    fn accepts_its_own_tokens_only_and_only_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::open_or_create(&folder.path().join("a"), "https://a").unwrap();
        let again = Issuer::open_or_create(&folder.path().join("a"), "https://a").unwrap();
        let other = Issuer::open_or_create(&folder.path().join("b"), "https://a").unwrap();
        let audience = ["https://a".to_owned()];
        let token = issuer.issue(&claims()).unwrap();
        assert_eq!(again.verify(&token, &audience, 10).unwrap(), claims());
        assert_eq!(other.verify(&token, &audience, 10), Err(Refused::Signature));
        assert_eq!(issuer.verify(&token, &["b".to_owned()], 10), Err(Refused::Audience(claims().aud)));
        assert_eq!(issuer.verify(&token, &audience, 2000), Err(Refused::Time));
        for bad in ["", "a.b", "a.b.c", &token[..token.len() - 4]] {
            assert!(issuer.verify(bad, &audience, 10).is_err());
        }
        let unsigned =
            format!("{}.{}.", BASE64.encode(r#"{"alg":"none"}"#), token.split('.').nth(1).unwrap());
        assert_eq!(issuer.verify(&unsigned, &audience, 10), Err(Refused::Signature));
    }
}
