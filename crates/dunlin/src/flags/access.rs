//! The flags of a server that say who is let in, and what is noted of what everybody does. They have the names of
//! Kubernetes' API server.

use std::path::PathBuf;

use clap::Args;
use dunlin_app::options::access::Access as Choices;

#[derive(Debug, Args)]
#[command(next_help_heading = "Audit and authentication")]
pub struct Access {
    /// What the audit log notes: a file with a Policy of audit.k8s.io/v1
    #[arg(long, value_name = "FILE")]
    audit_policy_file: Option<PathBuf>,
    /// Where the audit log is written; - is the standard output
    #[arg(long, value_name = "FILE")]
    audit_log_path: Option<PathBuf>,
    /// How large the audit log may get before it is set aside [default: 10]
    #[arg(long, value_name = "MIB")]
    audit_log_maxsize: Option<u64>,
    /// How many audit logs that were set aside are kept, 0 for all [default: 5]
    #[arg(long, value_name = "N")]
    audit_log_maxbackup: Option<usize>,
    /// For how many days audit logs that were set aside are kept, 0 for ever [default: 0]
    #[arg(long, value_name = "DAYS")]
    audit_log_maxage: Option<u32>,
    /// Whether answers wait for the audit log [default: batch]
    #[arg(long, value_name = "batch|blocking")]
    audit_log_mode: Option<String>,
    /// How large an event may be before its objects are left out, 0 for any size [default: 0]
    #[arg(long, value_name = "BYTES")]
    audit_log_truncate_max_event_size: Option<usize>,
    /// Issuers of tokens that are accepted: a file with an AuthenticationConfiguration of apiserver.config.k8s.io/v1
    #[arg(long, value_name = "FILE")]
    authentication_config: Option<PathBuf>,
    /// The issuer of OpenID Connect tokens that are accepted, https
    #[arg(long, value_name = "URL")]
    oidc_issuer_url: Option<String>,
    /// For whom those tokens have to be
    #[arg(long, value_name = "ID")]
    oidc_client_id: Option<String>,
    /// The claim that holds the name of a user [default: sub]
    #[arg(long, value_name = "CLAIM")]
    oidc_username_claim: Option<String>,
    /// What stands before the name, - for nothing [default: the issuer and #, unless the claim is email]
    #[arg(long, value_name = "PREFIX")]
    oidc_username_prefix: Option<String>,
    /// The claim that holds the groups of a user
    #[arg(long, value_name = "CLAIM")]
    oidc_groups_claim: Option<String>,
    /// What stands before the names of groups
    #[arg(long, value_name = "PREFIX")]
    oidc_groups_prefix: Option<String>,
    /// A claim that has to be there with this value
    #[arg(long, value_name = "CLAIM=VALUE")]
    oidc_required_claim: Vec<String>,
    /// The algorithms of signatures that are accepted [default: RS256]
    #[arg(long, value_name = "ALG,...", value_delimiter = ',')]
    oidc_signing_algs: Vec<String>,
    /// Who vouches for the server of the issuer [default: the system's authorities]
    #[arg(long, value_name = "FILE")]
    oidc_ca_file: Option<PathBuf>,
}

impl From<Access> for Choices {
    fn from(flags: Access) -> Self {
        Self {
            audit_policy_file: flags.audit_policy_file,
            audit_log_path: flags.audit_log_path,
            audit_log_maxsize: flags.audit_log_maxsize,
            audit_log_maxbackup: flags.audit_log_maxbackup,
            audit_log_maxage: flags.audit_log_maxage,
            audit_log_mode: flags.audit_log_mode,
            audit_log_truncate_max_event_size: flags.audit_log_truncate_max_event_size,
            authentication_config: flags.authentication_config,
            oidc_issuer_url: flags.oidc_issuer_url,
            oidc_client_id: flags.oidc_client_id,
            oidc_username_claim: flags.oidc_username_claim,
            oidc_username_prefix: flags.oidc_username_prefix,
            oidc_groups_claim: flags.oidc_groups_claim,
            oidc_groups_prefix: flags.oidc_groups_prefix,
            oidc_required_claim: flags.oidc_required_claim,
            oidc_signing_algs: flags.oidc_signing_algs,
            oidc_ca_file: flags.oidc_ca_file,
        }
    }
}
