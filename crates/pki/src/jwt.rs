//! Service account tokens: JSON Web Tokens (RFC 7519) signed with ES256, with the claims of Kubernetes' bound tokens.
//!
//! Only what this server issued is accepted: one key, one algorithm, no `none`, nothing taken from the header but the
//! key's name. Whether the pod that a token is bound to still exists is the API server's question.

use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::{clock, files, identity};

/// The largest token that is looked at. Ours have about 1 KiB.
pub const MOST_TOKEN: usize = 16 << 10;

/// How far the clocks of issuer and verifier may differ. They are the same machine here, but a clock that is set back a
/// little must not lock out every pod.
const SKEW: i64 = 60;

/// Why a token is refused. The texts do not repeat the token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not three parts of base64 with JSON in them, or too large.
    #[error("the token is malformed")]
    Malformed,
    /// Another key or algorithm, or a changed token.
    #[error("the token's signature is not ours")]
    Signature,
    /// Another issuer.
    #[error("the token's issuer is not {expected:?}")]
    Issuer {
        /// Ours.
        expected: String,
    },
    /// Made for someone else.
    #[error("the token's audiences {found:?} contain none of {wanted:?}")]
    Audience {
        /// The token's.
        found: Vec<String>,
        /// The verifier's.
        wanted: Vec<String>,
    },
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// The system gave no randomness.
    #[error("signing a token failed")]
    Sign,
}

/// An object that a token is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Its name.
    pub name: String,
    /// Its uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// Kubernetes' own claims.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// The service account's namespace.
    pub namespace: String,
    /// The service account.
    pub serviceaccount: Bound,
    /// The pod that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Bound>,
    /// The node of that pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Bound>,
    /// The secret that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Bound>,
}

/// The claims of a bound token. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer; `issue` fills in its own.
    #[serde(default)]
    pub iss: String,
    /// `system:serviceaccount:<namespace>:<name>`.
    pub sub: String,
    /// Whom it is for.
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Until when it is valid.
    pub exp: i64,
    /// When it was issued.
    pub iat: i64,
    /// From when it is valid.
    pub nbf: i64,
    /// What names this token; becomes `authentication.kubernetes.io/credential-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Kubernetes' own claims.
    #[serde(rename = "kubernetes.io", default)]
    pub kubernetes: Kubernetes,
}

impl Claims {
    /// Claims of a service account, valid from now for `ttl`. What it is bound to can be added.
    pub fn service_account(
        namespace: &str,
        name: &str,
        uid: &str,
        audiences: &[String],
        now: SystemTime,
        ttl: Duration,
    ) -> Self {
        let iat = clock::seconds(now);
        let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        Self {
            iss: String::new(),
            sub: format!("system:serviceaccount:{namespace}:{name}"),
            aud: audiences.to_vec(),
            exp: iat.saturating_add(ttl),
            iat,
            nbf: iat,
            jti: None,
            kubernetes: Kubernetes {
                namespace: namespace.to_owned(),
                serviceaccount: Bound { name: name.to_owned(), uid: uid.to_owned() },
                ..Kubernetes::default()
            },
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
}

/// Signs and verifies with one key.
pub struct Issuer {
    url: String,
    key: EcdsaKeyPair,
    id: String,
    random: SystemRandom,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("url", &self.url).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Issuer {
    /// Reads `service-account.key` in `dir`, or makes it.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is damaged.
    pub fn open_or_create(dir: &Path, issuer_url: &str) -> crate::Result<Self> {
        let path = dir.join("service-account.key");
        let pem = match files::read(&path)? {
            Some(pem) => pem,
            None => {
                let pem = identity::new_key()?.serialize_pem();
                files::write(&path, pem.as_bytes())?;
                pem
            }
        };
        let malformed = |reason: String| crate::Error::Malformed { what: "service account key", reason };
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| malformed(e.to_string()))?;
        let random = SystemRandom::new();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random)
                .map_err(|e| malformed(e.to_string()))?;
        let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key().as_ref());
        Ok(Self { url: issuer_url.to_owned(), key, id: URL_SAFE_NO_PAD.encode(digest), random })
    }

    /// The issuer's URL, as it stands in `iss`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A signed token with these claims; `iss` is always the issuer's own.
    ///
    /// # Errors
    /// [`Error::Sign`] when there is no randomness.
    pub fn issue(&self, claims: &Claims) -> Result<String, Error> {
        let header = Header { alg: "ES256".into(), kid: Some(self.id.clone()) };
        let claims = Claims { iss: self.url.clone(), ..claims.clone() };
        let part = |json: Result<Vec<u8>, _>| json.map(|j| URL_SAFE_NO_PAD.encode(j)).map_err(|_| Error::Sign);
        let signed = format!("{}.{}", part(serde_json::to_vec(&header))?, part(serde_json::to_vec(&claims))?);
        let signature = self.key.sign(&self.random, signed.as_bytes()).map_err(|_| Error::Sign)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token that this issuer made for at least one of `audiences`.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify<A: AsRef<str>>(&self, token: &str, audiences: &[A], now: SystemTime) -> Result<Claims, Error> {
        if token.len() > MOST_TOKEN {
            return Err(Error::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Error::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Error::Malformed)?;
        let header: Header = decode(header)?;
        if header.alg != "ES256" || header.kid.is_some_and(|kid| kid != self.id) {
            return Err(Error::Signature);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Error::Malformed)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| Error::Signature)?;
        let claims: Claims = decode(claims)?;
        if claims.iss != self.url {
            return Err(Error::Issuer { expected: self.url.clone() });
        }
        if !audiences.iter().any(|a| claims.aud.iter().any(|found| found == a.as_ref())) {
            let wanted = audiences.iter().map(|a| a.as_ref().to_owned()).collect();
            return Err(Error::Audience { found: claims.aud, wanted });
        }
        let now = clock::seconds(now);
        if claims.exp.saturating_add(SKEW) < now {
            return Err(Error::Expired);
        }
        if claims.nbf.saturating_sub(SKEW) > now {
            return Err(Error::NotYet);
        }
        Ok(claims)
    }

    /// The public key as a JSON Web Key Set (RFC 7517), for `/openid/v1/jwks`.
    pub fn jwks(&self) -> Value {
        // An uncompressed point: a 4, then both coordinates.
        let point = self.key.public_key().as_ref();
        let (x, y) = point[1..].split_at((point.len() - 1) / 2);
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]})
    }
}

fn decode<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, Error> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| Error::Malformed)
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}
