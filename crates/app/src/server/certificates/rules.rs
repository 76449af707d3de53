//! Which certificates a node may use, and who gets the next one. Pure. `docs/adr/0004-node-certificates.md` has the reasons.

use std::time::Duration;

use dunlin_pki::Peer;
use serde::{Deserialize, Serialize};

/// What is kept of each node that has joined; no record, no entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// SHA-256 of the certificate that was issued last.
    pub last: String,
    /// That of the certificate by which `last` was asked for: it stays good, because the answer may have been lost.
    pub before: Option<String>,
    /// Whether it names `dunlin:clusters`.
    pub cluster: bool,
    /// The uid of its Node, once it has registered. When that Node goes, so does this record.
    pub node: Option<String>,
}

impl Record {
    /// Whether it is of a cluster that has no Node, because it shows its machines as nodes.
    pub fn shows_machines(&self) -> bool {
        self.cluster && self.node.is_none()
    }

    fn holds(&self, fingerprint: &str) -> bool {
        self.last == fingerprint || self.before.as_deref() == Some(fingerprint)
    }
}

/// What a node's certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that a node may do.
    Good,
    /// It has expired so long ago, but is the last one issued to its node: good for asking for the next one.
    Renewal(Duration),
    /// Nothing, and why.
    Refused(&'static str),
}

/// Judges the certificate of a node.
pub fn admit(record: Option<&Record>, peer: &Peer) -> Verdict {
    match record {
        None => Verdict::Refused("the node was deleted, or has never joined"),
        Some(record) if !record.holds(&peer.fingerprint) => {
            Verdict::Refused("a newer certificate was issued to the node")
        }
        Some(_) if peer.expired.is_zero() => Verdict::Good,
        Some(_) => Verdict::Renewal(peer.expired),
    }
}

/// Who asks for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// The holder of a join token, for clusters or for nodes.
    Token {
        /// It is for clusters.
        cluster: bool,
    },
    /// The node of this name, by the certificate with this fingerprint.
    Node {
        /// The name.
        name: String,
        /// SHA-256 of its certificate.
        fingerprint: String,
    },
    /// Anybody else.
    Other,
}

/// The record that a new certificate with the fingerprint `last` would have, or why it is not issued. `exists` says
/// whether the API has a Node of that name.
pub fn issue(
    record: Option<&Record>,
    exists: bool,
    name: &str,
    cluster: bool,
    asker: &Asker,
    last: String,
) -> Result<Record, String> {
    match asker {
        Asker::Token { cluster: allowed } => {
            if cluster != *allowed {
                let (is, wanted) = if cluster { ("nodes", "cluster") } else { ("clusters", "node") };
                return Err(format!(
                    "this token is for {is}; make another with `dunlin token create --for {wanted}`"
                ));
            }
            if record.is_some() && exists {
                let kind = if record.is_some_and(Record::shows_machines) { "cluster" } else { "node" };
                return Err(format!(
                    "{kind} {name:?} exists and was joined with another key; if its machine was wiped or replaced, \
                     delete the {kind} first (`kubectl delete {kind} {name}`), else choose another name"
                ));
            }
            Ok(Record { last, before: None, cluster, node: None })
        }
        Asker::Node { name: asks, fingerprint } if asks == name => match record {
            Some(record) if record.holds(fingerprint) && record.cluster == cluster => {
                Ok(Record { last, before: Some(fingerprint.clone()), ..record.clone() })
            }
            Some(record) if record.holds(fingerprint) => {
                Err("a node cannot become a cluster by renewal, nor the other way round; join again"
                    .to_owned())
            }
            _ => Err(format!("this is not the certificate that was last issued to node {name:?}")),
        },
        _ => Err("only a join token or the node itself may ask for a node's certificate".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_pki::Subject;

    fn record(last: &str, before: Option<&str>, cluster: bool) -> Record {
        Record { last: last.to_owned(), before: before.map(str::to_owned), cluster, node: None }
    }

    fn peer(fingerprint: &str, expired: u64) -> Peer {
        let subject = Subject { user: "system:node:a".to_owned(), groups: vec!["system:nodes".to_owned()] };
        Peer { subject, fingerprint: fingerprint.to_owned(), expired: Duration::from_secs(expired) }
    }

    #[test]
    fn the_last_certificate_and_the_one_that_asked_for_it_are_good() {
        let kept = record("c", Some("b"), false);
        assert_eq!(admit(Some(&kept), &peer("c", 0)), Verdict::Good);
        assert_eq!(admit(Some(&kept), &peer("b", 0)), Verdict::Good);
        assert_eq!(admit(Some(&kept), &peer("c", 9)), Verdict::Renewal(Duration::from_secs(9)));
        assert!(matches!(admit(Some(&kept), &peer("a", 0)), Verdict::Refused(_)));
        assert!(matches!(admit(Some(&kept), &peer("a", 9)), Verdict::Refused(_)));
        assert!(matches!(admit(None, &peer("c", 0)), Verdict::Refused(_)));
    }

    #[test]
    fn a_token_joins_what_it_is_for_and_takes_no_ones_place() {
        let by = |cluster| Asker::Token { cluster };
        let ask = |record: Option<&Record>, exists, cluster, by: &Asker| {
            issue(record, exists, "a", cluster, by, "new".to_owned())
        };
        assert_eq!(ask(None, false, false, &by(false)), Ok(record("new", None, false)));
        assert_eq!(ask(None, false, true, &by(true)), Ok(record("new", None, true)));
        assert!(ask(None, false, true, &by(false)).unwrap_err().contains("--for cluster"));
        assert!(ask(None, false, false, &by(true)).unwrap_err().contains("--for node"));
        let kept = record("old", None, false);
        assert!(ask(Some(&kept), true, false, &by(false)).unwrap_err().contains("kubectl delete node a"));
        // Its Node was deleted, or it never came to register; a Node that somebody made beforehand has no key.
        assert!(ask(Some(&kept), false, false, &by(false)).is_ok());
        assert!(ask(None, true, false, &by(false)).is_ok());
        assert!(ask(None, false, false, &Asker::Other).is_err());
    }

    #[test]
    fn a_node_renews_its_own_and_stays_what_it_is() {
        let by = |name: &str, fingerprint: &str| Asker::Node {
            name: name.to_owned(),
            fingerprint: fingerprint.to_owned(),
        };
        let kept = record("b", Some("a"), true);
        let ask = |cluster, by: &Asker| issue(Some(&kept), true, "n", cluster, by, "c".to_owned());
        assert_eq!(ask(true, &by("n", "b")), Ok(record("c", Some("b"), true)));
        assert_eq!(ask(true, &by("n", "a")), Ok(record("c", Some("a"), true)), "the answer was lost");
        assert!(ask(true, &by("n", "older")).is_err());
        assert!(ask(true, &by("m", "b")).is_err());
        assert!(ask(false, &by("n", "b")).is_err());
        assert!(issue(None, true, "n", true, &by("n", "b"), "c".to_owned()).is_err(), "it was revoked");
    }
}
