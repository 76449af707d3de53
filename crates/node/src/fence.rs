//! Pods with `dunlin.io/fence-after` are stopped here when the server has not heard this node for that long, because
//! then the server starts them elsewhere.
//!
//! What counts is being *heard*: a node that still hears its server while the server does not hear it would let a pod run
//! twice. So the node looks at its own Lease. A Lease that was renewed since the last look means that the server heard us
//! after that look, which is therefore the last contact; no clocks are compared. The time is that of the machine since it
//! was started, and lies in the runtime folder (tmpfs): it survives this process, costs no flash writes, and is gone after
//! a reboot, when nobody knows how long contact has been lost. Then such pods wait until the server hears us.
//!
//! A child cluster does the same towards its parent, and its own machines do it towards the child. Each level takes half of
//! the time that it was given and hands half on ([`half`]): a machine that lost the child just before the child would have
//! stopped the pod then still stops it within the whole time, at any depth.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dunlin_api::duration;
use dunlin_api::names::annotation::FENCE_AFTER;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::sync::Notify;

/// The least time between two looks at the Lease.
const LEAST: Duration = Duration::from_millis(250);

/// How long after the last contact a pod is stopped.
pub fn after(pod: &Pod) -> Option<Duration> {
    duration::parse(pod.metadata.annotations.as_ref()?.get(FENCE_AFTER)?).ok()
}

/// The part of a pod's `dunlin.io/fence-after` that a level waits itself, and that it hands on to the level below.
pub fn half(text: &str) -> Option<String> {
    let half = duration::parse(text).ok()? / 2;
    Some(format!("{}ms", half.as_millis()))
}

/// What is known of being heard. Times are since the machine's start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contact {
    /// The last moment after which the server is known to have heard us.
    last: Option<Duration>,
    /// When the question before was asked, and the Lease that it found.
    looked: Option<(Duration, String)>,
}

impl Contact {
    /// A question asked at `begun` found a Lease that was renewed at `renewed`.
    fn answered(&mut self, begun: Duration, renewed: String) {
        if let Some((before, old)) = &self.looked
            && *old != renewed
        {
            self.last = self.last.max(Some(*before));
        }
        self.looked = Some((begun, renewed));
    }

    /// Whether a pod must be stopped at `now`; without any contact the time runs from `start`, and is `unknown` at most.
    fn lapsed(&self, after: Duration, unknown: Option<Duration>, start: Duration, now: Duration) -> bool {
        match self.last {
            Some(last) => now.saturating_sub(last) >= after,
            None => now.saturating_sub(start) >= after.min(unknown.unwrap_or(after)),
        }
    }
}

/// Whether this node knows that it was heard since the machine was started; pods that are fenced wait for it.
#[derive(Debug, Default)]
pub struct Gate {
    open: AtomicBool,
    changed: Notify,
}

impl Gate {
    /// Whether a fenced pod may start.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// There may be a fenced pod that was not there before.
    pub fn look(&self) {
        self.changed.notify_one();
    }
}

/// What the watch over contact needs from the agent.
pub trait Fenced: Send + Sync {
    /// The shortest time of all pods that run and are fenced.
    fn shortest(&self) -> Option<Duration>;
    /// Stops the pods of which `lapsed` says so.
    fn stop(&self, lapsed: &dyn Fn(Duration) -> bool);
    /// Pods that waited may start.
    fn opened(&self);
}

/// Where and how often to look.
pub struct Options {
    pub client: kube::Client,
    pub node: String,
    pub file: PathBuf,
    pub interval: Duration,
    pub gate: Arc<Gate>,
    /// How long pods may go on while nothing at all is known of contact, because the machine was started again but the
    /// pods, which are elsewhere, were not; `None`: as long as otherwise.
    pub unknown: Option<Duration>,
}

/// Watches over contact for as long as it is polled; silent while no pod is fenced.
pub async fn run(options: Options, pods: Arc<dyn Fenced>) {
    let api: Api<Lease> = Api::namespaced(options.client.clone(), "kube-node-lease");
    let start = uptime();
    let kept = std::fs::read_to_string(&options.file).ok().and_then(|text| duration::parse(text.trim()).ok());
    // A time from after now is of an earlier start of the machine whose runtime folder was no tmpfs.
    let mut contact = Contact { last: kept.filter(|last| *last <= start), looked: None };
    if contact.last.is_none() && pods.shortest().is_none() {
        // Nothing was left running or waiting: what comes now was bound by a server that just heard us.
        contact.last = Some(start);
    }
    loop {
        if contact.last.is_some() && !options.gate.open.swap(true, Ordering::AcqRel) {
            pods.opened();
        }
        let Some(shortest) = pods.shortest() else {
            options.gate.changed.notified().await;
            if contact.last.is_some() && pods.shortest().is_some() {
                contact = Contact { last: Some(uptime()), looked: None };
                keep(&options.file, contact.last);
            }
            continue;
        };
        let interval = match contact.last {
            Some(_) => options.interval,
            None => options.unknown.map_or(options.interval, |unknown| (unknown / 8).min(options.interval)),
        };
        let interval = interval.min(shortest / 4).max(LEAST);
        let begun = uptime();
        match tokio::time::timeout(interval, api.get(&options.node)).await {
            Ok(Ok(lease)) => {
                let before = contact.last;
                let renewed = lease.spec.and_then(|spec| spec.renew_time).map(|time| time.0.to_string());
                contact.answered(begun, renewed.unwrap_or_default());
                if contact.last != before {
                    keep(&options.file, contact.last);
                    continue_at(begun, interval).await;
                    continue;
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(error = dunlin_base::error::chain(&error), "the node's lease cannot be read");
            }
            Err(_) => tracing::debug!("the node's lease cannot be read in time"),
        }
        let now = uptime();
        pods.stop(&|after| contact.lapsed(after, options.unknown, start, now));
        continue_at(begun, interval).await;
    }
}

async fn continue_at(begun: Duration, interval: Duration) {
    tokio::time::sleep((begun + interval).saturating_sub(uptime())).await;
}

fn keep(file: &std::path::Path, last: Option<Duration>) {
    let text = format!("{}ms", last.unwrap_or_default().as_millis());
    let beside = file.with_extension("new");
    if let Err(error) = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, file)) {
        tracing::warn!(%error, "the time of the last contact cannot be written");
    }
}

/// Time since the machine was started, sleep included.
fn uptime() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn contact_is_the_question_before_the_renewal_was_seen() {
        let mut contact = Contact::default();
        contact.answered(s(10), "a".to_owned());
        assert_eq!(contact.last, None, "one look shows nothing");
        contact.answered(s(20), "a".to_owned());
        assert_eq!(contact.last, None, "the server answers and does not hear us");
        contact.answered(s(30), "b".to_owned());
        assert_eq!(contact.last, Some(s(20)), "renewed at some time after 20");
        assert!(!contact.lapsed(s(15), None, s(0), s(34)));
        assert!(contact.lapsed(s(15), None, s(0), s(35)));
    }

    #[test]
    fn without_any_contact_the_time_runs_from_the_start() {
        let contact = Contact::default();
        assert!(!contact.lapsed(s(15), None, s(100), s(114)));
        assert!(contact.lapsed(s(15), None, s(100), s(115)));
        assert!(contact.lapsed(s(15), Some(s(10)), s(100), s(110)), "pods that never stopped");
        let heard = Contact { last: Some(s(99)), looked: None };
        assert!(!heard.lapsed(s(15), Some(s(10)), s(100), s(113)));
    }

    #[test]
    fn each_level_takes_half_of_what_it_was_given() {
        assert_eq!(half("1m30s").as_deref(), Some("45000ms"));
        assert_eq!(half("45000ms").and_then(|text| half(&text)).as_deref(), Some("11250ms"));
        assert_eq!(half("soon"), None);
    }

    #[test]
    fn the_annotation_is_seconds_or_a_duration() {
        let pod = |text: &str| -> Pod {
            serde_json::from_value(serde_json::json!({"metadata": {"annotations": {FENCE_AFTER: text}}}))
                .expect("pod")
        };
        assert_eq!(after(&pod("90")), Some(s(90)));
        assert_eq!(after(&pod("1m30s")), Some(s(90)));
        assert_eq!(after(&pod("soon")), None);
        assert_eq!(after(&Pod::default()), None);
    }
}
