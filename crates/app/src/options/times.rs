//! Every grace, tolerance, ping and interval of a role, in one table: `times:` in the configuration file, `--time` on the
//! command line.
//!
//! The defaults suit machines that are far away and links that cost money. Tests and small sites choose seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_api::duration;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::error::Error;

macro_rules! times {
    ($($(#[doc = $doc:literal])+ $field:ident $name:literal = $default:expr,)+) => {
        /// What was chosen; the defaults hold for everything else.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Times {
            $($field: Option<Duration>,)+
        }

        impl Times {
            /// All names with their defaults, in the order of the documentation.
            pub const NAMES: &[(&str, Duration)] = &[$(($name, $default),)+];

            $($(#[doc = $doc])+
            pub fn $field(&self) -> Duration {
                self.$field.unwrap_or($default)
            })+

            fn slot(&mut self, name: &str) -> Option<&mut Option<Duration>> {
                match name {
                    $($name => Some(&mut self.$field),)+
                    _ => None,
                }
            }

            /// These choices, and those of `below` where these leave something open.
            pub fn over(self, below: Self) -> Self {
                Self { $($field: self.$field.or(below.$field),)+ }
            }
        }
    };
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

times! {
    /// Server: silence after which a node counts as unreachable.
    node_grace "node-grace" = s(40),
    /// Server: how long pods without tolerations of their own stay on an unreachable node before they are replaced.
    eviction_toleration "eviction-toleration" = s(300),
    /// Server: what is added to a pod's `dunlin.io/fence-after` for clocks that run differently and stops that take time.
    fence_margin "fence-margin" = s(15),
    /// Server: how long the certificates that it issues are valid; they are renewed at 70 % of that.
    certificate_life "certificate-life" = s(365 * 86_400),
    /// Server: how long after its end a node's last certificate still serves to ask for the next one. A machine that
    /// spent a winter in a shed comes back by itself.
    certificate_grace "certificate-grace" = s(365 * 86_400),
    /// Server: how often the Leases of connected nodes are renewed. A node of a Kubernetes cluster renews its own as often.
    heartbeat "heartbeat" = s(10),
    /// Server, several on one store: how long the others wait after the last sign of the one that runs the controllers.
    /// It stops by itself when two thirds have passed.
    leader_lease "leader-lease" = s(15),
    /// Server: how often an idle tunnel is pinged.
    ping "ping" = s(25),
    /// Server: how long a ping may stay unanswered before the tunnel counts as lost.
    ping_timeout "ping-timeout" = s(10),
    /// Server: how long changes are collected before a child tells its parent its summary, or its machines, again.
    uplink_settle "uplink-settle" = s(2),
    /// Server: how long a pod of the parent may find no machine in the child before it is refused.
    uplink_unplaced "uplink-unplaced" = s(30),
    /// Server: how long a DaemonSet of the parent stays in the child without the pod above that stands for it, unless it
    /// is gone itself.
    uplink_successor "uplink-successor" = s(60),
    /// Agent: how long a tunnel may be silent before the agent asks whether anybody is there.
    silence "silence" = s(40),
    /// Agent: how long connecting may take.
    connect "connect" = s(20),
    /// Agent: the first wait before a lost tunnel is dialled again.
    reconnect_first "reconnect-first" = Duration::from_millis(500),
    /// Agent: the longest wait between two tries to dial.
    reconnect_most "reconnect-most" = s(30),
    /// Agent and child: how often a node with fenced pods makes sure that its server hears it.
    contact "contact" = s(10),
    /// Agent: the first wait before a container that crashed is restarted.
    crash_backoff_first "crash-backoff-first" = s(10),
    /// Agent: the longest such wait.
    crash_backoff_most "crash-backoff-most" = s(300),
    /// Agent: a container that ran this long is forgiven its crashes.
    crash_backoff_reset "crash-backoff-reset" = s(600),
    /// Agent: the first wait before a failed pull of an image is tried again.
    pull_backoff_first "pull-backoff-first" = s(10),
    /// Agent: the longest such wait.
    pull_backoff_most "pull-backoff-most" = s(300),
}

/// No time may be shorter: timers of milliseconds would only burn power.
const SHORTEST: Duration = Duration::from_millis(50);
/// No time may be longer.
const LONGEST: Duration = s(366 * 86_400);

impl Times {
    /// Chooses one.
    ///
    /// # Errors
    /// When the name is unknown, or the length malformed or out of bounds.
    pub fn set(&mut self, name: &str, length: &str) -> Result<(), String> {
        let length = duration::parse(length).map_err(|e| format!("{name}: {e}"))?;
        if !(SHORTEST..=LONGEST).contains(&length) {
            return Err(format!("{name}: {length:?} is out of bounds: 50ms to 366d"));
        }
        let Some(slot) = self.slot(name) else {
            let names: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            return Err(format!("there is no time called {name:?}; there are {}", names.join(", ")));
        };
        *slot = Some(length);
        Ok(())
    }

    /// Those that a list of `NAME=LENGTH` chooses.
    ///
    /// # Errors
    /// When one of them is wrong.
    pub fn from_flags(words: &[String]) -> Result<Self, Error> {
        let mut times = Self::default();
        for word in words {
            let (name, length) = word
                .split_once('=')
                .ok_or_else(|| Error::Input(format!("--time {word:?} is wrong: write NAME=LENGTH")))?;
            times.set(name, length).map_err(|why| Error::Input(format!("--time {why}")))?;
        }
        Ok(times)
    }

    /// Refuses choices under which nothing could work.
    ///
    /// # Errors
    /// When times contradict each other; the text names them.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |text: String| Err(Error::Input(text));
        if self.node_grace() < self.heartbeat() * 2 {
            return wrong(format!(
                "node-grace ({:?}) must be twice heartbeat ({:?}) at least, or healthy nodes would count as lost",
                self.node_grace(),
                self.heartbeat()
            ));
        }
        if self.node_grace() < s(1) {
            return wrong("node-grace must be 1s at least: silence is counted in seconds".to_owned());
        }
        if self.leader_lease() < s(2) {
            return wrong(
                "leader-lease must be 2s at least: its third is what requests under way may take".to_owned(),
            );
        }
        for (first, most, name) in [
            (self.reconnect_first(), self.reconnect_most(), "reconnect"),
            (self.crash_backoff_first(), self.crash_backoff_most(), "crash-backoff"),
            (self.pull_backoff_first(), self.pull_backoff_most(), "pull-backoff"),
        ] {
            if first > most {
                return wrong(format!(
                    "{name}-first ({first:?}) is longer than {name}-most ({most:?}): choose both"
                ));
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Length {
            Seconds(u64),
            Text(String),
        }
        let mut times = Self::default();
        for (name, length) in BTreeMap::<String, Length>::deserialize(from)? {
            let text = match length {
                Length::Seconds(seconds) => seconds.to_string(),
                Length::Text(text) => text,
            };
            times.set(&name, &text).map_err(D::Error::custom)?;
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Times, String> {
        serde_saphyr::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn reads_lengths_and_refuses_what_it_does_not_know() {
        let times = read("node-grace: 5\nping: 1m30s\n").expect("times");
        assert_eq!((times.node_grace(), times.ping()), (s(5), s(90)));
        assert_eq!(times.heartbeat(), s(10), "the default");
        for (text, word) in [("node-grase: 5s", "node-grase"), ("ping: soon", "soon"), ("ping: 1ms", "50ms")]
        {
            let error = read(text).expect_err(text);
            assert!(error.contains(word), "{error}");
        }
        let flags = Times::from_flags(&["ping=2s".to_owned()]).expect("flags");
        assert_eq!(flags.over(times).node_grace(), s(5));
        assert!(Times::from_flags(&["ping".to_owned()]).is_err());
    }

    #[test]
    fn refuses_contradictions() {
        Times::default().check().expect("the defaults agree");
        for flags in [&["node-grace=15s"][..], &["reconnect-most=100ms"], &["heartbeat=30s"]] {
            let flags: Vec<String> = flags.iter().map(|word| (*word).to_owned()).collect();
            assert!(Times::from_flags(&flags).expect("flags").check().is_err(), "{flags:?}");
        }
    }

    #[test]
    fn every_time_is_documented_with_its_default() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let page = std::fs::read_to_string(page).expect("docs/configuration.md");
        for (name, default) in Times::NAMES {
            let line = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            let line = line.unwrap_or_else(|| panic!("{name} is not documented"));
            assert!(line.contains(&format!("| {default:?} |")), "{name}: the default is {default:?}: {line}");
        }
    }
}
