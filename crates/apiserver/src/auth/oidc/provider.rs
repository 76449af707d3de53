//! An issuer's keys: fetched, kept, and fetched again.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dunlin_base::backoff::Backoff;
use dunlin_base::task::Task;
use dunlin_pki::jws::{Keys, Token, Unverified};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::{OidcIssuer, claims};
use crate::config::User;
use crate::outgoing::fetch;

/// How often the keys are read again, so that one that was withdrawn is not good for ever.
const REREAD: Duration = Duration::from_secs(3600);
/// Two tries are this far apart, whoever asks for them.
const APART: Duration = Duration::from_secs(10);
/// The longest wait between two tries when nobody asks.
const LONGEST: Duration = Duration::from_secs(300);
/// How long the issuer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An issuer with what is known of its keys. Dropping it ends the reading.
pub struct Provider {
    inner: Arc<Inner>,
    _reading: Task,
}

struct Inner {
    issuer: OidcIssuer,
    keys: Mutex<Arc<Keys>>,
    /// When the last try began. Whoever holds it tries.
    tried: tokio::sync::Mutex<Option<Instant>>,
}

impl Provider {
    /// Takes the keys that were kept, and begins to read those that are published.
    pub fn start(issuer: OidcIssuer) -> Self {
        let kept = issuer.cache.as_deref().and_then(|file| kept(file, &issuer.url)).unwrap_or_default();
        let inner = Arc::new(Inner { issuer, keys: Mutex::new(Arc::new(kept)), tried: Default::default() });
        let reading = inner.clone();
        Self { inner, _reading: Task::spawn("OpenID Connect keys", async move { reading.follow().await }) }
    }

    pub fn issuer(&self) -> &OidcIssuer {
        &self.inner.issuer
    }

    /// The user of a token that names this issuer, or why it is refused.
    pub async fn user(&self, token: &Token<'_>) -> Result<User, String> {
        let issuer = &self.inner.issuer;
        self.verify(token).await.map_err(|unverified| unverified.to_string())?;
        let claims: Value =
            serde_json::from_slice(&token.payload).map_err(|_| "its claims cannot be read".to_owned())?;
        claims::user(issuer, &claims, Timestamp::now().as_second())
    }

    async fn verify(&self, token: &Token<'_>) -> Result<(), Unverified> {
        let known = self.inner.keys();
        match known.verify(token, &self.inner.issuer.algorithms) {
            Err(Unverified::Key(_)) => {
                self.inner.renew(&known).await;
                self.inner.keys().verify(token, &self.inner.issuer.algorithms)
            }
            other => other,
        }
    }
}

impl Inner {
    fn keys(&self) -> Arc<Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the keys again and again.
    async fn follow(&self) {
        let mut backoff = Backoff::new(APART * 2, LONGEST);
        loop {
            let known = self.keys();
            match self.renew(&known).await {
                true => {
                    backoff.reset();
                    tokio::time::sleep(REREAD).await;
                }
                false => tokio::time::sleep(backoff.next_delay()).await,
            }
        }
    }

    /// Reads the keys, unless somebody has done it since `known` was current, or tried a moment ago. Whether it went well.
    async fn renew(&self, known: &Arc<Keys>) -> bool {
        let mut tried = self.tried.lock().await;
        if !Arc::ptr_eq(known, &self.keys()) {
            return true;
        }
        if tried.is_some_and(|at| at.elapsed() < APART) {
            return false;
        }
        *tried = Some(Instant::now());
        match self.read().await {
            Ok((keys, text)) => {
                let changed = keys != **known;
                *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                if changed {
                    tracing::info!(
                        issuer = self.issuer.url,
                        keys = self.keys().len(),
                        "keys of an OpenID Connect issuer read"
                    );
                    self.keep(&text);
                }
                true
            }
            Err(why) => {
                tracing::warn!(
                    issuer = self.issuer.url,
                    known = known.len(),
                    error = why,
                    "reading the keys of an OpenID Connect issuer failed; tokens whose keys are known are accepted"
                );
                false
            }
        }
    }

    async fn read(&self) -> Result<(Keys, Vec<u8>), String> {
        let issuer = &self.issuer;
        let place = match &issuer.discovery_url {
            Some(url) => url.clone(),
            None => format!("{}/.well-known/openid-configuration", issuer.url.trim_end_matches('/')),
        };
        let ca = issuer.ca.as_deref();
        let document: Value = serde_json::from_slice(&fetch(&place, ca, PATIENCE).await?)
            .map_err(|e| format!("{place} is no discovery document: {e}"))?;
        if document["issuer"].as_str() != Some(&issuer.url) {
            return Err(format!("{place} is of the issuer {}, not of {:?}", document["issuer"], issuer.url));
        }
        let place = document["jwks_uri"].as_str().ok_or_else(|| format!("{place} names no jwks_uri"))?;
        let text = fetch(place, ca, PATIENCE).await?;
        let keys = Keys::read(&text).map_err(|e| format!("{place}: {e}"))?;
        if keys.is_empty() {
            return Err(format!("{place} holds no key of a kind that is known"));
        }
        Ok((keys, text.to_vec()))
    }

    /// Keeps the keys for the next start. Without them it has to wait for the issuer, and no more is lost.
    fn keep(&self, text: &[u8]) {
        let Some(file) = &self.issuer.cache else { return };
        let kept = serde_json::json!({"issuer": self.issuer.url, "keys": String::from_utf8_lossy(text)});
        let temporary = file.with_extension("new");
        let written =
            std::fs::write(&temporary, kept.to_string()).and_then(|()| std::fs::rename(&temporary, file));
        if let Err(error) = written {
            tracing::warn!(path = %file.display(), %error, "keys of an OpenID Connect issuer were not kept");
        }
    }
}

/// The keys of an issuer that were kept.
fn kept(file: &Path, issuer: &str) -> Option<Keys> {
    let kept: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    if kept["issuer"] != issuer {
        return None;
    }
    Keys::read(kept["keys"].as_str()?.as_bytes()).ok()
}
