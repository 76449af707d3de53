//! No client takes the server from the others: a store that answers only when it is told to, and clients who ask it.

use std::sync::Arc;
use std::time::Duration;

use dunlin_apiserver::User;
use dunlin_store::memory::MemoryStore;
use dunlin_store::{Entry, Error, Key, Page, Revision, Scope, Store, Watch, Write};
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use crate::support::{Cluster, cluster_of};

/// Lists of secrets wait for the gate.
struct Gated {
    store: MemoryStore,
    gate: Arc<Semaphore>,
}

impl Store for Gated {
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Entry, Error>> {
        self.store.write(write)
    }

    fn get(&self, key: &Key) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
        self.store.get(key)
    }

    fn list(
        &self,
        scope: &Scope,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> BoxFuture<'_, Result<Page, Error>> {
        let answer = self.store.list(scope, after, limit, at);
        let gated = &*scope.resource == "secrets";
        Box::pin(async move {
            if gated {
                self.gate.acquire().await.unwrap().forget();
            }
            answer.await
        })
    }

    fn revision(&self) -> Revision {
        self.store.revision()
    }

    fn watch(&self, scope: Scope, after: Option<Revision>) -> Result<Watch, Error> {
        self.store.watch(scope, after)
    }
}

/// A server with so many places, at which `noisy` and `polite` may list secrets.
async fn gated(concurrency: usize, patience: Duration) -> (Arc<Cluster>, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let store = Gated { store: MemoryStore::new(), gate: gate.clone() };
    let c = cluster_of(|config| {
        config.store = Arc::new(store);
        config.limits.concurrency = concurrency;
        config.limits.request = patience;
    })
    .await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let subject = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
    c.make(
        &format!("{rbac}/clusterrolebindings"),
        json!({"metadata": {"name": "readers"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [subject("noisy"), subject("polite")]}),
    )
    .await;
    (Arc::new(c), gate)
}

/// Lists secrets as `user`; tells who it was and what came of it.
fn list(
    c: &Arc<Cluster>,
    user: &'static str,
    done: &mpsc::UnboundedSender<(&'static str, http::response::Parts)>,
) {
    let (c, done) = (c.clone(), done.clone());
    tokio::spawn(async move {
        let request = http::Request::get("/api/v1/namespaces/default/secrets")
            .extension(User::new(user, &[]))
            .body(Full::default())
            .unwrap();
        let (parts, body) = c.send(request).await.into_parts();
        body.collect().await.unwrap();
        let _ = done.send((user, parts));
    });
}

#[tokio::test]
async fn five_hundred_slow_lists_do_not_keep_a_neighbour_waiting() {
    let (c, gate) = gated(12, Duration::from_secs(3600)).await;
    let (sender, mut done) = mpsc::unbounded_channel();
    for _ in 0..500 {
        list(&c, "noisy", &sender);
    }
    // One runs, six queues of fifty are full, and the others are sent away.
    for _ in 0..199 {
        let (user, parts) = done.recv().await.unwrap();
        assert_eq!((user, parts.status.as_u16()), ("noisy", 429));
        assert_eq!(parts.headers["retry-after"], "1");
        for header in ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"] {
            assert_eq!(parts.headers[header].len(), 36);
        }
    }
    list(&c, "polite", &sender);
    // It has to have come before the next is let through.
    let waiting = "current_inqueue_requests{priority_level=\"global-default\"} 301";
    let asked = async {
        while !page(&c).await.contains(waiting) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked).await.unwrap();
    let mut before = 0;
    loop {
        gate.add_permits(1);
        let (user, parts) = done.recv().await.unwrap();
        assert_eq!(parts.status, 200);
        if user == "polite" {
            break;
        }
        before += 1;
        assert!(before <= 7, "the polite client waits for the one that runs and one of each queue at most");
    }
    // An administrator, a watch and a node's heartbeat have places of their own.
    assert_eq!(c.ask("GET", "/api/v1/namespaces", Value::Null).await.0, 200);
    let page = page(&c).await;
    assert!(page.contains("rejected_requests_total{flow_schema=\"global-default\",priority_level=\"global-default\",reason=\"queue-full\"} 199"));
}

async fn page(c: &Cluster) -> String {
    c.ask("GET", "/metrics", Value::Null).await.1.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_watch_gives_its_place_back_once_it_runs() {
    let (c, _gate) = gated(12, Duration::from_secs(3600)).await;
    let mut open = Vec::new();
    for _ in 0..20 {
        let request = http::Request::get("/api/v1/namespaces/default/configmaps?watch=true")
            .extension(User::new("polite", &[]))
            .body(Full::default())
            .unwrap();
        let reply = c.send(request).await;
        assert_eq!(reply.status(), 200);
        open.push(reply);
    }
    assert!(page(&c).await.contains("current_executing_requests{priority_level=\"global-default\"} 0\n"));
}

#[tokio::test]
async fn what_takes_too_long_is_given_up_and_its_place_is_free() {
    let (c, gate) = gated(12, Duration::from_millis(100)).await;
    let (sender, mut done) = mpsc::unbounded_channel();
    list(&c, "noisy", &sender);
    assert_eq!(done.recv().await.unwrap().1.status, 504);
    gate.add_permits(1);
    list(&c, "noisy", &sender);
    assert_eq!(done.recv().await.unwrap().1.status, 200);
}

#[tokio::test]
async fn what_is_nested_too_deep_or_too_large_is_refused() {
    let (c, _gate) = gated(200, Duration::from_secs(60)).await;
    let post = |body: String, kind: &str| {
        let request = http::Request::post("/api/v1/namespaces/default/configmaps")
            .header("content-type", kind)
            .extension(User::in_process("test"))
            .body(Full::from(body))
            .unwrap();
        c.send(request)
    };
    let deep =
        |open: &str, close: &str| format!("{{\"data\":{}1{}}}", open.repeat(100_000), close.repeat(100_000));
    for kind in ["application/json", "application/yaml"] {
        assert_eq!(post(deep("[", "]"), kind).await.status(), 400, "{kind}");
        assert_eq!(post(deep("{\"a\":", "}"), kind).await.status(), 400, "{kind}");
    }
    let large = format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(4 << 20));
    assert_eq!(post(large, "application/json").await.status(), 413);
}

#[tokio::test]
async fn levels_follow_their_objects() {
    let (c, _gate) = gated(200, Duration::from_secs(60)).await;
    let flow = "/apis/flowcontrol.apiserver.k8s.io/v1";
    c.make(
        &format!("{flow}/flowschemas"),
        json!({"metadata": {"name": "noisy"}, "spec": {"matchingPrecedence": 700,
            "priorityLevelConfiguration": {"name": "own"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "noisy"}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}}),
    )
    .await;
    let dangling = async |c: &Cluster| {
        let (_, schema) = c.ask("GET", &format!("{flow}/flowschemas/noisy"), Value::Null).await;
        schema["status"]["conditions"][0]["status"].clone()
    };
    assert_eq!(dangling(&c).await, "True");
    let level = json!({"metadata": {"name": "own"}, "spec": {"type": "Limited",
        "limited": {"nominalConcurrencyShares": 0, "limitResponse": {"type": "Reject"}}}});
    c.make(&format!("{flow}/prioritylevelconfigurations"), level).await;
    assert_eq!(dangling(&c).await, "False");
    let ask = async |c: &Cluster| {
        let user = Some(User::new("noisy", &[]));
        let path = "/api/v1/namespaces/default/configmaps";
        c.ask_as(user, "GET", path, Value::Null, "application/json").await
    };
    // No share, no place.
    let (code, text) = ask(&c).await;
    assert_eq!((code, text.as_str()), (429, Some("Too many requests, please try again later.\n")));
    c.ask("DELETE", &format!("{flow}/prioritylevelconfigurations/own"), Value::Null).await;
    assert_eq!(ask(&c).await.0, 200);
    // The fixed ones come back.
    c.ask("DELETE", &format!("{flow}/prioritylevelconfigurations/exempt"), Value::Null).await;
    let (code, _) = c.ask("GET", &format!("{flow}/prioritylevelconfigurations/exempt"), Value::Null).await;
    assert_eq!(code, 200);
}
