//! People whom somebody else knows: tokens of OpenID Connect issuers.
//!
//! A token is verified with the keys that its issuer publishes. They are read ahead of time and kept, on disk too, so that
//! a site that is cut off still knows its people. A key that is not known is asked for at once, but not more often than
//! [`provider`] says, because anybody can name a key.

mod claims;
mod expression;
mod provider;

use std::path::PathBuf;

use dunlin_pki::jws::{Algorithm, Token};
use serde_json::Value;

pub use expression::{Expression, Gives};
pub use provider::Provider;

use crate::config::User;

/// One issuer whose tokens are accepted, and how its claims become a user (`JWTAuthenticator` of Kubernetes).
#[derive(Debug, Clone)]
pub struct OidcIssuer {
    /// Its URL, as tokens name it.
    pub url: String,
    /// Where its discovery document is, if not at its usual place.
    pub discovery_url: Option<String>,
    /// The certificate authority of its server, PEM; the system's if there is none.
    pub ca: Option<Vec<u8>>,
    /// A token has to be for one of these.
    pub audiences: Vec<String>,
    /// The algorithms of signatures that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// Where the name comes from.
    pub username: Source,
    /// Where the groups come from.
    pub groups: Option<Source>,
    /// Where the uid comes from.
    pub uid: Option<Source>,
    /// Further facts, by their keys.
    pub extra: Vec<(String, Expression)>,
    /// Claims that have to be there with just this value.
    pub required: Vec<(String, String)>,
    /// What has to hold for the claims.
    pub claim_rules: Vec<Rule>,
    /// What has to hold for the user that is made of them.
    pub user_rules: Vec<Rule>,
    /// The file in which its keys are kept over a restart.
    pub cache: Option<PathBuf>,
}

/// From where a name comes.
#[derive(Debug, Clone)]
pub enum Source {
    /// From one claim.
    Claim(Mapping),
    /// From an expression over all of them.
    Expression(Expression),
}

/// Something that has to hold, and what is said if it does not.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What has to hold.
    pub expression: Expression,
    /// What is said.
    pub message: String,
}

/// A claim, and what stands before its value in the name of a user or group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The claim.
    pub claim: String,
    /// What stands before its value.
    pub prefix: String,
}

/// The issuer that a token names; nothing is verified.
fn named(token: &Token<'_>) -> Option<String> {
    let claims: Value = serde_json::from_slice(&token.payload).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// The user of a token of one of these issuers; `None` if it is of none of them, or is not accepted, which the log tells.
pub async fn user(providers: &[Provider], token: &str) -> Option<User> {
    if providers.is_empty() {
        return None;
    }
    let token = Token::parse(token).ok()?;
    let issuer = named(&token)?;
    let provider = providers.iter().find(|provider| provider.issuer().url == issuer)?;
    match provider.user(&token).await {
        Ok(user) => Some(user),
        Err(why) => {
            tracing::info!(issuer, reason = %why, "a token of an OpenID Connect issuer was refused");
            None
        }
    }
}
