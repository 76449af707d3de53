//! A store that several servers share: an etcd cluster, version 3.5 or later.
//!
//! Each server holds everything in the same ordered map as with the other backends, filled by a list at the start and
//! kept by one watch. Revisions are etcd's. What readers are promised:
//!
//! - *Your own writes*: a write is answered after it has come back by the watch.
//! - *Everybody's writes*: `get` and `list` first ask etcd for its newest revision (one small question for all readers
//!   who wait at the moment), which a member answers only when most of them agree, and then wait until the map is there.
//!   A list at a moment (`at`) and watches do not ask. [`Store::sync`] asks for those who need it.
//!
//! Without a majority of its members etcd answers nothing: writes and such reads end with [`Error::Unavailable`] after
//! [`Options::patience`], watches stay open and silent, and lists at a known moment go on.
//!
//! Every class of entry lives in etcd, because every server has to see it. `docs/adr/0008-etcd.md` has the reasons.

mod follow;
mod keys;
mod link;
pub mod message;
pub mod record;
mod upkeep;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dunlin_base::task::Task;
use dunlin_grpc::Failure;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::state::State;
use crate::{Entry, Error, Key, Limits, Page, Revision, Scope, Store, Watch, Write};
use follow::Follower;
use keys::Keys;
use link::Link;

/// The oldest version that tells reliably how far a watch is.
const OLDEST: (u32, u32) = (3, 5);
/// Readers that may wait to be told the newest revision; more wait for a place.
const READERS: usize = 4096;
/// How long a reader waits before the watch is asked how far it is: others than us may write to the same etcd.
const NUDGE: Duration = Duration::from_millis(50);

/// How the cluster is reached, and what is kept.
#[derive(Clone)]
pub struct Options {
    /// `HOST:PORT` of members, at least one. Tried in turn.
    pub endpoints: Vec<String>,
    /// How connections are secured, with ALPN `h2`; plain HTTP/2 if absent.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// User and password, where etcd asks for them.
    pub user: Option<(String, String)>,
    /// What all keys begin with. One cluster of servers has one prefix to itself.
    pub prefix: String,
    /// What is kept in memory besides the entries.
    pub limits: Limits,
    /// How long one call to one member may take.
    pub request: Duration,
    /// How long a write or a read is tried before it fails.
    pub patience: Duration,
    /// How much history etcd keeps; servers that were away for longer list anew. `None`: somebody else compacts.
    pub compact: Option<Duration>,
}

impl Options {
    /// For these members, with defaults for all else.
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            tls: None,
            user: None,
            prefix: "/dunlin/".to_owned(),
            limits: Limits::default(),
            request: Duration::from_secs(5),
            patience: Duration::from_secs(10),
            compact: Some(Duration::from_secs(300)),
        }
    }
}

/// The store in etcd. Dropping it ends its tasks and its watches.
pub struct EtcdStore {
    options: Options,
    link: Arc<Link>,
    keys: Keys,
    state: Arc<State>,
    reached: watch::Receiver<Revision>,
    nudge: Arc<Notify>,
    asks: mpsc::Sender<upkeep::Asks>,
    healthy: Arc<AtomicBool>,
    _tasks: Vec<Task>,
}

impl EtcdStore {
    /// Reaches the cluster and reads all entries.
    ///
    /// # Errors
    /// When no member answers within [`Options::patience`], or they are too old.
    pub async fn open(options: Options) -> Result<Self, Error> {
        let link = Arc::new(Link::new(options.clone()));
        let keys = Keys::new(&options.prefix);
        let names = options.endpoints.join(", ");
        let failed = |failure: Failure| Error::Unavailable {
            operation: "opening",
            endpoints: names.clone(),
            reason: failure.to_string(),
        };
        let status =
            link.read("/etcdserverpb.Maintenance/Status", bytes::Bytes::new(), options.patience).await;
        let status = status.map_err(failed)?;
        let version = message::text(status, 2).map_err(|e| failed(Failure::Lost(e.to_string())))?;
        if !is_new_enough(&version) {
            return Err(Error::EtcdVersion { endpoints: names, version });
        }
        let begun = tokio::time::Instant::now();
        let start = loop {
            match follow::load(&link, &keys).await {
                Ok(start) => break start,
                // A list may be overtaken by a compaction, or by an election.
                Err(_) if begun.elapsed() < options.patience => tokio::time::sleep(NUDGE).await,
                Err(failure) => return Err(failed(failure)),
            }
        };
        tracing::debug!(
            endpoints = names,
            version,
            entries = start.entries.len(),
            revision = start.start,
            "etcd opened"
        );
        let revision = start.start;
        let state = State::new(start, &options.limits);
        let (reached_to, reached) = watch::channel(revision);
        let nudge = Arc::new(Notify::new());
        let follower = Follower {
            link: link.clone(),
            keys: keys.clone(),
            state: state.clone(),
            reached: reached_to,
            nudge: nudge.clone(),
        };
        let (asks, asked) = mpsc::channel(READERS);
        let healthy = Arc::new(AtomicBool::new(true));
        let index = upkeep::index(link.clone(), keys.clone(), options.patience, healthy.clone(), asked);
        let mut tasks = vec![Task::spawn("etcd watch", follower.run()), Task::spawn("etcd index", index)];
        if let Some(interval) = options.compact {
            tasks.push(Task::spawn("etcd compaction", upkeep::compact(link.clone(), keys.clone(), interval)));
        }
        Ok(Self { options, link, keys, state, reached, nudge, asks, healthy, _tasks: tasks })
    }

    fn unavailable(&self, operation: &'static str, failure: Failure) -> Error {
        Error::Unavailable {
            operation,
            endpoints: self.options.endpoints.join(", "),
            reason: failure.to_string(),
        }
    }

    /// Waits until readers here see `revision`.
    async fn wait(&self, revision: Revision) -> Result<(), Error> {
        let mut reached = self.reached.clone();
        let begun = tokio::time::Instant::now();
        loop {
            match tokio::time::timeout(NUDGE, reached.wait_for(|reached| *reached >= revision)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(_)) => return Err(Error::Closed),
                Err(_) => self.nudge.notify_one(),
            }
            if begun.elapsed() >= self.options.patience {
                let why = format!("the watch has not reached revision {revision}");
                return Err(self.unavailable("reading", Failure::Lost(why)));
            }
        }
    }

    async fn newest(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(reply).await.map_err(|_| Error::Closed)?;
        let newest = answer.await.map_err(|_| Error::Closed)?;
        self.wait(newest.map_err(|failure| self.unavailable("reading", failure))?).await
    }
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        self.state.close();
    }
}

impl Store for EtcdStore {
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Entry, Error>> {
        self.change(write).boxed()
    }

    fn get(&self, key: &Key) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
        let key = key.clone();
        async move {
            self.newest().await?;
            Ok(self.state.get(&key))
        }
        .boxed()
    }

    fn list(
        &self,
        scope: &Scope,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> BoxFuture<'_, Result<Page, Error>> {
        if at.is_some() {
            return ready(self.state.list(scope, after, limit, at)).boxed();
        }
        let (scope, after) = (scope.clone(), after.cloned());
        async move {
            self.newest().await?;
            self.state.list(&scope, after.as_ref(), limit, None)
        }
        .boxed()
    }

    fn revision(&self) -> Revision {
        self.state.revision()
    }

    fn watch(&self, scope: Scope, after: Option<Revision>) -> Result<Watch, Error> {
        self.state.watch(scope, after)
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.newest().boxed()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, good) in
            [("3.6.5", true), ("3.5.0", true), ("3.10.1", true), ("3.4.27", false), ("", false)]
        {
            assert_eq!(is_new_enough(version), good, "{version}");
        }
    }
}
