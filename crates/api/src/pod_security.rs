//! The pod security standards: what a pod may do at the levels `baseline` and `restricted`, and how a namespace's labels ask
//! for them (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>).
//!
//! The standards change with the versions of Kubernetes, and a namespace can ask for those of an older one. Here they are as
//! of 1.36. Decisions only: who is told, or refused, is the API server's business.

mod checks;

use serde_json::Value;

/// How much a pod may do; each level forbids what the one before does, and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Privileged,
    /// Nothing that is known to give it more rights than it has.
    Baseline,
    /// Nothing that good practice does without.
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "privileged" => Self::Privileged,
            "baseline" => Self::Baseline,
            "restricted" => Self::Restricted,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// The minor version of Kubernetes whose standards apply; `None` for the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(Option<u32>);

impl Version {
    /// `latest` or `v1.30`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self(None));
        }
        let minor = text.strip_prefix("v1.")?;
        let canonical =
            minor == "0" || (!minor.starts_with('0') && minor.bytes().all(|b| b.is_ascii_digit()));
        canonical.then(|| minor.parse().ok())?.map(|minor| Self(Some(minor)))
    }

    /// Whether a rule that came with this minor version applies.
    fn since(self, minor: u32) -> bool {
        self.0.is_none_or(|own| own >= minor)
    }
}

/// A level, and which version of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standard {
    /// How much a pod may do.
    pub level: Level,
    version: Version,
}

impl Standard {
    /// Whether both are of the same version.
    pub fn same_version(self, other: Self) -> bool {
        self.version == other.version
    }
}

impl std::fmt::Display for Standard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.version.0 {
            Some(minor) => write!(f, "{}:v1.{minor}", self.level.name()),
            None => write!(f, "{}:latest", self.level.name()),
        }
    }
}

/// What is done about a pod that breaks a standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    Enforce,
    /// Its author is told.
    Warn,
    /// The audit log is told.
    Audit,
}

/// The standard that a namespace with these labels asks for. A level that cannot be read is enforced as `restricted`, so that a
/// mistake in a label opens nothing, and warns of nothing.
pub fn wanted(labels: &Value, mode: Mode) -> Standard {
    let label = |name: &str| labels[format!("pod-security.kubernetes.io/{name}")].as_str();
    let version = |name: &str| label(name).map(|text| Version::parse(text).unwrap_or(Version(None)));
    let enforced = label("enforce").map(Level::parse);
    let enforce = Standard {
        level: enforced.map_or(Level::Privileged, |level| level.unwrap_or(Level::Restricted)),
        version: version("enforce-version").unwrap_or(Version(None)),
    };
    match mode {
        Mode::Enforce => return enforce,
        Mode::Audit => {
            return Standard {
                level: label("audit").and_then(Level::parse).unwrap_or(Level::Privileged),
                version: version("audit-version").unwrap_or(Version(None)),
            };
        }
        Mode::Warn => {}
    }
    let own = version("warn-version");
    match label("warn") {
        Some(level) => Standard {
            level: Level::parse(level).unwrap_or(Level::Privileged),
            version: own.unwrap_or(Version(None)),
        },
        // Whoever is refused something is told about it in his templates too.
        None if matches!(enforced, Some(Some(_))) => {
            Standard { version: own.unwrap_or(enforce.version), ..enforce }
        }
        None => Standard { level: Level::Privileged, version: Version(None) },
    }
}

/// One way in which a pod breaks a standard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What about the pod it is: `host namespaces`.
    pub reason: &'static str,
    /// Where: `hostNetwork=true`.
    pub details: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.reason, self.details)
    }
}

/// In which ways a pod breaks a standard. The metadata are the pod's or its template's.
pub fn violations(standard: Standard, metadata: &Value, spec: &Value) -> Vec<Violation> {
    match standard.level {
        Level::Privileged => Vec::new(),
        level => checks::all(standard.version, level == Level::Restricted, metadata, spec),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_ask_for_a_standard() {
        let labels = json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.30"});
        assert_eq!(wanted(&labels, Mode::Enforce).to_string(), "baseline:v1.30");
        assert_eq!(wanted(&labels, Mode::Warn).to_string(), "baseline:v1.30");
        let wrong = json!({"pod-security.kubernetes.io/enforce": "strict"});
        assert_eq!(wanted(&wrong, Mode::Enforce).to_string(), "restricted:latest");
        let audited = json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/audit": "restricted"});
        assert_eq!(wanted(&audited, Mode::Audit).to_string(), "restricted:latest");
        assert_eq!(wanted(&labels, Mode::Audit).to_string(), "privileged:latest");
        assert_eq!(wanted(&json!(null), Mode::Enforce).to_string(), "privileged:latest");
        for (text, fits) in [
            ("latest", true),
            ("v1.0", true),
            ("v1.30", true),
            ("1.30", false),
            ("v1.03", false),
            ("v2.0", false),
        ] {
            assert_eq!(Version::parse(text).is_some(), fits, "{text}");
        }
    }

    #[test]
    fn a_pod_is_judged_by_level_and_version() {
        let standard = |level, minor| Standard { level, version: Version(minor) };
        let pod = json!({"containers": [{"name": "a", "securityContext": {"privileged": true}}, {"name": "b"}], "hostPID": true});
        let found = |level, minor, pod| {
            let found = violations(standard(level, minor), &json!({}), pod);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            found(Level::Baseline, None, &pod),
            [
                "host namespaces (hostPID=true)",
                r#"privileged (container "a" must not set securityContext.privileged=true)"#
            ]
        );
        assert!(found(Level::Privileged, None, &pod).is_empty());
        let user = json!({"containers": [{"name": "a", "securityContext": {"runAsUser": 0, "runAsNonRoot": true,
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}}]});
        assert!(found(Level::Restricted, Some(22), &user).is_empty());
        assert_eq!(
            found(Level::Restricted, Some(23), &user),
            [r#"runAsUser=0 (container "a" must not set runAsUser=0)"#]
        );
    }
}
