//! Signed tokens of others: taking them apart, and verifying them with the keys that their issuer publishes.
//!
//! Source: RFC 7515 (JWS), 7517 (JWK), 7518 (algorithms), 8037 (EdDSA). A key verifies only algorithms of its own kind, so
//! a token cannot choose to be verified by something weaker; `none` and shared secrets do not exist here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;

use crate::Error;

/// The longest token that is looked at, bytes: names of many groups make them long.
const LONGEST: usize = 64 * 1024;
/// The largest set of keys, and how many keys of it are looked at.
const KEYS: (usize, usize) = (1 << 20, 100);

/// The algorithms of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// All of them with their names.
    pub const NAMES: &[(&str, Self)] = &[
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];

    /// The algorithm of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, algorithm)| *algorithm)
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &RSA_PSS_2048_8192_SHA512,
            _ => return None,
        })
    }
}

/// The token is not one that could be verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token is malformed: {0}")]
pub struct Malformed(&'static str);

/// A token taken apart. Nothing of it is true before it is verified.
#[derive(Debug)]
pub struct Token<'t> {
    /// The name of the algorithm.
    pub algorithm: String,
    /// The name of the key; empty if it names none.
    pub key: String,
    /// What it says, as JSON.
    pub payload: Vec<u8>,
    signed: &'t str,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

impl<'t> Token<'t> {
    /// Takes a token in compact form apart.
    ///
    /// # Errors
    /// When it has not that form.
    pub fn parse(text: &'t str) -> Result<Self, Malformed> {
        if text.len() > LONGEST {
            return Err(Malformed("it is too long"));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Malformed("it has not three parts"))?;
        let (header, payload) = signed.split_once('.').ok_or(Malformed("it has not three parts"))?;
        let decode = |part: &str| BASE64.decode(part).map_err(|_| Malformed("a part is not base64url"));
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| Malformed("its header cannot be read"))?;
        if header.crit.is_some() {
            return Err(Malformed("its header demands an extension"));
        }
        Ok(Self {
            algorithm: header.alg,
            key: header.kid,
            payload: decode(payload)?,
            signed,
            signature: decode(signature)?,
        })
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A public key with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: String,
    /// The only algorithm for which it is meant, if it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

/// The keys of an issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

/// Why a token was not verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// Its algorithm is not one that is accepted.
    #[error("its algorithm {0:?} is not accepted")]
    Algorithm(String),
    /// There is no such key; there may be a newer set.
    #[error("its key {0:?} is not known")]
    Key(String),
    /// The signature is wrong.
    #[error("its signature is wrong")]
    Signature,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Jwk {
    kty: String,
    kid: String,
    alg: String,
    r#use: String,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
}

impl Keys {
    /// Reads a JSON Web Key Set. Keys of kinds that are not known, and those that are not for signatures, are left out.
    ///
    /// # Errors
    /// When it is no such set.
    pub fn read(json: &[u8]) -> Result<Self, Error> {
        if json.len() > KEYS.0 {
            return Err(Error::malformed("key set", format!("it is longer than {} bytes", KEYS.0)));
        }
        let set: Set = serde_json::from_slice(json).map_err(|e| Error::malformed("key set", e))?;
        let keys = set.keys.into_iter().take(KEYS.1);
        Ok(Self(keys.filter_map(|key| serde_json::from_value(key).ok()).filter_map(key).collect()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies a token that is signed by one of `accepted`.
    ///
    /// # Errors
    /// When it is not signed by one of these keys.
    pub fn verify(&self, token: &Token<'_>, accepted: &[Algorithm]) -> Result<(), Unverified> {
        let algorithm = Algorithm::named(&token.algorithm)
            .filter(|algorithm| accepted.contains(algorithm))
            .ok_or_else(|| Unverified::Algorithm(token.algorithm.clone()))?;
        // A token that names no key may be signed by any of them.
        let mut candidates = self.0.iter().filter(|k| token.key.is_empty() || k.id == token.key).peekable();
        if candidates.peek().is_none() {
            return Err(Unverified::Key(token.key.clone()));
        }
        let mut fitting = candidates.filter(|key| key.algorithm.is_none_or(|own| own == algorithm));
        if fitting.any(|key| key.material.verifies(algorithm, token.signed.as_bytes(), &token.signature)) {
            return Ok(());
        }
        // Without a name a newer set may hold the right one.
        Err(if token.key.is_empty() { Unverified::Key(String::new()) } else { Unverified::Signature })
    }
}

fn key(jwk: Jwk) -> Option<Key> {
    if !matches!(jwk.r#use.as_str(), "" | "sig") {
        return None;
    }
    let decode = |text: &str| BASE64.decode(text.trim_end_matches('=')).ok();
    let material = match (jwk.kty.as_str(), jwk.crv.as_str()) {
        ("RSA", _) => Material::Rsa { n: unsigned(decode(&jwk.n)?), e: unsigned(decode(&jwk.e)?) },
        ("EC", "P-256") => Material::P256(point(decode(&jwk.x)?, decode(&jwk.y)?, 32)?),
        ("EC", "P-384") => Material::P384(point(decode(&jwk.x)?, decode(&jwk.y)?, 48)?),
        ("OKP", "Ed25519") => Material::Ed25519(decode(&jwk.x)?),
        _ => return None,
    };
    let algorithm = match jwk.alg.as_str() {
        "" => None,
        name => Some(Algorithm::named(name)?),
    };
    Some(Key { id: jwk.kid, algorithm, material })
}

/// A number without leading zeros, as the verification wants it.
fn unsigned(bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    bytes[zeros..].to_vec()
}

/// An uncompressed point of a curve whose coordinates have `size` bytes.
fn point(x: Vec<u8>, y: Vec<u8>, size: usize) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for coordinate in [x, y] {
        point.extend(std::iter::repeat_n(0, size.checked_sub(coordinate.len())?));
        point.extend(coordinate);
    }
    Some(point)
}

impl Material {
    fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let plain = |how: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(how, key).verify(signed, signature).is_ok()
        };
        match (self, algorithm) {
            (Self::P256(key), Algorithm::Es256) => plain(&ECDSA_P256_SHA256_FIXED, key),
            (Self::P384(key), Algorithm::Es384) => plain(&ECDSA_P384_SHA384_FIXED, key),
            (Self::Ed25519(key), Algorithm::EdDsa) => plain(&ED25519, key),
            (Self::Rsa { n, e }, algorithm) => algorithm
                .rsa()
                .is_some_and(|how| RsaPublicKeyComponents { n, e }.verify(how, signed, signature).is_ok()),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;
    use crate::jwt::{Bound, Claims, Issuer, Reference};

    /// The example of RFC 8037, appendix A.4, and its key.
    const ED_TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    /// The example of RFC 7515, appendix A.2, and its key.
    const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

    fn all() -> Vec<Algorithm> {
        Algorithm::NAMES.iter().map(|(_, algorithm)| *algorithm).collect()
    }

    fn keys(keys: serde_json::Value) -> Keys {
        Keys::read(json!({"keys": keys}).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn published_examples_verify_and_changed_ones_do_not() {
        let keys = keys(json!([
            {"kty": "OKP", "crv": "Ed25519", "x": ED_X, "kid": "ed"},
            {"kty": "RSA", "n": RSA_N, "e": "AQAB", "kid": "rsa", "use": "sig"},
            {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
            {"kty": "RSA", "n": RSA_N, "e": "AQAB", "kid": "of another use", "use": "enc"},
        ]));
        assert_eq!(keys.len(), 2);
        for text in [ED_TOKEN, RSA_TOKEN] {
            let mut token = Token::parse(text).unwrap();
            assert_eq!(keys.verify(&token, &all()), Ok(()));
            let only = [Algorithm::Es256];
            assert_eq!(keys.verify(&token, &only), Err(Unverified::Algorithm(token.algorithm.clone())));
            token.signature[0] ^= 1;
            assert_eq!(keys.verify(&token, &all()), Err(Unverified::Key(String::new())));
            token.key = "rsa".into();
            assert_eq!(keys.verify(&token, &all()), Err(Unverified::Signature));
            token.key = "new".into();
            assert_eq!(keys.verify(&token, &all()), Err(Unverified::Key("new".into())));
            // The algorithm is the key's affair: RSA's other padding is another algorithm.
            token.algorithm = "PS256".into();
            token.key = "rsa".into();
            token.signature[0] ^= 1;
            assert_eq!(keys.verify(&token, &all()), Err(Unverified::Signature));
        }
    }

    #[test]
    fn our_own_tokens_verify_by_our_published_keys() {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::open_or_create(folder.path(), "https://a").unwrap();
        let claims = Claims {
            iss: "https://a".into(),
            sub: "s".into(),
            aud: vec!["a".into()],
            exp: 1,
            iat: 0,
            nbf: 0,
            jti: None,
            kubernetes: Bound {
                namespace: "n".into(),
                serviceaccount: Reference { name: "s".into(), uid: "u".into() },
                pod: None,
                secret: None,
                node: None,
            },
        };
        let text = issuer.issue(&claims).unwrap();
        let token = Token::parse(&text).unwrap();
        let keys = Keys::read(issuer.jwks().to_string().as_bytes()).unwrap();
        assert_eq!(keys.verify(&token, &[Algorithm::Es256]), Ok(()));
    }

    #[test]
    fn a_key_for_one_algorithm_verifies_no_other() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let x = BASE64.encode(pair.public_key().as_ref());
        let signed = format!("{}.{}", BASE64.encode(r#"{"alg":"EdDSA","kid":"a"}"#), BASE64.encode("{}"));
        let text = format!("{signed}.{}", BASE64.encode(pair.sign(signed.as_bytes()).as_ref()));
        let token = Token::parse(&text).unwrap();
        let with =
            |alg: &str| keys(json!([{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "a", "alg": alg}]));
        assert_eq!(with("EdDSA").verify(&token, &all()), Ok(()));
        assert_eq!(with("ES256").verify(&token, &all()), Err(Unverified::Signature));
        assert!(with("HS256").is_empty());
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in [
            "",
            "a.b",
            "a.b.c",
            "e30.e30.e30",
            "eyJhbGciOiJub25lIn0",
            "eyJhbGciOiJFUzI1NiIsImNyaXQiOlsieCJdfQ.e30.e30",
        ] {
            assert!(Token::parse(text).is_err(), "{text}");
        }
        assert!(Token::parse(&format!("{ED_TOKEN}{}", "A".repeat(LONGEST))).is_err());
        let none = Token::parse("eyJhbGciOiJub25lIn0.e30.").unwrap();
        let any = keys(json!([{"kty": "OKP", "crv": "Ed25519", "x": ED_X}]));
        assert_eq!(any.verify(&none, &all()), Err(Unverified::Algorithm("none".into())));
        assert!(Keys::read(b"[]").is_err());
    }
}
