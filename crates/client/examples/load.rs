//! What an API server takes: `cargo run --release -p dunlin-client --example load -- KUBECONFIG [fill N | pods N | ready]`.
//!
//! Works on any Kubernetes API. Without a further word it prints how many creations, changes, reads and lists there are
//! in a second and how long one takes, and how long a change needs to reach a thousand watchers, a line each with a tab
//! between name and figure. `fill` makes so many ConfigMaps; `pods` so many Pods that look as if a node ran them;
//! `ready` ends when the server is. All of it is in the namespace `load`, which is left behind.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use futures_util::{AsyncBufReadExt, StreamExt, stream};
use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: load KUBECONFIG [fill N | pods N | ready]";
/// Clients that ask at the same time, each over its own connection, one request after the other.
const CLIENTS: usize = 16;
/// How many requests each row makes.
const REQUESTS: usize = 8_000;
/// Of lists, which are larger.
const LISTS: usize = 400;
/// How many objects a list has.
const LISTED: usize = 500;
const WATCHERS: usize = 1_000;
/// How many changes are sent to the watchers, one after the other.
const CHANGES: usize = 100;
const NODES: usize = 10;
const MAPS: &str = "/api/v1/namespaces/load/configmaps";
const PODS: &str = "/api/v1/namespaces/load/pods";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let [file, task @ ..] = words.as_slice() else { return Err(USAGE.into()) };
    let load = Load::new(Path::new(file)).await?;
    match task {
        ["ready"] => {
            while load.ask(0, "GET", "/readyz", None).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            return Ok(());
        }
        _ => load.make("/api/v1/namespaces", &json!({"metadata": {"name": "load"}})).await?,
    }
    match task {
        [] => load.everything().await,
        ["fill", count] => load.fill(count.parse()?).await,
        ["pods", count] => load.pods(count.parse()?).await,
        _ => Err(USAGE.into()),
    }
}

struct Load {
    config: Config,
    clients: Vec<Client>,
}

impl Load {
    async fn new(file: &Path) -> Result<Self, Failure> {
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?;
        let clients = (0..CLIENTS).map(|_| Client::try_from(config.clone())).collect::<Result<_, _>>()?;
        Ok(Self { config, clients })
    }

    /// One request of the client `n`; the answer is read to its end.
    async fn ask(&self, n: usize, method: &str, path: &str, body: Option<&Value>) -> Result<(), Failure> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        self.clients[n].request_text(request.body(body)?).await?;
        Ok(())
    }

    /// Makes an object that an earlier run may have left.
    async fn make(&self, path: &str, object: &Value) -> Result<(), Failure> {
        match self.ask(0, "POST", path, Some(object)).await {
            Err(error) if !error.to_string().contains("already exists") => Err(error),
            _ => Ok(()),
        }
    }

    /// Does `one` so many times with all clients at once, and prints the row.
    async fn row<F, R>(&self, what: &str, count: usize, one: F) -> Result<(), Failure>
    where
        F: Fn(usize, usize) -> R + Copy,
        R: Future<Output = Result<(), Failure>>,
    {
        let begun = Instant::now();
        let next = &AtomicUsize::new(0);
        let workers = (0..CLIENTS).map(|client| async move {
            let mut took = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return Ok::<_, Failure>(took);
                }
                let begun = Instant::now();
                one(client, n).await?;
                took.push(begun.elapsed());
            }
        });
        print(what, try_join_all(workers).await?.concat(), begun.elapsed());
        Ok(())
    }

    async fn everything(&self) -> Result<(), Failure> {
        self.fill(REQUESTS).await?;
        self.row("changes", REQUESTS, async |client, n| {
            self.ask(client, "PUT", &format!("{MAPS}/load-{n}"), Some(&map(n, "b"))).await
        })
        .await?;
        self.row("reads", REQUESTS, async |client, n| {
            self.ask(client, "GET", &format!("{MAPS}/load-{n}"), None).await
        })
        .await?;
        self.row(&format!("lists of {LISTED}"), LISTS, async |client, _| {
            self.ask(client, "GET", &format!("{MAPS}?limit={LISTED}"), None).await
        })
        .await?;
        self.watch().await
    }

    /// How long a change takes to reach all watchers.
    async fn watch(&self) -> Result<(), Failure> {
        let (told, mut heard) = mpsc::channel::<()>(WATCHERS);
        let path = format!("{MAPS}?watch=true&fieldSelector=metadata.name%3Dload-0");
        let mut watchers = JoinSet::new();
        for _ in 0..WATCHERS {
            let client = Client::try_from(self.config.clone())?;
            let mut lines = client.request_stream(Request::get(&path).body(Vec::new())?).await?.lines();
            let told = told.clone();
            watchers.spawn(async move {
                while let Some(Ok(_)) = lines.next().await {
                    if told.send(()).await.is_err() {
                        return;
                    }
                }
            });
        }
        // Every watch begins with the object as it is.
        all(&mut heard).await?;
        let mut took = Vec::new();
        let begun = Instant::now();
        for n in 0..CHANGES {
            let sent = Instant::now();
            let change = json!({"data": {"n": n.to_string()}});
            self.ask(0, "PATCH", &format!("{MAPS}/load-0"), Some(&change)).await?;
            all(&mut heard).await?;
            took.push(sent.elapsed());
        }
        print(&format!("changes that reached {WATCHERS} watchers"), took, begun.elapsed());
        Ok(())
    }

    async fn fill(&self, count: usize) -> Result<(), Failure> {
        self.row("creations", count, async |client, n| {
            self.ask(client, "POST", MAPS, Some(&map(n, "a"))).await
        })
        .await
    }

    async fn pods(&self, count: usize) -> Result<(), Failure> {
        for n in 0..NODES {
            let node = json!({"metadata": {"name": format!("load-{n}")}, "status": {
                "capacity": {"cpu": "64", "memory": "256Gi", "pods": "10000"},
                "conditions": [{"type": "Ready", "status": "True"}]}});
            self.make("/api/v1/nodes", &node).await?;
        }
        let account = json!({"metadata": {"name": "default"}});
        self.make("/api/v1/namespaces/load/serviceaccounts", &account).await?;
        self.row("pods made and reported", count, async |client, n| {
            self.ask(client, "POST", PODS, Some(&pod(n))).await?;
            self.ask(client, "PATCH", &format!("{PODS}/load-{n}/status"), Some(&running(n))).await
        })
        .await
    }
}

/// Waits until every watcher has heard once more.
async fn all(heard: &mut mpsc::Receiver<()>) -> Result<(), Failure> {
    let all = stream::poll_fn(|context| heard.poll_recv(context)).take(WATCHERS).count();
    match tokio::time::timeout(Duration::from_secs(60), all).await {
        Ok(WATCHERS) => Ok(()),
        Ok(_) => Err("the watches ended".into()),
        Err(_) => Err("a watcher heard nothing for 60 s".into()),
    }
}

/// A ConfigMap of about 1 KiB.
fn map(n: usize, filling: &str) -> Value {
    json!({"metadata": {"name": format!("load-{n}"), "labels": {"app": format!("app-{}", n % 100)}},
        "data": {"text": filling.repeat(700)}})
}

/// A Pod that a node runs already, as far as the API can tell.
fn pod(n: usize) -> Value {
    json!({"metadata": {"name": format!("load-{n}"), "labels": {"app": format!("app-{}", n % 100)}},
        "spec": {"nodeName": format!("load-{}", n % NODES), "containers": [{
            "name": "main", "image": "registry.example.com/load/app:1.0", "ports": [{"containerPort": 8080}],
            "env": [{"name": "MODE", "value": "production"}],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "32Mi"}}}]}})
}

fn running(n: usize) -> Value {
    let now = "2026-01-01T00:00:00Z";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    let address = format!("10.1.{}.{}", n / 250 % 250, n % 250 + 1);
    json!({"status": {"phase": "Running", "startTime": now, "hostIP": "192.0.2.1", "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": conditions,
        "containerStatuses": [{"name": "main", "ready": true, "started": true, "restartCount": 0,
            "image": "registry.example.com/load/app:1.0",
            "imageID": format!("registry.example.com/load/app@sha256:{n:064x}"),
            "containerID": format!("dunlin://{n:064x}"), "state": {"running": {"startedAt": now}}}]}})
}

fn print(what: &str, mut took: Vec<Duration>, whole: Duration) {
    took.sort();
    let at = |share: f64| {
        let place = (took.len() as f64 * share).ceil() as usize;
        took[place.clamp(1, took.len()) - 1].as_secs_f64() * 1000.0
    };
    let rate = took.len() as f64 / whole.as_secs_f64();
    println!("{what}/s; p50 / p99\t{rate:.0}; {:.1} / {:.1} ms", at(0.5), at(0.99));
}
