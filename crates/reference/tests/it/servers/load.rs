//! Writers that go through all servers, and remember what they were told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dunlin_testkit::namespace::Namespace;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

/// How long one request may take before the writer goes to the next server.
const REQUEST: Duration = Duration::from_secs(4);

/// What a writer was told is there: its counter, and the objects that it made.
#[derive(Debug, Default)]
struct Told {
    counter: u64,
    made: Vec<String>,
}

/// Running writers.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    label: String,
    path: PathBuf,
    thread: std::thread::JoinHandle<Result<BTreeMap<String, Told>>>,
}

impl Load {
    /// Starts `count` writers on the network `at`; each begins at another of the servers of `configs`.
    pub fn start(at: &Namespace, configs: &[PathBuf], count: usize, label: &str) -> Result<Self> {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted, configs, name) =
            (stop.clone(), done.clone(), configs.to_vec(), label.to_owned());
        let path = at.path();
        let network = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
        let thread = std::thread::spawn(move || {
            enter(&network)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut writers = tokio::task::JoinSet::new();
                for n in 0..count {
                    let mut clients = Vec::new();
                    for m in 0..configs.len() {
                        clients.push(client(&configs[(n + m) % configs.len()]).await?);
                    }
                    let name = format!("{name}-{n}");
                    let (stop, done) = (stopped.clone(), counted.clone());
                    let label = name.rsplit_once('-').map(|(label, _)| label.to_owned()).unwrap_or_default();
                    writers.spawn(async move {
                        let told = write(&clients, &label, &name, &stop, &done).await;
                        (name, told)
                    });
                }
                let mut all = BTreeMap::new();
                while let Some(ended) = writers.join_next().await {
                    let (name, told) = ended?;
                    all.insert(name, told?);
                }
                Ok(all)
            })
        });
        Ok(Self { stop, done, label: label.to_owned(), path, thread })
    }

    /// Waits until `more` writes have been acknowledged from now on.
    pub fn wait_for(&self, more: u64) -> Result<()> {
        let (from, end) = (self.done.load(Ordering::Relaxed), Instant::now() + Duration::from_secs(60));
        while self.done.load(Ordering::Relaxed) < from + more {
            ensure!(Instant::now() < end, "the writers do not get on");
            ensure!(!self.thread.is_finished(), "the writers have ended");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends the writers and checks at one server that everything is there that they were told of, once.
    pub fn check(self, config: &Path, server: usize) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let told = self.thread.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        let network = std::fs::File::open(&self.path)?;
        let (config, label) = (config.to_owned(), self.label);
        let found = std::thread::spawn(move || -> Result<Vec<ConfigMap>> {
            enter(&network)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let maps: Api<ConfigMap> = Api::default_namespaced(client(&config).await?);
                Ok(maps.list(&ListParams::default().labels(&format!("load={label}"))).await?.items)
            })
        });
        let found = found.join().map_err(|_| anyhow::anyhow!("the look panicked"))??;
        let mut there: BTreeMap<String, u64> = BTreeMap::new();
        for map in found {
            let value = map.data.and_then(|data| data.get("value")?.parse().ok()).unwrap_or(0);
            let name = map.metadata.name.unwrap_or_default();
            ensure!(there.insert(name.clone(), value).is_none(), "{name} is there twice");
        }
        let mut counted = 0;
        for (name, told) in told {
            let value =
                *there.get(&name).with_context(|| format!("{name} is not there at server {server}"))?;
            // The last write may have been made without an answer, and no other.
            ensure!(
                value == told.counter || value == told.counter + 1,
                "{name} was raised to {} and is {value} at server {server}",
                told.counter
            );
            for made in told.made {
                ensure!(
                    there.contains_key(&made),
                    "{made} was acknowledged and is not there at server {server}"
                );
                counted += 1;
            }
        }
        ensure!(counted > 0, "nothing was made");
        Ok(())
    }
}

async fn client(config: &Path) -> Result<kube::Client> {
    let read = Kubeconfig::read_from(config).with_context(|| config.display().to_string())?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

fn enter(network: &std::fs::File) -> Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: setns takes a descriptor that is open for as long as the call lasts; it moves this thread alone.
    let entered = unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) };
    ensure!(entered == 0, "entering the network: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Raises a counter by one, against the version that was read last, and makes an object, again and again. What fails is
/// looked at through the next server.
async fn write(
    clients: &[kube::Client],
    label: &str,
    name: &str,
    stop: &AtomicBool,
    done: &AtomicU64,
) -> Result<Told> {
    let mut told = Told::default();
    let mut known: Option<ConfigMap> = None;
    let (mut at, mut number) = (0, 0u64);
    let object = |name: &str, value: u64| -> Result<ConfigMap> {
        Ok(serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"load": label}}, "data": {"value": value.to_string()},
        }))?)
    };
    while !stop.load(Ordering::Relaxed) {
        // Every few writes another server, and always when one fails.
        if number % 5 == 4 {
            at += 1;
        }
        number += 1;
        let maps: Api<ConfigMap> = Api::default_namespaced(clients[at % clients.len()].clone());
        let params = PostParams::default();
        let next = told.counter + 1;
        let raised = match &known {
            None => within(maps.create(&params, &object(name, next)?)).await,
            Some(known) => {
                let mut new = object(name, next)?;
                new.metadata.resource_version.clone_from(&known.metadata.resource_version);
                within(maps.replace(name, &params, &new)).await
            }
        };
        match raised {
            Some(Ok(map)) => {
                told.counter = next;
                known = Some(map);
                done.fetch_add(1, Ordering::Relaxed);
            }
            failed => {
                let conflict = matches!(&failed, Some(Err(kube::Error::Api(status))) if status.code == 409);
                at += 1;
                let maps: Api<ConfigMap> = Api::default_namespaced(clients[at % clients.len()].clone());
                if let Some(Ok(found)) = within(maps.get_opt(name)).await {
                    let value =
                        found.as_ref().and_then(|m| m.data.as_ref()?.get("value")?.parse().ok()).unwrap_or(0);
                    // One more only if its answer was lost; nobody else writes here.
                    ensure!(
                        value == told.counter || value == next,
                        "{name} was raised to {} and is {value} (conflict: {conflict})",
                        told.counter
                    );
                    told.counter = value;
                    known = found;
                }
                continue;
            }
        }
        let made = format!("{name}-{number}");
        let maps: Api<ConfigMap> = Api::default_namespaced(clients[at % clients.len()].clone());
        if let Some(Ok(_)) = within(maps.create(&params, &object(&made, 1)?)).await {
            told.made.push(made);
            done.fetch_add(1, Ordering::Relaxed);
        } else {
            at += 1;
        }
    }
    Ok(told)
}

async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Option<kube::Result<T>> {
    tokio::time::timeout(REQUEST, request).await.ok()
}
