//! Pods whose runtime does not answer when the agent starts, as a daemon that others start may not do yet.
//!
//! What runs there is not known, so nothing is begun for such a pod: it would run twice. Its worker starts when the runtime
//! answers. The pods of all other runtimes go on meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_base::error::chain;
use dunlin_node::{NodeInfo, PodRef};
use dunlin_runtime::{Runtime, SandboxStatus};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use crate::model::Record;

/// How often a runtime that was silent is asked.
const AGAIN: Duration = Duration::from_secs(1);

/// A pod that waits.
pub struct Waiting {
    pub pod: Arc<Pod>,
    pub record: Record,
    /// The API has forgotten it meanwhile.
    pub gone: bool,
}

/// All that wait, by uid.
#[derive(Default)]
pub struct Held(Mutex<HashMap<String, Waiting>>);

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a pod wait.
    pub fn add(&self, pod: Arc<Pod>, record: Record) {
        self.lock().insert(PodRef::of(&pod).uid, Waiting { pod, record, gone: false });
    }

    /// Whether the pod waits; what the API says of it is kept for later.
    pub fn take_news(&self, uid: &str, pod: &Arc<Pod>) -> bool {
        let mut all = self.lock();
        let waiting = all.get_mut(uid);
        let held = waiting.is_some();
        if let Some(waiting) = waiting {
            waiting.pod = pod.clone();
        }
        held
    }

    /// The API has forgotten the pod.
    pub fn gone(&self, uid: &str) {
        if let Some(waiting) = self.lock().get_mut(uid) {
            waiting.gone = true;
        }
    }

    /// The API has these pods only; gives back who waits.
    pub fn listed(&self, uids: &BTreeSet<String>) -> BTreeSet<String> {
        let mut all = self.lock();
        for (uid, waiting) in all.iter_mut() {
            waiting.gone |= !uids.contains(uid);
        }
        all.keys().cloned().collect()
    }

    /// Lets those of a runtime go, in the midst of which `begin` starts each: nobody sees it as neither held nor there.
    pub fn release(&self, runtime: &str, mut begin: impl FnMut(Waiting)) {
        let mut all = self.lock();
        let of: Vec<String> =
            all.iter().filter(|(_, w)| w.record.runtime == runtime).map(|(uid, _)| uid.clone()).collect();
        for waiting in of.iter().filter_map(|uid| all.remove(uid)) {
            begin(waiting);
        }
    }
}

/// What runs in a runtime, once it answers.
pub async fn answer(runtime: &Arc<dyn Runtime>) -> Vec<SandboxStatus> {
    loop {
        match runtime.sandboxes().await {
            Ok(found) => return found,
            Err(error) => {
                tracing::debug!(
                    runtime = runtime.name(),
                    error = chain(&error),
                    "a runtime does not answer yet"
                );
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Lets the Node say of a runtime whether it can be had now.
pub async fn follow(
    runtime: Arc<dyn Runtime>,
    mut ready: watch::Receiver<bool>,
    info: watch::Sender<NodeInfo>,
) {
    let (name, label) = (runtime.name(), format!("runtime.dunlin.io/{}", runtime.name()));
    loop {
        let good = *ready.borrow_and_update();
        info.send_if_modified(|info| {
            let had = info.runtime_handlers.iter().any(|handler| handler == name);
            if good && !had {
                info.runtime_handlers.push(name.to_owned());
                info.labels.insert(label.clone(), "true".to_owned());
            } else if !good {
                info.runtime_handlers.retain(|handler| handler != name);
                info.labels.remove(&label);
            }
            good != had
        });
        if ready.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_reach_who_waits() {
        let held = Held::default();
        let pod = |uid: &str, label: &str| {
            let mut pod = Pod::default();
            pod.metadata.uid = Some(uid.to_owned());
            pod.metadata.labels = Some([("l".to_owned(), label.to_owned())].into());
            Arc::new(pod)
        };
        let record = |runtime: &str| Record { runtime: runtime.to_owned(), ..Record::default() };
        held.add(pod("a", "old"), record("cri"));
        held.add(pod("b", "old"), record("cri"));
        held.add(pod("c", "old"), record("other"));
        assert!(held.take_news("a", &pod("a", "new")) && !held.take_news("x", &pod("x", "new")));
        assert_eq!(held.listed(&["a".to_owned(), "c".to_owned()].into()).len(), 3);
        let mut released = Vec::new();
        held.release("cri", |waiting| {
            let label = waiting.pod.metadata.labels.clone().unwrap_or_default()["l"].clone();
            released.push((PodRef::of(&waiting.pod).uid, label, waiting.gone));
        });
        released.sort();
        assert_eq!(released, [("a".into(), "new".into(), false), ("b".into(), "old".to_owned(), true)]);
        held.gone("c");
        held.release("other", |waiting| assert!(waiting.gone));
        assert!(held.listed(&BTreeSet::new()).is_empty());
    }
}
