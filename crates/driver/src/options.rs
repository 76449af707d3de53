//! What the composition root may choose.

use std::str::FromStr;
use std::time::Duration;

use dunlin_control::scheduler::Policy;
use dunlin_control::settings::Settings;

/// Which policy places pods that ask for none.
#[derive(Debug, Clone, Default)]
pub struct Scheduler {
    pub policy: Policy,
    /// Where the external scheduler is; there must be one for the policy `external`.
    pub extender: Option<http::Uri>,
}

/// `POLICY`, or `external=http://HOST:PORT/PATH`.
impl FromStr for Scheduler {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "external=http://127.0.0.1:8888/scheduler";
        let (name, url) = text.split_once('=').map_or((text, None), |(name, url)| (name, Some(url)));
        match (name.parse::<Policy>()?, url) {
            (Policy::External, Some(url)) => {
                let uri = url.parse::<http::Uri>().ok().filter(|uri| {
                    uri.scheme_str() == Some("http")
                        && uri.host().is_some_and(|host| !host.is_empty())
                        && uri.query().is_none()
                });
                let uri = uri
                    .ok_or_else(|| format!("{url:?} is no URL of an external scheduler, as in {EXAMPLE}"))?;
                Ok(Self { policy: Policy::External, extender: Some(uri) })
            }
            (Policy::External, None) => Err(format!("the policy external needs a URL, as in {EXAMPLE}")),
            (_, Some(_)) => Err(format!("the policy {name} takes no URL")),
            (policy, None) => Ok(Self { policy, extender: None }),
        }
    }
}

/// Choices about scheduler and controllers.
#[derive(Debug, Clone)]
pub struct Options {
    pub scheduler: Scheduler,
    /// IPv4 range out of which every node gets its `spec.podCIDR`.
    pub cluster_cidr: String,
    /// Prefix length of one node's range.
    pub node_mask: u8,
    /// Silence after which a node counts as unreachable.
    pub node_grace: Duration,
    /// How long pods without own tolerations stay on an unreachable node.
    pub eviction_toleration: Duration,
    /// What is added to a pod's `dunlin.io/fence-after` before the pod counts as stopped.
    pub fence_margin: Duration,
    /// The CA certificate for the ConfigMaps `kube-root-ca.crt`.
    pub ca_pem: String,
    /// How many finished pods are kept.
    pub terminated_pods: usize,
    /// How long a moved pod may take to be ready, unless its Migration says otherwise.
    pub migration_timeout: Duration,
    /// How long a finished Migration is kept.
    pub migration_ttl: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            scheduler: Scheduler::default(),
            cluster_cidr: settings.cluster_cidr.to_string(),
            node_mask: settings.node_mask,
            node_grace: Duration::from_secs(40),
            eviction_toleration: Duration::from_secs(300),
            fence_margin: Duration::from_secs(15),
            ca_pem: String::new(),
            terminated_pods: settings.terminated_pods,
            migration_timeout: Duration::from_secs(settings.migration_timeout.unsigned_abs()),
            migration_ttl: Duration::from_secs(settings.migration_ttl.unsigned_abs()),
        }
    }
}

impl Options {
    pub(crate) fn settings(&self, started_at: i64) -> Settings {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Settings {
            cluster_cidr: self.cluster_cidr.as_str().into(),
            node_mask: self.node_mask,
            node_grace: seconds(self.node_grace),
            eviction_toleration: seconds(self.eviction_toleration),
            fence_margin: seconds(self.fence_margin),
            ca_pem: self.ca_pem.as_str().into(),
            terminated_pods: self.terminated_pods,
            migration_timeout: seconds(self.migration_timeout),
            migration_ttl: seconds(self.migration_ttl),
            started_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedulers_are_read_or_refused_with_the_reason() {
        let read = |text: &str| text.parse::<Scheduler>();
        assert_eq!(read("bin-pack").expect("a policy").policy, Policy::BinPack);
        let external = read("external=http://h:1/path").expect("a URL");
        assert_eq!(external.extender.map(|uri| uri.to_string()).as_deref(), Some("http://h:1/path"));
        for (wrong, word) in [
            ("best", "there are first-fit, balanced, bin-pack, nearest, auction, group, external"),
            ("external", "needs a URL"),
            ("external=https://h/", "is no URL of an external scheduler"),
            ("external=h:1", "is no URL of an external scheduler"),
            ("auction=http://h/", "takes no URL"),
        ] {
            let error = read(wrong).expect_err(wrong);
            assert!(error.contains(word), "{error}");
        }
    }
}
