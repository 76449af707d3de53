//! The server's own certificates, renewed at 70 % of their life while they are used.

use std::sync::Arc;
use std::time::Duration;

use dunlin_base::backoff::{LOOK, nearly};
use dunlin_base::error::chain;
use dunlin_pki::tls::ServerIdentity;
use dunlin_pki::{Authority, Identity};

use crate::error::{Doing, Error};

/// The certificate that the API's listener shows.
pub struct Serving {
    authority: Arc<Authority>,
    names: Vec<String>,
    life: Duration,
    first: Identity,
    slot: Arc<ServerIdentity>,
}

impl Serving {
    /// Issues the first one.
    pub fn new(authority: Arc<Authority>, names: Vec<String>, life: Duration) -> Result<Self, Error> {
        let doing = "issuing the server's certificate";
        let first = authority.issue_server(&names, life).doing(doing)?;
        let slot = ServerIdentity::new(&first).doing(doing)?;
        Ok(Self { authority, names, life, first, slot })
    }

    /// What the listener takes it from.
    pub fn identity(&self) -> Arc<ServerIdentity> {
        self.slot.clone()
    }

    /// Puts a fresh one in its place whenever that is due.
    pub async fn rotate(self) {
        let Self { authority, names, life, first, slot } = self;
        run("server", first, || {
            let doing = "issuing the server's certificate";
            let fresh = authority.issue_server(&names, life).doing(doing)?;
            slot.replace(&fresh).doing(doing)?;
            Ok(fresh)
        })
        .await;
    }
}

/// Calls `renew` whenever the certificate that it gave last is due.
pub async fn run(whose: &'static str, first: Identity, renew: impl Fn() -> Result<Identity, Error>) {
    let mut identity = first;
    loop {
        // Our clock has issued it; where it was set back since, the certificate's own length counts.
        let wait = identity.renew_in().ok().flatten().or_else(|| identity.renew_after().ok()).unwrap_or(LOOK);
        if !nearly(wait).await {
            continue;
        }
        match renew() {
            Ok(fresh) => {
                tracing::info!(whose, "certificate renewed");
                identity = fresh;
            }
            Err(error) => {
                tracing::error!(whose, error = chain(&error), "renewing a certificate failed, trying again");
                tokio::time::sleep(wait.clamp(Duration::from_secs(1), Duration::from_secs(60))).await;
            }
        }
    }
}
