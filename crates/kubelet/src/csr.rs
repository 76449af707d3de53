//! Asking the cluster for a certificate: a signing request is made, and waited for until somebody has answered it.
//!
//! That may be a controller in a second or a person in days. The key and the name of the request are therefore kept on
//! disk until there is an answer: an agent that is restarted goes on waiting for the same request.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dunlin_api::names::user::{GROUP_NODES, node};
use dunlin_node::follow::{Seen, follow};
use dunlin_pki::Identity;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::error::Error;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The signer.
    pub signer: String,
    /// What the certificate is for, besides signatures.
    pub usage: String,
    /// The node that it names.
    pub node: String,
    /// Host names and addresses, if it is a server's.
    pub names: Vec<String>,
}

impl Wanted {
    /// The certificate by which the node speaks to the API server.
    pub fn client(node: &str) -> Self {
        let signer = "kubernetes.io/kube-apiserver-client-kubelet".to_owned();
        Self { signer, usage: "client auth".into(), node: node.to_owned(), names: Vec::new() }
    }

    /// The certificate by which it serves.
    pub fn serving(node: &str, names: Vec<String>) -> Self {
        let signer = "kubernetes.io/kubelet-serving".to_owned();
        Self { signer, usage: "server auth".into(), node: node.to_owned(), names }
    }
}

/// A request that has no answer yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pending {
    wanted: Wanted,
    name: String,
    key_pem: String,
    csr_pem: String,
}

impl Pending {
    /// The one that an earlier process has left, or a new one.
    fn open(file: &Path, wanted: &Wanted) -> Result<Self, Error> {
        let kept: Option<Self> =
            std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(kept) = kept.filter(|kept| kept.wanted == *wanted) {
            return Ok(kept);
        }
        let (key_pem, csr_pem) =
            Identity::new_csr_for(&node(&wanted.node), &[GROUP_NODES.to_owned()], &wanted.names)?;
        let mut random = [0u8; 4];
        getrandom::fill(&mut random).map_err(Error::Random)?;
        let name = format!("csr-{}-{:08x}", wanted.node, u32::from_be_bytes(random));
        let pending = Self { wanted: wanted.clone(), name, key_pem, csr_pem };
        write(file, &serde_json::to_vec(&pending).unwrap_or_default())?;
        Ok(pending)
    }

    fn object(&self) -> CertificateSigningRequest {
        CertificateSigningRequest {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: CertificateSigningRequestSpec {
                request: ByteString(self.csr_pem.clone().into_bytes()),
                signer_name: self.wanted.signer.clone(),
                usages: Some(vec!["digital signature".into(), self.wanted.usage.clone()]),
                ..CertificateSigningRequestSpec::default()
            },
            ..CertificateSigningRequest::default()
        }
    }
}

/// Asks, and waits for as long as it is polled. `pending` is the file in which an unanswered request is kept.
///
/// # Errors
/// When the API refuses the request, or somebody denies it.
pub async fn obtain(client: &Client, wanted: &Wanted, pending: &Path) -> Result<Identity, Error> {
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    loop {
        let asked = Pending::open(pending, wanted)?;
        let doing = || format!("asking for a certificate of node {} by {}", wanted.node, wanted.signer);
        match api.create(&PostParams::default(), &asked.object()).await {
            Ok(_) => {
                tracing::info!(request = asked.name, signer = wanted.signer, "a certificate was asked for")
            }
            // An earlier process has asked.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(Error::api(doing())(error)),
        }
        let answer = answer(api.clone(), &asked.name).await;
        // Whatever it is, the next one is asked with a new key.
        let _ = std::fs::remove_file(pending);
        match answer {
            Answer::Signed(cert_pem) => {
                let identity = Identity { cert_pem, key_pem: asked.key_pem };
                dunlin_pki::tls::ClientIdentity::new(&identity)?;
                return Ok(identity);
            }
            Answer::Denied(why) => return Err(Error::Denied { name: asked.name, why }),
            // Clusters remove requests that nobody answers for a day.
            Answer::Gone => tracing::info!(request = asked.name, "the signing request is gone, asking again"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Signed(String),
    Denied(String),
    Gone,
}

async fn answer(api: Api<CertificateSigningRequest>, name: &str) -> Answer {
    let (tell, mut told) = watch::channel(None);
    let following = follow(api, name, |seen| {
        let answer = match seen {
            Seen::Present(request) => read(&request),
            Seen::Absent => Some(Answer::Gone),
            Seen::Unknown(why) => {
                tracing::debug!(why, "the signing request cannot be looked at");
                None
            }
        };
        if answer.is_some() {
            tell.send_replace(answer);
        }
    });
    tokio::select! {
        () = following => Answer::Gone,
        answer = told.wait_for(Option::is_some) => {
            answer.ok().and_then(|answer| answer.clone()).unwrap_or(Answer::Gone)
        }
    }
}

/// What a request's status says; nothing while it is not decided.
fn read(request: &CertificateSigningRequest) -> Option<Answer> {
    let status = request.status.as_ref()?;
    if let Some(certificate) = status.certificate.as_ref().filter(|c| !c.0.is_empty()) {
        return Some(Answer::Signed(String::from_utf8_lossy(&certificate.0).into_owned()));
    }
    let bad = status.conditions.iter().flatten().find(|c| matches!(&*c.type_, "Denied" | "Failed"))?;
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    Some(Answer::Denied(format!("{}: {}", text(&bad.reason), text(&bad.message))))
}

/// Writes a file that only its owner can read, so that a power cut leaves the old content or the new.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::File { doing: "writing", path: path.to_owned(), source };
    let beside: PathBuf = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file =
            std::fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_is_kept_until_it_is_answered() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pending.json");
        let wanted = Wanted::client("one");
        let first = Pending::open(&file, &wanted).expect("a request");
        let second = Pending::open(&file, &wanted).expect("a request");
        assert_eq!((&first.name, &first.key_pem), (&second.name, &second.key_pem));
        let other =
            Pending::open(&file, &Wanted::serving("one", vec!["192.0.2.1".into()])).expect("a request");
        assert_ne!(first.name, other.name);
        let subject = dunlin_pki::Authority::csr_subject(&first.csr_pem).expect("a subject");
        assert_eq!((&*subject.user, subject.groups), ("system:node:one", vec!["system:nodes".to_owned()]));
    }

    #[test]
    fn answers() {
        let check = |status: serde_json::Value, expect: Option<Answer>| {
            let request = json!({"metadata": {"name": "r"}, "spec": {"request": "", "signerName": "s"}, "status": status});
            assert_eq!(read(&serde_json::from_value(request).expect("a request")), expect);
        };
        let condition = |kind: &str| json!([{"type": kind, "status": "True", "reason": "R", "message": "m"}]);
        check(json!({}), None);
        check(json!({"conditions": condition("Approved")}), None);
        check(
            json!({"conditions": condition("Approved"), "certificate": "YQ=="}),
            Some(Answer::Signed("a".into())),
        );
        check(json!({"conditions": condition("Denied")}), Some(Answer::Denied("R: m".into())));
        check(json!({"conditions": condition("Failed")}), Some(Answer::Denied("R: m".into())));
    }
}
