//! An issuer of OpenID Connect tokens: an HTTPS server with a discovery document and keys, and the keys' secret halves.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64};
use dunlin_pki::Authority;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The secret half of a key, and the algorithm for which it is used.
pub enum Secret {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
    Ps256(RsaKeyPair),
}

/// A key with its name.
pub struct Signer {
    pub id: String,
    pub secret: Secret,
}

impl Signer {
    pub fn es256(id: &str) -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).unwrap();
        Self { id: id.to_owned(), secret: Secret::Es256(pair) }
    }

    pub fn eddsa(id: &str) -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { id: id.to_owned(), secret: Secret::EdDsa(Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap()) }
    }

    /// The RSA key of tests: making one takes long.
    fn rsa() -> RsaKeyPair {
        let lines = include_str!("rsa-key.pem").lines().filter(|line| !line.starts_with("--"));
        RsaKeyPair::from_pkcs8(&STANDARD.decode(lines.collect::<String>()).unwrap()).unwrap()
    }

    pub fn rs256(id: &str) -> Self {
        Self { id: id.to_owned(), secret: Secret::Rs256(Self::rsa()) }
    }

    pub fn ps256(id: &str) -> Self {
        Self { id: id.to_owned(), secret: Secret::Ps256(Self::rsa()) }
    }

    /// The public half, as it is published.
    pub fn published(&self) -> Value {
        let rsa = |pair: &RsaKeyPair| {
            let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
            json!({"kty": "RSA", "kid": self.id, "use": "sig", "n": BASE64.encode(public.n), "e": BASE64.encode(public.e)})
        };
        match &self.secret {
            Secret::Es256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": self.id, "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..])})
            }
            Secret::EdDsa(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": BASE64.encode(pair.public_key().as_ref())})
            }
            Secret::Rs256(pair) | Secret::Ps256(pair) => rsa(pair),
        }
    }

    /// A token that says this.
    pub fn sign(&self, claims: &Value) -> String {
        let random = SystemRandom::new();
        let name = match self.secret {
            Secret::Es256(_) => "ES256",
            Secret::EdDsa(_) => "EdDSA",
            Secret::Rs256(_) => "RS256",
            Secret::Ps256(_) => "PS256",
        };
        let header = json!({"alg": name, "kid": self.id, "typ": "JWT"});
        let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let message = signed.as_bytes();
        let signature = match &self.secret {
            Secret::Es256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Secret::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
            Secret::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Secret::Ps256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", BASE64.encode(signature))
    }
}

/// A running issuer.
pub struct Issuer {
    pub url: String,
    pub ca: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    keys: Vec<Value>,
    down: bool,
    /// How often the keys were asked for.
    asked: usize,
}

impl Issuer {
    /// Starts one at `address` with these keys.
    pub async fn start(folder: &Path, address: SocketAddr, keys: &[&Signer]) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let authority = Authority::open_or_create(folder, "issuer").unwrap();
        let identity =
            authority.issue_server(&[address.ip().to_string()], Duration::from_secs(3600)).unwrap();
        let tls = dunlin_pki::tls::server_config(authority.ca_pem(), &identity, &[b"http/1.1"]).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let url = format!("https://{address}");
        let issuer = Self { url: url.clone(), ca: authority.ca_pem().to_owned(), state: Arc::default() };
        issuer.publish(keys);
        let state = issuer.state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state, url) = (acceptor.clone(), state.clone(), url.clone());
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await.ok()?;
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(stream.read_u8().await.ok()?);
                    }
                    let body = answer(&String::from_utf8_lossy(&request), &url, &state)?;
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    stream.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
                    stream.shutdown().await.ok()
                });
            }
        });
        issuer
    }

    /// Has these keys from now on.
    pub fn publish(&self, keys: &[&Signer]) {
        self.state.lock().unwrap().keys = keys.iter().map(|key| key.published()).collect();
    }

    /// Answers nobody, or everybody again.
    pub fn is_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    pub fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }

    /// Claims of jane that are good for an hour, with changes.
    pub fn claims(&self, change: Value) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims =
            json!({"iss": self.url, "aud": "dunlin", "sub": "jane", "exp": now + 3600, "iat": now});
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }
}

fn answer(request: &str, url: &str, state: &Mutex<State>) -> Option<String> {
    let mut state = state.lock().unwrap();
    if state.down {
        return None;
    }
    match request.split(' ').nth(1)? {
        "/.well-known/openid-configuration" => {
            Some(json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string())
        }
        "/keys" => {
            state.asked += 1;
            Some(json!({"keys": state.keys}).to_string())
        }
        _ => None,
    }
}
