//! The token with which a node or a cluster joins: it names a bootstrap secret and pins the CA of the server.
//!
//! `dunlin1.<sha256 of the CA's DER, 64 hex digits>.<id, 6>.<secret, 16>`. The fingerprint lets the joining side know
//! the server before it trusts it; id and secret are an ordinary Kubernetes bootstrap token, sent as the bearer
//! `<id>.<secret>` and kept as the secret `kube-system/bootstrap-token-<id>`. This module must not make random
//! numbers, and must not print the secret by `Debug`.

use std::fmt;
use std::str::FromStr;

/// Version of the token's form; a newer form gets another word in front.
const PREFIX: &str = "dunlin1";
const FINGERPRINT_LEN: usize = 64;
const ID_LEN: usize = 6;
const SECRET_LEN: usize = 16;

/// A join token, checked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JoinToken {
    fingerprint: String,
    id: String,
    secret: String,
}

/// What is wrong with a token. The secret part is never repeated in the words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is empty or white space.
    #[error("the join token is empty")]
    Empty,
    /// It starts with something else than the version.
    #[error("the join token must start with \"{PREFIX}.\", but starts with {found:?}")]
    Prefix {
        /// What stands there.
        found: String,
    },
    /// It has too few or too many parts.
    #[error(
        "the join token must have four parts separated by dots ({PREFIX}.<fingerprint>.<id>.<secret>), but has {found}; was it cut off when it was copied?"
    )]
    Parts {
        /// How many there are.
        found: usize,
    },
    /// A part has the wrong length.
    #[error("the {part} of the join token must have {expected} characters, but has {found}")]
    Length {
        /// Which part.
        part: &'static str,
        /// How many characters it needs.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// A part has a character that it must not have.
    #[error("the {part} of the join token may only have {allowed}; character {position} is something else")]
    Character {
        /// Which part.
        part: &'static str,
        /// Which characters it may have.
        allowed: &'static str,
        /// Which character is wrong, counted from 1.
        position: usize,
    },
}

const HEX: &str = "the digits 0-9 and a-f";
const ALPHANUMERIC: &str = "lower case letters and digits";

fn check(part: &'static str, text: &str, expected: usize, hex: bool) -> Result<(), Error> {
    let fits =
        |c: char| if hex { matches!(c, '0'..='9' | 'a'..='f') } else { matches!(c, '0'..='9' | 'a'..='z') };
    if let Some(index) = text.chars().position(|c| !fits(c)) {
        return Err(Error::Character {
            part,
            allowed: if hex { HEX } else { ALPHANUMERIC },
            position: index + 1,
        });
    }
    if text.len() != expected {
        return Err(Error::Length { part, expected, found: text.len() });
    }
    Ok(())
}

impl JoinToken {
    /// Makes a token out of its parts. The fingerprint may be in upper case.
    pub fn new(fingerprint: &str, id: &str, secret: &str) -> Result<Self, Error> {
        let fingerprint = fingerprint.to_ascii_lowercase();
        check("fingerprint", &fingerprint, FINGERPRINT_LEN, true)?;
        check("id", id, ID_LEN, false)?;
        check("secret", secret, SECRET_LEN, false)?;
        Ok(Self { fingerprint, id: id.into(), secret: secret.into() })
    }

    /// SHA-256 of the CA certificate's DER, 64 lower case hex digits.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The public part, by which the token is listed and revoked.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The part that must stay secret.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// What stands behind `Authorization: Bearer`.
    pub fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// Name of the secret in `kube-system` that holds it.
    pub fn secret_name(&self) -> String {
        secret_name(&self.id)
    }
}

/// Name of the secret that holds the bootstrap token with this id.
pub fn secret_name(id: &str) -> String {
    format!("bootstrap-token-{id}")
}

/// Splits a bearer token into id and secret; `None` when it is no bootstrap token.
pub fn split_bearer(bearer: &str) -> Option<(&str, &str)> {
    let (id, secret) = bearer.split_once('.')?;
    (check("id", id, ID_LEN, false).is_ok() && check("secret", secret, SECRET_LEN, false).is_ok())
        .then_some((id, secret))
}

impl FromStr for JoinToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::Empty);
        }
        let parts: Vec<&str> = text.split('.').collect();
        if parts[0] != PREFIX {
            return Err(Error::Prefix { found: parts[0].chars().take(PREFIX.len()).collect() });
        }
        let [_, fingerprint, id, secret] = parts.as_slice() else {
            return Err(Error::Parts { found: parts.len() });
        };
        Self::new(fingerprint, id, secret)
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}.{}", self.fingerprint, self.id, self.secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({PREFIX}.{}.{}.***)", self.fingerprint, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn text(fingerprint: &str, id: &str, secret: &str) -> String {
        format!("dunlin1.{fingerprint}.{id}.{secret}")
    }

    #[test]
    fn round_trip() {
        let fingerprint = "0a".repeat(32);
        let token: JoinToken = text(&fingerprint, "abc123", SECRET).parse().unwrap();
        assert_eq!(token.to_string(), text(&fingerprint, "abc123", SECRET));
        assert_eq!(token.bearer(), format!("abc123.{SECRET}"));
        assert_eq!(token.secret_name(), "bootstrap-token-abc123");
        assert!(!format!("{token:?}").contains(SECRET));
        assert_eq!(split_bearer(&token.bearer()), Some(("abc123", SECRET)));
        let upper: JoinToken = format!(" {}\n", text(&"0A".repeat(32), "abc123", SECRET)).parse().unwrap();
        assert_eq!(upper, token);
    }

    #[test]
    fn errors_name_the_part() {
        let fp = "0a".repeat(32);
        for (input, want) in [
            (String::new(), "is empty"),
            ("K10abc::server:x".into(), "must start with \"dunlin1.\""),
            ("dunlin1".into(), "has 1"),
            (format!("dunlin1.{fp}.abc123"), "has 3"),
            (
                text("0a", "abc123", SECRET),
                "fingerprint of the join token must have 64 characters, but has 2",
            ),
            (text(&"0g".repeat(32), "abc123", SECRET), "fingerprint of the join token may only have"),
            (text(&fp, "abc12", SECRET), "id of the join token must have 6"),
            (text(&fp, "ABC123", SECRET), "character 1 is"),
            (text(&fp, "abc123", "0123"), "secret of the join token must have 16"),
            (text(&fp, "abc123", "0123456789abcdeé"), "character 16 is"),
        ] {
            let error = input.parse::<JoinToken>().unwrap_err().to_string();
            assert!(error.contains(want), "{input}: {error}");
        }
        for bearer in ["", "abc123", "abc123.short", "a.b.c", "eyJh.bGci.x"] {
            assert_eq!(split_bearer(bearer), None, "{bearer}");
        }
    }
}
