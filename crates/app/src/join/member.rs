//! A membership in use: its certificate is renewed while connections use it, without a restart.
//!
//! New connections take the new certificate, open ones go on. A server out of reach does not matter before the end of the
//! certificate; after it, the certificate still serves for renewal, within the server's grace.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dunlin_base::backoff::{Backoff, nearly};
use dunlin_base::error::chain;
use dunlin_pki::tls::{ClientIdentity, client_config_with};

use super::{Joining, Membership, join, renew};
use crate::error::{Doing, Error};

/// How long the start waits for the server's word; the pods of this machine come first, and a server that is there
/// answers at once.
const PATIENCE: Duration = Duration::from_secs(3);
/// A membership whose certificate may change.
pub struct Member {
    file: PathBuf,
    /// The URL that is dialled.
    dial: String,
    current: Mutex<Membership>,
    identity: Arc<ClientIdentity>,
    /// When the present certificate was issued, if this process has seen that.
    issued: Mutex<Option<Instant>>,
}

impl Member {
    /// What an earlier join left, renewed if that is due; else a new join. A server out of reach does not keep a member
    /// from starting; a server that refuses its certificate does only if there is no token to join anew with.
    ///
    /// # Errors
    /// When it has to join and cannot.
    pub async fn open(joining: &Joining<'_>, token: Option<&str>) -> Result<Arc<Self>, Error> {
        let Some(kept) = Membership::load(joining) else {
            let token = token.ok_or_else(|| {
                Error::Input(format!(
                    "this machine has not joined {} under this name and with this --expose yet: give --token (see \
                     `dunlin token create` there)",
                    joining.server
                ))
            })?;
            return Self::new(joining, join(joining, token).await?, true);
        };
        let member = Self::new(joining, kept, false)?;
        if token.is_none() && !member.due().is_zero() {
            // Nothing that the server could say would change how this starts.
            return Ok(member);
        }
        match tokio::time::timeout(PATIENCE, member.check()).await {
            Ok(Err(error)) if refused(&error) => match token {
                Some(token) => {
                    tracing::warn!("the server refuses this node's certificate, joining anew by the token");
                    return Self::new(joining, join(joining, token).await?, true);
                }
                None => tell_refused(&member.membership()),
            },
            Ok(Err(error)) => {
                tracing::warn!(
                    error = chain(&error),
                    "the server could not be asked, going on with what is here"
                );
            }
            Ok(Ok(())) | Err(_) => {}
        }
        Ok(member)
    }

    fn new(joining: &Joining<'_>, membership: Membership, fresh: bool) -> Result<Arc<Self>, Error> {
        let identity = ClientIdentity::new(&membership.identity()).doing("reading the node's certificate")?;
        Ok(Arc::new(Self {
            file: joining.file.to_owned(),
            dial: joining.dial.to_owned(),
            current: Mutex::new(membership),
            identity,
            issued: Mutex::new(fresh.then(Instant::now)),
        }))
    }

    /// The present membership.
    pub fn membership(&self) -> Membership {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A client of the server's API.
    ///
    /// # Errors
    /// When the CA is malformed.
    pub fn client(&self) -> Result<kube::Client, Error> {
        super::client(&self.dial, self.tls(&[b"h2", b"http/1.1"])?, None)
    }

    /// TLS to the server for these protocols; each connection shows the certificate that is the present one then.
    ///
    /// # Errors
    /// When the CA is malformed.
    pub fn tls(&self, alpn: &[&[u8]]) -> Result<rustls::ClientConfig, Error> {
        client_config_with(&self.membership().ca_pem, Some(self.identity.clone()), alpn)
            .doing("setting up TLS")
    }

    /// Renews the certificate whenever it is due, for as long as it is polled.
    pub async fn rotate(&self) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(600));
        loop {
            let wait = self.due();
            // Of 1,000 nodes that joined in one minute, few are due in one minute.
            if !nearly(wait).await {
                continue;
            }
            match self.renew().await {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    if refused(&error) {
                        tell_refused(&self.membership());
                    } else {
                        tracing::warn!(
                            error = chain(&error),
                            "renewing the node's certificate failed, trying again"
                        );
                    }
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// How long until the certificate should be renewed.
    fn due(&self) -> Duration {
        let issued = *self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        self.membership().identity().due_in(issued)
    }

    async fn renew(&self) -> Result<(), kube::Error> {
        let renewed = renew(&self.file, &self.membership(), &self.dial).await?;
        self.identity.replace(&renewed.identity()).map_err(|e| kube::Error::Service(e.into()))?;
        *self.issued.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    /// Renews if that is due, else asks whether the server still knows this member.
    async fn check(&self) -> Result<(), kube::Error> {
        if self.due().is_zero() {
            return self.renew().await;
        }
        let client = self.client().map_err(|e| kube::Error::Service(e.into()))?;
        let api: kube::api::Api<k8s_openapi::api::core::v1::Node> = kube::api::Api::all(client);
        api.get_metadata_opt(&self.membership().node_name).await.map(drop)
    }
}

fn refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 401)
}

fn tell_refused(membership: &Membership) {
    tracing::error!(
        server = membership.server,
        node = membership.node_name,
        "the server refuses this node's certificate: its Node was deleted, or another machine has joined by its name; \
         to join again, start with a new --token"
    );
}
