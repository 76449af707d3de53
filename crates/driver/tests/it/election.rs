//! One of several is elected, at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dunlin_base::task::Task;
use dunlin_driver::election::{Election, Times};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use crate::support::Cluster;

const TIMES: Times = Times {
    duration: Duration::from_millis(1500),
    deadline: Duration::from_millis(800),
    retry: Duration::from_millis(100),
};

fn candidate(
    client: &kube::Client,
    identity: &str,
    working: &Arc<AtomicUsize>,
    at_once: &Arc<AtomicUsize>,
) -> Task {
    let mut election = Election::new(client.clone(), "test", identity, TIMES);
    let (working, at_once) = (working.clone(), at_once.clone());
    Task::spawn("candidate", async move {
        loop {
            let mut term = election.win().await;
            let _working = Working::new(&working, &at_once);
            term.hold().await;
        }
    })
}

/// Counts who works, and the most who ever did.
struct Working(Arc<AtomicUsize>);

impl Working {
    fn new(working: &Arc<AtomicUsize>, at_once: &Arc<AtomicUsize>) -> Self {
        at_once.fetch_max(working.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Self(working.clone())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn holder(leases: &Api<Lease>, wanted: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let lease = leases.get_opt("test").await.expect("the API answers");
        let holder = lease.and_then(|l| l.spec?.holder_identity).unwrap_or_default();
        if wanted(&holder) {
            return holder;
        }
        assert!(Instant::now() < end, "the holder is {holder:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_begins_only_after_the_one_before_has_stopped() {
    let cluster = Cluster::start().await;
    let client = cluster.client.clone();
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    let (working, at_once) = (Arc::default(), Arc::default());
    let mut candidates: Vec<(String, Task)> = ["a", "b", "c"]
        .iter()
        .map(|id| ((*id).to_owned(), candidate(&client, id, &working, &at_once)))
        .collect();
    let first = holder(&leases, |holder| !holder.is_empty()).await;
    // It dies.
    candidates.retain(|(id, _)| *id != first);
    let died = Instant::now();
    let second = holder(&leases, |holder| holder != first).await;
    assert!(died.elapsed() >= TIMES.duration - TIMES.retry * 2, "taken after {:?}", died.elapsed());
    // Somebody takes it from the one that holds it: that one stops.
    let theft = serde_json::json!({"spec": {"holderIdentity": "thief"}});
    let taken = kube::api::Patch::Merge(&theft);
    leases.patch("test", &kube::api::PatchParams::default(), &taken).await.expect("the lease is there");
    let end = Instant::now() + Duration::from_millis(700);
    while working.load(Ordering::SeqCst) > 0 {
        assert!(Instant::now() < end, "{second} goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The thief never renews.
    holder(&leases, |holder| holder != "thief").await;
    assert_eq!(at_once.load(Ordering::SeqCst), 1, "two worked at once");
}
