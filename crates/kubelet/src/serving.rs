//! The certificate under which the kubelet's API is served: one of our own until the cluster has signed another.
//!
//! Whether anybody approves such requests is the cluster's affair, and many have nobody who does. An API server that was
//! not given a CA for kubelets takes our own certificate as it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_api::names::user::node;
use dunlin_base::backoff::{Backoff, nearly};
use dunlin_base::error::chain;
use dunlin_pki::Identity;
use dunlin_pki::tls::ServerIdentity;
use kube::Client;

use crate::csr::{self, Wanted};
use crate::error::Error;

/// How long our own certificate is valid.
const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The serving certificate.
pub struct Serving {
    wanted: Wanted,
    file: PathBuf,
    pending: PathBuf,
    shown: Arc<ServerIdentity>,
    /// The one that the cluster has signed.
    signed: Option<Identity>,
}

impl Serving {
    /// The certificate of `name`, which is reached under `names`: one that the cluster has signed before, if it is still
    /// good and for these names, else our own.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub fn open(name: &str, names: Vec<String>, folder: &Path) -> Result<Self, Error> {
        let (file, pending) = (folder.join("serving.pem"), folder.join("serving-pending.json"));
        let wanted = Wanted::serving(name, names);
        let kept = Identity::load(&file).ok().flatten();
        let signed = kept.filter(|kept| {
            let good = kept.not_after().is_ok_and(|end| end > dunlin_pki::clock::now());
            good && std::fs::read(names_of(&file)).ok() == serde_json::to_vec(&wanted).ok()
        });
        let shown = match &signed {
            Some(signed) => signed.clone(),
            None => Identity::self_signed(&node(name), &wanted.names, LIFE)?,
        };
        Ok(Self { shown: ServerIdentity::new(&shown)?, wanted, file, pending, signed })
    }

    /// What is shown to clients.
    pub fn shown(&self) -> Arc<ServerIdentity> {
        self.shown.clone()
    }

    /// Asks the cluster for a certificate, and for the next one after 70 % of its life, for as long as it is polled.
    pub async fn keep(mut self, client: Client) {
        let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(3600));
        let mut issued = None;
        loop {
            let due = self.signed.as_ref().map_or(Duration::ZERO, |signed| signed.due_in(issued));
            if !nearly(due).await {
                continue;
            }
            match self.renew(&client).await {
                Ok(()) => {
                    issued = Some(Instant::now());
                    backoff.reset();
                }
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "no serving certificate was signed, going on with what is here"
                    );
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    async fn renew(&mut self, client: &Client) -> Result<(), Error> {
        let signed = csr::obtain(client, &self.wanted, &self.pending).await?;
        csr::write(&names_of(&self.file), &serde_json::to_vec(&self.wanted).unwrap_or_default())?;
        signed.save(&self.file)?;
        self.shown.replace(&signed)?;
        tracing::info!("the cluster has signed the serving certificate");
        self.signed = Some(signed);
        Ok(())
    }
}

/// What the certificate beside it was asked for.
fn names_of(file: &Path) -> PathBuf {
    file.with_extension("json")
}
