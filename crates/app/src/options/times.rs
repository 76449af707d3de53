//! How long things last and how often they happen, as the configuration file says it: `certificates: {life: 90d}`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// A duration as people write it: `90s`, `30m`, `24h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

/// What cannot be read as a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the duration {0:?} is wrong: write a number with s, m, h or d, as in 24h")]
pub struct NotASpan(String);

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let wrong = || NotASpan(text.to_owned());
        let unit = text.chars().last().ok_or_else(wrong)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            _ => return Err(wrong()),
        };
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
        Ok(Self(Duration::from_secs(number.checked_mul(seconds).ok_or_else(wrong)?)))
    }
}

impl TryFrom<String> for Span {
    type Error = NotASpan;

    fn try_from(text: String) -> Result<Self, NotASpan> {
        text.parse()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs())
    }
}

/// The certificates that a server issues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Certificates {
    /// How long they are valid; they are renewed at 70 % of that.
    pub life: Option<Span>,
    /// How long after its end a node's last certificate still serves to ask for the next one.
    pub grace: Option<Span>,
}

impl Certificates {
    /// The life, a year unless told otherwise.
    pub fn life(&self) -> Duration {
        self.life.map_or(dunlin_pki::LIFE, |s| s.0)
    }

    /// The grace, a year unless told otherwise: a machine that spent a winter in a shed comes back by itself.
    pub fn grace(&self) -> Duration {
        self.grace.map_or(dunlin_pki::LIFE, |s| s.0)
    }
}

/// How a tunnel is watched; the server pings, the node listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Tunnel {
    /// How often a server pings an idle tunnel.
    pub ping: Option<Span>,
    /// How long a ping may stay unanswered.
    pub timeout: Option<Span>,
    /// After how long without a ping a node asks by itself; more than the server's `ping`.
    pub silence: Option<Span>,
}

impl Tunnel {
    /// For the side that was dialled.
    pub fn accepting(&self) -> dunlin_tunnel::Settings {
        let usual = dunlin_tunnel::Settings::default();
        dunlin_tunnel::Settings {
            ping: self.ping.map_or(usual.ping, |s| s.0),
            timeout: self.timeout.map_or(usual.timeout, |s| s.0),
        }
    }

    /// For the side that dials.
    pub fn dialling(&self) -> dunlin_tunnel::dial::Options {
        let usual = dunlin_tunnel::dial::Options::default();
        dunlin_tunnel::dial::Options { silence: self.silence.map_or(usual.silence, |s| s.0), ..usual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        assert_eq!("24h".parse(), Ok(Span(Duration::from_secs(86_400))));
        for bad in ["", "h", "5", "1.5h", "99999999999999999999d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
