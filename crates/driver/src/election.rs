//! Who of several servers does what must be done once: a `Lease` in `kube-system`, held by one of them at a time.
//!
//! No clock is compared with another. Who holds the Lease counts from before the request that renewed it, and stops when
//! `deadline` has passed since; who wants it counts from when it saw the Lease change last, and takes it when its duration
//! has passed since. The duration is longer than the deadline, so the first has stopped before the second begins.

use std::time::{Duration, Instant};

use dunlin_base::error::chain;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const NAMESPACE: &str = "kube-system";

/// How long a Lease is good for, and what follows from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long others wait after the last sign of the holder.
    pub duration: Duration,
    /// How long the holder works after its last sign. Less than `duration`, by what a request may take that is under way.
    pub deadline: Duration,
    /// How often the holder gives a sign, and others look.
    pub retry: Duration,
}

impl Times {
    /// The deadline and the interval that go with a duration, in the proportions of Kubernetes (15 s, 10 s, 2 s).
    pub fn of(duration: Duration) -> Self {
        Self { duration, deadline: duration * 2 / 3, retry: duration * 2 / 15 }
    }
}

/// One who wants to be elected.
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    times: Times,
    /// The version of the Lease that was seen last, and when it was first seen.
    seen: Option<(String, Instant)>,
}

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the Lease cannot be read or written")]
    Api(#[from] kube::Error),
    #[error("no answer in time")]
    Late,
}

impl Election {
    /// For the Lease called `name`, as `identity`.
    pub fn new(client: Client, name: impl Into<String>, identity: impl Into<String>, times: Times) -> Self {
        let api = Api::namespaced(client, NAMESPACE);
        Self { api, name: name.into(), identity: identity.into(), times, seen: None }
    }

    /// Waits until elected.
    pub async fn win(&mut self) -> Term<'_> {
        loop {
            let begun = Instant::now();
            match self.attempt().await {
                Ok(true) => {
                    tracing::info!(lease = self.name, identity = self.identity, "elected");
                    return Term { election: self, renewed: begun };
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(lease = self.name, error = chain(&error), "trying to be elected failed")
                }
            }
            tokio::time::sleep(self.times.retry).await;
        }
    }

    /// Takes the Lease if it is free; whether it is ours now.
    async fn attempt(&mut self) -> Result<bool, Error> {
        let Some(lease) = self.in_time(self.api.get_opt(&self.name)).await? else {
            let lease = json!({"metadata": {"name": self.name}, "spec": self.spec(0)});
            let lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
            return self.won(self.in_time(self.api.create(&PostParams::default(), &lease)).await);
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let spec = lease.spec.unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        let seen = match &self.seen {
            Some((last, at)) if *last == version => *at,
            _ => {
                let now = Instant::now();
                self.seen = Some((version.clone(), now));
                now
            }
        };
        // What the holder has told others to wait counts, if it is longer than ours.
        let told = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs);
        let wait = self.times.duration.max(told.unwrap_or_default());
        if !holder.is_empty() && holder != self.identity && seen.elapsed() < wait {
            return Ok(false);
        }
        let transitions = spec.lease_transitions.unwrap_or(0) + i32::from(holder != self.identity);
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": self.spec(transitions)});
        self.won(
            self.in_time(self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch))).await,
        )
    }

    /// A Lease that somebody else took first is no failure.
    fn won(&self, outcome: Result<Lease, Error>) -> Result<bool, Error> {
        match outcome {
            Ok(_) => Ok(true),
            Err(Error::Api(kube::Error::Api(status))) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn in_time<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
        match tokio::time::timeout(self.times.deadline, request).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Error::Late),
        }
    }

    fn spec(&self, transitions: i32) -> Value {
        let now = format!("{:.6}", k8s_openapi::jiff::Timestamp::now());
        json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self.times.duration.as_secs().max(1),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        })
    }
}

/// Having been elected. What it is for has to end when [`Term::hold`] returns.
pub struct Term<'a> {
    election: &'a mut Election,
    renewed: Instant,
}

impl Term<'_> {
    /// Holds the Lease; returns when it is lost, or cannot be renewed in time.
    pub async fn hold(&mut self) {
        loop {
            tokio::time::sleep(self.election.times.retry).await;
            let left = self.election.times.deadline.saturating_sub(self.renewed.elapsed());
            let begun = Instant::now();
            match tokio::time::timeout(left, self.renew()).await {
                Ok(Ok(true)) => self.renewed = begun,
                Ok(Ok(false)) => {
                    tracing::warn!(lease = self.election.name, "another was elected");
                    break;
                }
                Ok(Err(error)) => {
                    tracing::warn!(
                        lease = self.election.name,
                        error = chain(&error),
                        "renewing the Lease failed"
                    );
                }
                Err(_) => {}
            }
            if self.renewed.elapsed() >= self.election.times.deadline {
                tracing::warn!(lease = self.election.name, "the Lease could not be renewed in time");
                break;
            }
        }
        // Whoever took it is waited for from now on.
        self.election.seen = None;
    }

    async fn renew(&self) -> Result<bool, Error> {
        let Election { api, name, identity, .. } = &*self.election;
        let Some(lease) = api.get_opt(name).await? else { return Ok(false) };
        if lease.spec.and_then(|spec| spec.holder_identity).as_deref() != Some(identity) {
            return Ok(false);
        }
        let now = format!("{:.6}", k8s_openapi::jiff::Timestamp::now());
        // Against the version that was read, or it could be taken from whoever was elected since.
        let patch = json!({
            "metadata": {"resourceVersion": lease.metadata.resource_version},
            "spec": {"renewTime": now, "leaseDurationSeconds": self.election.times.duration.as_secs().max(1)},
        });
        match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(true),
            // Somebody annotated it, or took it: the next look tells.
            Err(kube::Error::Api(status)) if status.code == 409 => Err(kube::Error::Api(status).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the Lease up, so that another need not wait. To be called when everything that it was for has ended.
    pub async fn release(self) {
        let Election { api, name, identity, times, .. } = &*self.election;
        let release = async {
            let lease = api.get(name).await?;
            if lease.spec.and_then(|spec| spec.holder_identity).as_deref() != Some(identity) {
                return Ok(());
            }
            let patch = json!({
                "metadata": {"resourceVersion": lease.metadata.resource_version},
                "spec": {"holderIdentity": ""},
            });
            api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
        };
        match tokio::time::timeout(times.retry, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(lease = name, error = chain(&error), "giving up the Lease failed")
            }
            Err(_) => tracing::debug!(lease = name, "giving up the Lease took too long"),
        }
    }
}
