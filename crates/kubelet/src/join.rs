//! From a kubeconfig to a client that speaks for the node, and keeps doing so.
//!
//! A node's credentials are a certificate for `system:node:NAME` (in the kubeconfig, or got with what the kubeconfig
//! holds and kept here), or a token by which the API server takes us for that user. Whoever else the kubeconfig speaks
//! for is used once, to ask for a certificate: that is how kubelets are bootstrapped. What was got once needs no API
//! server at the next start.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dunlin_api::names::user::{GROUP_NODES, node_name};
use dunlin_base::backoff::{Backoff, nearly};
use dunlin_base::error::chain;
use dunlin_node::connect::{Connections, client_of};
use dunlin_pki::Identity;
use dunlin_pki::tls::{ClientIdentity, client_config, client_config_with};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, UserInfo};
use kube::Client;
use kube::api::{Api, PostParams};
use serde::{Deserialize, Serialize};

use crate::csr::{self, Wanted};
use crate::error::Error;
use crate::kubeconfig::Cluster;

const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];
/// Who the node is, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The API server's URL.
    server: String,
    /// The node's name there.
    node: String,
    /// The node's certificate and key; none if what the kubeconfig holds is the node's own.
    certificate: Option<(String, String)>,
}

/// A node that may speak for itself.
pub struct Joined {
    /// Its name.
    pub node: String,
    /// The API.
    pub client: Client,
    /// Its client certificate, if that is what it shows.
    pub certificate: Option<Arc<Certificate>>,
}

/// The node's client certificate, which is renewed while it is used.
pub struct Certificate {
    cluster: Cluster,
    node: String,
    folder: PathBuf,
    client: Client,
    connections: Connections,
    identity: Arc<ClientIdentity>,
    present: Mutex<(Identity, Option<Instant>)>,
}

/// Finds out by which name and which credentials this machine is a node of `cluster`; asks for a certificate if there is
/// none. `name` is what the user wants it to be called, `host` what it is called otherwise. Waits for the API server, and
/// for whoever approves the request, as long as that takes.
///
/// # Errors
/// When the credentials are another node's, or nobody's, or the request is refused.
pub async fn join(cluster: Cluster, name: Option<&str>, host: &str, folder: &Path) -> Result<Joined, Error> {
    let own = cluster.own.clone().and_then(|identity| Some((named(&identity)?, identity)));
    if let (Some(name), Some((other, _))) = (name, &own)
        && name != other
    {
        return Err(Error::Input(format!(
            "the kubeconfig's certificate is that of node {other:?}, and --node-name is {name:?}: give one that agrees"
        )));
    }
    let node = name.or(own.as_ref().map(|(name, _)| name.as_str())).unwrap_or(host).to_owned();
    let kept = Kept::load(folder, &cluster.server, &node);
    if kept.as_ref().is_some_and(|kept| kept.certificate.is_none()) && cluster.own.is_none() {
        return direct(&cluster, node);
    }
    let kept = kept.and_then(|kept| kept.certificate);
    let kept = kept.map(|(cert_pem, key_pem)| Identity { cert_pem, key_pem });
    // Whoever replaces the kubeconfig's certificate wants the new one to be used.
    let end = |identity: &Identity| identity.not_after().ok();
    if let Some(identity) = own.map(|(_, identity)| identity).into_iter().chain(kept).max_by_key(end) {
        return Certificate::open(cluster, node, folder, identity, None);
    }
    let (client, _) = bootstrap_client(&cluster)?;
    let user = who(&client, &cluster.server).await?;
    let is = user.username.unwrap_or_default();
    match node_name(&is).filter(|_| user.groups.iter().flatten().any(|g| g == GROUP_NODES)) {
        Some(found) if found == node => {
            Kept { server: cluster.server.clone(), node: node.clone(), certificate: None }.save(folder)?;
            return direct(&cluster, node);
        }
        Some(found) => {
            return Err(Error::Input(format!(
                "the kubeconfig speaks for node {found:?}, and this one is to be {node:?}: give --node-name {found}"
            )));
        }
        None => tracing::info!(user = is, node, "asking for this node's certificate"),
    }
    let identity = bootstrap(&client, &node, folder).await?;
    keep(&cluster, &node, folder, &identity)?;
    Certificate::open(cluster, node, folder, identity, Some(Instant::now()))
}

/// The node that a certificate makes its owner.
fn named(identity: &Identity) -> Option<String> {
    let subject = identity.subject().ok()?;
    let name = node_name(&subject.user)?;
    subject.groups.iter().any(|g| g == GROUP_NODES).then(|| name.to_owned())
}

/// The kubeconfig's own credentials are the node's.
fn direct(cluster: &Cluster, node: String) -> Result<Joined, Error> {
    let (client, _) = bootstrap_client(cluster)?;
    Ok(Joined { node, client, certificate: None })
}

/// A client with what the kubeconfig holds.
fn bootstrap_client(cluster: &Cluster) -> Result<(Client, Connections), Error> {
    let tls = client_config(&cluster.ca_pem, cluster.own.as_ref(), PROTOCOLS)?;
    Ok(client_of(&cluster.config, tls)?)
}

/// Whom the API server takes us for; asked until it answers.
async fn who(client: &Client, server: &str) -> Result<UserInfo, Error> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        match api.create(&PostParams::default(), &SelfSubjectReview::default()).await {
            Ok(review) => return Ok(review.status.and_then(|status| status.user_info).unwrap_or_default()),
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
                return Err(Error::Input(format!(
                    "{server} does not accept the kubeconfig's credentials ({}): they are wrong, have expired or were \
                     revoked; make new ones",
                    status.message
                )));
            }
            Err(error) => {
                tracing::warn!(
                    server,
                    error = chain(&error),
                    "the API server cannot be asked yet, trying again"
                );
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

/// Asks for the first certificate, also when the API server is away for a while.
async fn bootstrap(client: &Client, node: &str, folder: &Path) -> Result<Identity, Error> {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        match csr::obtain(client, &Wanted::client(node), &pending(folder)).await {
            Err(Error::Api { doing, source }) if !matches!(*source, kube::Error::Api(_)) => {
                tracing::warn!(error = chain(&*source), "{doing} failed, trying again");
                tokio::time::sleep(backoff.next_delay()).await;
            }
            answered => return answered,
        }
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("node.json")
}

fn pending(folder: &Path) -> PathBuf {
    folder.join("client-pending.json")
}

fn keep(cluster: &Cluster, node: &str, folder: &Path, identity: &Identity) -> Result<(), Error> {
    let certificate = Some((identity.cert_pem.clone(), identity.key_pem.clone()));
    Kept { server: cluster.server.clone(), node: node.to_owned(), certificate }.save(folder)
}

impl Kept {
    fn load(folder: &Path, server: &str, node: &str) -> Option<Self> {
        let kept: Self = serde_json::from_slice(&std::fs::read(file(folder)).ok()?).ok()?;
        (kept.server == server && kept.node == node).then_some(kept)
    }

    fn save(&self, folder: &Path) -> Result<(), Error> {
        csr::write(&file(folder), &serde_json::to_vec(self).unwrap_or_default())
    }
}

impl Certificate {
    fn open(
        cluster: Cluster,
        node: String,
        folder: &Path,
        identity: Identity,
        issued: Option<Instant>,
    ) -> Result<Joined, Error> {
        let shown = ClientIdentity::new(&identity)?;
        let tls = client_config_with(&cluster.ca_pem, Some(shown.clone()), PROTOCOLS)?;
        let mut config = cluster.config.clone();
        // The certificate speaks for the node, and nothing else does.
        config.auth_info = kube::config::AuthInfo::default();
        let (client, connections) = client_of(&config, tls)?;
        let certificate = Arc::new(Self {
            cluster,
            node: node.clone(),
            folder: folder.to_owned(),
            client: client.clone(),
            connections,
            identity: shown,
            present: Mutex::new((identity, issued)),
        });
        Ok(Joined { node, client, certificate: Some(certificate) })
    }

    /// The present one.
    pub fn identity(&self) -> Identity {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Renews the certificate after 70 % of its life, for as long as it is polled.
    pub async fn rotate(&self) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(600));
        loop {
            let wait = {
                let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
                present.0.due_in(present.1)
            };
            if !nearly(wait).await {
                continue;
            }
            match self.renew().await {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "renewing the node's certificate failed, trying again"
                    );
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    async fn renew(&self) -> Result<(), Error> {
        let wanted = Wanted::client(&self.node);
        let signed = match csr::obtain(&self.client, &wanted, &pending(&self.folder)).await {
            // The certificate has expired, or the node was cut off: what the kubeconfig holds may still be good.
            Err(Error::Api { source, doing }) if is_unauthorized(&source) => {
                if self.cluster.own.as_ref().is_some_and(|own| named(own).is_some()) {
                    return Err(Error::Api { source, doing });
                }
                tracing::warn!(
                    "the API server refuses this node's certificate, asking with the kubeconfig's credentials"
                );
                let (client, _) = bootstrap_client(&self.cluster)?;
                csr::obtain(&client, &wanted, &pending(&self.folder)).await?
            }
            other => other?,
        };
        keep(&self.cluster, &self.node, &self.folder, &signed)?;
        self.identity.replace(&signed)?;
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = (signed, Some(Instant::now()));
        // The API server judges the certificate of a connection with each request on it.
        self.connections.renew();
        tracing::info!(node = self.node, "certificate renewed");
        Ok(())
    }
}

fn is_unauthorized(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 401)
}

#[cfg(test)]
mod tests {
    use dunlin_api::names::user::node;

    use super::*;

    #[test]
    fn a_certificate_names_a_node_only_with_its_group() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = dunlin_pki::Authority::open_or_create(folder.path(), "c").expect("an authority");
        let hour = Duration::from_secs(3600);
        let issue = |user: &str, groups: &[&str]| {
            let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
            named(&authority.issue_client(user, &groups, hour).expect("a certificate"))
        };
        assert_eq!(issue(&node("one"), &[GROUP_NODES]), Some("one".to_owned()));
        assert_eq!(issue(&node("one"), &[]), None);
        assert_eq!(issue("admin", &["system:masters"]), None);
    }

    #[test]
    fn what_is_kept_belongs_to_one_server_and_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept { server: "https://a".into(), node: "n".into(), certificate: None };
        kept.save(folder.path()).expect("saved");
        assert!(Kept::load(folder.path(), "https://a", "n").is_some());
        assert!(Kept::load(folder.path(), "https://b", "n").is_none());
        assert!(Kept::load(folder.path(), "https://a", "m").is_none());
    }
}
