//! Who is let in besides those that this server knows itself, and what is noted of what everybody does. The names are
//! those of Kubernetes' API server.

use std::path::PathBuf;

use dunlin_apiserver::{AuditSettings, OidcIssuer};
use serde::Deserialize;

use super::{authentication, oidc};
use crate::error::Error;

const MIB: u64 = 1 << 20;
/// Less than Kubernetes' 100 and endless: the log must not fill a small flash.
const MAX_SIZE_MIB: u64 = 10;
const MAX_BACKUP: usize = 5;
/// No file is larger: what is set aside is handled as one.
const LARGEST_MIB: u64 = 1 << 20;

/// What one source says; everything may be left open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Access {
    /// The audit policy; without one nothing is noted.
    pub audit_policy_file: Option<PathBuf>,
    /// Where audit events are written; `-` is the standard output.
    pub audit_log_path: Option<PathBuf>,
    /// How large the file may get before it is set aside, MiB.
    pub audit_log_maxsize: Option<u64>,
    /// How many files that were set aside are kept.
    pub audit_log_maxbackup: Option<usize>,
    /// For how many days they are kept.
    pub audit_log_maxage: Option<u32>,
    /// `batch` or `blocking`.
    pub audit_log_mode: Option<String>,
    /// How large an event may be before its objects are left out, bytes.
    pub audit_log_truncate_max_event_size: Option<usize>,
    /// A file that describes issuers of tokens; it takes the place of the flags for one.
    pub authentication_config: Option<PathBuf>,
    /// The issuer of OpenID Connect tokens that are accepted, https.
    pub oidc_issuer_url: Option<String>,
    /// For whom those tokens have to be.
    pub oidc_client_id: Option<String>,
    /// The claim that holds the name of a user.
    pub oidc_username_claim: Option<String>,
    /// What stands before the name, - for nothing.
    pub oidc_username_prefix: Option<String>,
    /// The claim that holds the groups of a user.
    pub oidc_groups_claim: Option<String>,
    /// What stands before the names of groups.
    pub oidc_groups_prefix: Option<String>,
    /// A claim that has to be there with this value.
    pub oidc_required_claim: Vec<String>,
    /// The algorithms of signatures that are accepted.
    pub oidc_signing_algs: Vec<String>,
    /// Who vouches for the server of the issuer.
    pub oidc_ca_file: Option<PathBuf>,
}

impl Access {
    /// These choices, and those of `below` where these leave something open.
    pub fn over(self, below: Self) -> Self {
        let list = |above: Vec<String>, below: Vec<String>| if above.is_empty() { below } else { above };
        Self {
            audit_policy_file: self.audit_policy_file.or(below.audit_policy_file),
            audit_log_path: self.audit_log_path.or(below.audit_log_path),
            audit_log_maxsize: self.audit_log_maxsize.or(below.audit_log_maxsize),
            audit_log_maxbackup: self.audit_log_maxbackup.or(below.audit_log_maxbackup),
            audit_log_maxage: self.audit_log_maxage.or(below.audit_log_maxage),
            audit_log_mode: self.audit_log_mode.or(below.audit_log_mode),
            audit_log_truncate_max_event_size: self
                .audit_log_truncate_max_event_size
                .or(below.audit_log_truncate_max_event_size),
            authentication_config: self.authentication_config.or(below.authentication_config),
            oidc_issuer_url: self.oidc_issuer_url.or(below.oidc_issuer_url),
            oidc_client_id: self.oidc_client_id.or(below.oidc_client_id),
            oidc_username_claim: self.oidc_username_claim.or(below.oidc_username_claim),
            oidc_username_prefix: self.oidc_username_prefix.or(below.oidc_username_prefix),
            oidc_groups_claim: self.oidc_groups_claim.or(below.oidc_groups_claim),
            oidc_groups_prefix: self.oidc_groups_prefix.or(below.oidc_groups_prefix),
            oidc_required_claim: list(self.oidc_required_claim, below.oidc_required_claim),
            oidc_signing_algs: list(self.oidc_signing_algs, below.oidc_signing_algs),
            oidc_ca_file: self.oidc_ca_file.or(below.oidc_ca_file),
        }
    }

    /// The issuers whose tokens are accepted.
    ///
    /// # Errors
    /// When something is said that cannot be followed.
    pub fn issuers(&self) -> Result<Vec<OidcIssuer>, Error> {
        match &self.authentication_config {
            None => Ok(oidc::issuer(self)?.into_iter().collect()),
            Some(_) if oidc::is_any(self) => Err(Error::Input(
                "--authentication-config and the --oidc flags are mutually exclusive: write the issuer into the file"
                    .to_owned(),
            )),
            Some(file) => authentication::read(file),
        }
    }

    /// How the audit log is kept, if it is.
    ///
    /// # Errors
    /// When something is said that cannot be followed.
    pub fn audit(&self) -> Result<Option<AuditSettings>, Error> {
        let wrong = |text: String| Err(Error::Input(text));
        let blocking = match self.audit_log_mode.as_deref() {
            None | Some("batch") => false,
            Some("blocking") => true,
            Some(other) => {
                return wrong(format!(
                    "--audit-log-mode {other} is wrong: `batch` writes events later, `blocking` before a request is answered"
                ));
            }
        };
        let max_size = self.audit_log_maxsize.unwrap_or(MAX_SIZE_MIB);
        if !(1..=LARGEST_MIB).contains(&max_size) {
            return wrong(format!(
                "--audit-log-maxsize {max_size} is out of bounds: 1 to {LARGEST_MIB}, in MiB"
            ));
        }
        let (policy, log) = match (&self.audit_policy_file, &self.audit_log_path) {
            (None, None) => return Ok(None),
            (Some(policy), Some(log)) => (policy.clone(), log.clone()),
            (Some(_), None) => {
                return wrong(
                    "--audit-policy-file says what to note, but not where: give --audit-log-path, too"
                        .to_owned(),
                );
            }
            (None, Some(_)) => {
                return wrong(
                    "--audit-log-path says where to note, but not what: give --audit-policy-file, too"
                        .to_owned(),
                );
            }
        };
        Ok(Some(AuditSettings {
            policy,
            log,
            max_size: max_size * MIB,
            max_backup: self.audit_log_maxbackup.unwrap_or(MAX_BACKUP),
            max_age: self.audit_log_maxage.unwrap_or(0),
            blocking,
            max_event: self.audit_log_truncate_max_event_size.unwrap_or(0),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_needs_a_policy_and_a_place() {
        assert!(Access::default().audit().unwrap().is_none());
        let both = Access {
            audit_policy_file: Some("p".into()),
            audit_log_path: Some("l".into()),
            ..Access::default()
        };
        let settings = both.audit().unwrap().unwrap();
        assert_eq!((settings.max_size, settings.blocking), (10 << 20, false));
        let refuse = |change: fn(&mut Access), words: &str| {
            let mut access = both.clone();
            change(&mut access);
            let told = access.audit().unwrap_err().to_string();
            assert!(told.contains(words), "{told}");
        };
        refuse(|a| a.audit_policy_file = None, "--audit-policy-file");
        refuse(|a| a.audit_log_path = None, "--audit-log-path");
        refuse(|a| a.audit_log_mode = Some("later".into()), "blocking");
        refuse(|a| a.audit_log_maxsize = Some(0), "out of bounds");
    }
}
