//! A cluster without machines: API server, driver, and nodes that exist as objects only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dunlin_apiserver::{ApiServer, Config, NoNodes, User};
use dunlin_driver::{Driver, Options};
use dunlin_pki::jwt::Issuer;
use dunlin_store::memory::MemoryStore;
use kube::Client;
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub struct Cluster {
    pub client: Client,
    _driver: Driver,
    _dir: tempfile::TempDir,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::with_scheduler("balanced").await
    }

    pub async fn with_scheduler(scheduler: &str) -> Self {
        Self::with(scheduler, |_| None).await
    }

    /// A server that shows what is at `path` to the driver only when it asks for the `late + 1`st time.
    pub async fn showing_late(path: &'static str, late: u32) -> Self {
        let asked = AtomicU32::new(0);
        let is_late =
            move |asked_for: &str| asked_for == path && asked.fetch_add(1, Ordering::Relaxed) < late;
        Self::with("balanced", move |path| is_late(path).then_some("/apis/nowhere.example.com/v1")).await
    }

    /// A server that shows the driver what is at `there` where it asks for what begins with `path`.
    pub async fn redirecting(path: &'static str, there: &'static str) -> Self {
        Self::with("balanced", move |asked_for| asked_for.starts_with(path).then_some(there)).await
    }

    async fn with(
        scheduler: &str,
        redirect: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        let filter = std::env::var("DUNLIN_TEST_LOG").is_ok();
        if filter {
            let _ =
                tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().try_init();
        }
        let dir = tempfile::tempdir().expect("a directory");
        let issuer = Issuer::open_or_create(dir.path(), "https://kubernetes.default.svc").expect("an issuer");
        let config = Config::new(
            Arc::new(MemoryStore::new()),
            Arc::new(issuer),
            "https://kubernetes.default.svc",
            "the ca",
            Arc::new(NoNodes),
        );
        let api = ApiServer::new(config);
        api.bootstrap().await.expect("bootstrap");
        let service = api.as_user(User::in_process("system:dunlin"));
        let client = Client::new(service.clone(), "default");
        let redirect = Arc::new(redirect);
        let driven = tower::service_fn(move |mut request: http::Request<kube::client::Body>| {
            if let Some(there) = redirect(request.uri().path()) {
                *request.uri_mut() = http::Uri::from_static(there);
            }
            service.clone().oneshot(request)
        });
        let scheduler = scheduler.parse().expect("a policy");
        let options = Options { ca_pem: "the ca".to_owned(), scheduler, ..Options::default() };
        Self { _driver: dunlin_driver::run(Client::new(driven, "default"), options), client, _dir: dir }
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> Result<Value, kube::Error> {
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder().method(method).uri(path).header("content-type", content);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.client.request(request.body(body).expect("a request")).await
    }

    pub async fn create(&self, path: &str, body: Value) -> Value {
        self.send("POST", path, body).await.expect("created")
    }

    /// Defines a custom resource of `example.com/v1`, in namespaces, with any fields.
    pub async fn define(&self, plural: &str, kind: &str) {
        let schema =
            json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
            },
        });
        self.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
    }

    pub async fn get(&self, path: &str) -> Option<Value> {
        self.send("GET", path, Value::Null).await.ok()
    }

    pub async fn items(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).await.unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// A node that is ready and stays so for the grace period.
    pub async fn node(&self, name: &str, cpu: &str) {
        self.create(
            "/api/v1/nodes",
            json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}),
        )
        .await;
        let status = json!({"status": {
            "allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"},
            "capacity": {"cpu": cpu, "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        }});
        let path = format!("/api/v1/nodes/{name}");
        self.send("PATCH", &format!("{path}/status"), status).await.expect("node status");
        // A new node is tainted until the controllers have seen that it is ready.
        until("the node to be open for pods", || async {
            self.get(&path).await?["spec"]["taints"].as_array().is_none_or(Vec::is_empty).then_some(())
        })
        .await;
    }

    /// Makes a bound pod look as if its node ran it.
    pub async fn run_pod(&self, path: &str, ip: &str) {
        let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        self.send("PATCH", &format!("{path}/status"), status).await.expect("pod status");
    }
}

/// Waits until `check` gives something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let all = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(20), all).await {
        Ok(found) => found,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

pub fn pod(name: &str, cpu: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}})
}
