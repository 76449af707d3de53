//! What is done now and then: asking how far etcd is, for readers, and forgetting its history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dunlin_base::error::chain;
use dunlin_grpc::Failure;
use tokio::sync::{mpsc, oneshot};

use super::keys::Keys;
use super::link::Link;
use super::message::{self, Compare, Range, Ranged, Step, Transacted};
use crate::Revision;

const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const COMPACT: &str = "/etcdserverpb.KV/Compact";
/// How often etcd is asked although nobody reads, so that it is known whether it answers.
const PROBE: Duration = Duration::from_secs(5);

/// One reader that asks for the newest revision.
pub type Asks = oneshot::Sender<Result<Revision, Failure>>;

/// Asks etcd for its newest revision, once for all who wait: their reads began before the question was asked. A member
/// answers only after it has asked the others, so what anybody was told is done is below that revision.
pub async fn index(
    link: Arc<Link>,
    keys: Keys,
    patience: Duration,
    healthy: Arc<AtomicBool>,
    mut asks: mpsc::Receiver<Asks>,
) {
    let range = Range { key: keys.deleted(), count_only: true, ..Range::default() }.encode();
    loop {
        let mut waiting = Vec::new();
        tokio::select! {
            first = asks.recv() => match first {
                Some(first) => waiting.push(first),
                None => return,
            },
            () = tokio::time::sleep(PROBE) => {}
        }
        while let Ok(more) = asks.try_recv() {
            waiting.push(more);
        }
        let answer = link.read(RANGE, range.clone(), patience).await.and_then(|answer| {
            let answer = Ranged::decode(answer).map_err(|e| Failure::Lost(e.to_string()))?;
            Ok(answer.revision)
        });
        if healthy.swap(answer.is_ok(), Ordering::AcqRel) != answer.is_ok() {
            match &answer {
                Ok(_) => tracing::info!("etcd answers again"),
                Err(failure) => tracing::error!(error = chain(failure), "etcd does not answer"),
            }
        }
        for reply in waiting {
            // Whoever has gone needs no answer.
            let _ = reply.send(answer.clone());
        }
    }
}

/// Lets etcd forget what is older than `interval`. All servers run this, and each turn is one server's: whoever writes
/// the key of the turn first. It forgets what was there one turn ago, so that a server that was away for less than an
/// interval goes on where it was.
pub async fn compact(link: Arc<Link>, keys: Keys, interval: Duration) {
    let key = keys.compacted();
    let (mut known, mut before): (Revision, Option<Revision>) = (0, None);
    loop {
        tokio::time::sleep(interval).await;
        let then = [Step::Put(key.clone(), before.unwrap_or_default().to_string().into())];
        let turn =
            message::transaction(&key, Some(&Compare::ModRevision(known)), &then, &[Step::Get(key.clone())]);
        let answer = match link.call(TXN, turn).await.map(Transacted::decode) {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => continue,
            Err(failure) => {
                tracing::debug!(error = chain(&failure), "etcd could not be compacted");
                continue;
            }
        };
        let found = answer.found.into_iter().next().flatten();
        known = if answer.succeeded { answer.revision } else { found.map_or(0, |kv| kv.mod_revision) };
        let until = before.replace(answer.revision);
        let Some(until) = until.filter(|_| answer.succeeded) else { continue };
        match link.call(COMPACT, message::compaction(until)).await {
            Ok(_) => tracing::debug!(revision = until, "etcd compacted"),
            // Somebody else was faster, or etcd compacts by itself.
            Err(failure) => tracing::debug!(error = chain(&failure), "etcd was not compacted"),
        }
    }
}
