//! `--expose nodes`: every machine of the cluster as a node of the parent, for as long as it is a machine here. Each is
//! written when something about it has changed, and not otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dunlin_api::names::{annotation, label};
use dunlin_base::backoff::Backoff;
use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_control::model::Quantities;
use dunlin_node::{NodeInfo, Registration, RegistrationOptions};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, ListParams};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::below::gone;
use crate::plan::machine;
use crate::uplink::{Backend, Machine, Shared};

/// Shows the machines for as long as it is polled.
pub fn start(shared: &Arc<Shared>) -> Task {
    Task::spawn("machines", follow(shared.clone()))
}

/// A machine that is shown; dropping it shows it no longer, and leaves its node above as it is.
struct Shown {
    info: watch::Sender<NodeInfo>,
    _registration: Registration,
    _pods: Task,
}

#[derive(Default)]
struct Known {
    /// The machines, once all are known.
    nodes: BTreeMap<String, Node>,
    listed: bool,
    shown: BTreeMap<String, Shown>,
    /// Nodes above whose machines are gone.
    leaving: BTreeSet<String>,
    /// The parent has said which nodes of earlier runs there are.
    asked: bool,
}

async fn follow(shared: Arc<Shared>) {
    let api: Api<Node> = Api::all(shared.child.clone());
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut changes = shared.scheduler.changes();
    let mut known = Known::default();
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    // When all is looked at the next time.
    let mut due = None;
    loop {
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(event) = events.next() => {
                known.take(event);
                // A burst of changes is one look.
                due.get_or_insert_with(|| Instant::now() + shared.config.settle);
            }
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                due.get_or_insert_with(|| Instant::now() + shared.config.settle);
            }
            () = timer => {
                due = None;
                if !known.listed {
                    continue;
                }
                let Some(left) = shared.scheduler.machines(&shared.config.level.parent).await else { return };
                known.show(&shared, &left);
                match known.clean(&shared).await {
                    Ok(()) => backoff.reset(),
                    Err(error) => {
                        tracing::debug!(error = chain(&error), "taking back machines failed, trying again");
                        due = Some(Instant::now() + backoff.next_delay());
                    }
                }
            }
        }
    }
}

impl Known {
    fn take(&mut self, event: Result<Event<Node>, watcher::Error>) {
        let name = |node: &Node| node.metadata.name.clone().unwrap_or_default();
        match event {
            Ok(Event::Init) => {
                self.listed = false;
                self.nodes.clear();
            }
            Ok(Event::InitApply(node) | Event::Apply(node)) => {
                self.nodes.insert(name(&node), node);
            }
            Ok(Event::InitDone) => self.listed = true,
            Ok(Event::Delete(node)) => {
                self.nodes.remove(&name(&node));
            }
            Err(error) => tracing::debug!(error = chain(&error), "following machines failed, trying again"),
        }
    }

    /// Makes what is shown what is here.
    fn show(&mut self, shared: &Arc<Shared>, left: &BTreeMap<Arc<str>, Quantities>) {
        let level = &shared.config.level;
        let shown = self.shown.keys();
        let departed: Vec<String> = shown.filter(|name| !self.nodes.contains_key(*name)).cloned().collect();
        for name in departed {
            tracing::info!(machine = name, "a machine has left the cluster");
            self.shown.remove(&name);
            let above = machine::name(level, &name);
            self.leaving.insert(above.clone());
            shared.forget_node(&above);
        }
        for (name, node) in &self.nodes {
            // What the scheduler has not seen yet comes with its next change.
            let Some(left) = left.get(name.as_str()) else { continue };
            let info = machine::info(level, node, left, &shared.config.version);
            if let Some(shown) = self.shown.get(name) {
                shown.info.send_if_modified(|old| std::mem::replace(old, info.clone()) != info);
                continue;
            }
            let above = info.name.clone();
            self.leaving.remove(&above);
            let is_cluster =
                node.metadata.labels.as_ref().is_some_and(|all| all.contains_key(label::VIRTUAL_NODE));
            shared.know_node(&above, Machine { name: name.clone(), is_cluster });
            self.shown.insert(name.clone(), shown_as(shared, info, above));
        }
        shared.lock().nodes_known = true;
    }

    /// Deletes the nodes above of machines that are not here any more; those of earlier runs, too.
    async fn clean(&mut self, shared: &Shared) -> Result<(), kube::Error> {
        let api: Api<Node> = Api::all(shared.parent.clone());
        let own = &shared.config.level.node;
        if !self.asked {
            let ours = ListParams::default().labels(&format!("{}={own}", label::CLUSTER));
            for node in api.list_metadata(&ours).await? {
                let annotations = node.metadata.annotations.unwrap_or_default();
                let name = node.metadata.name.unwrap_or_default();
                let shown = self.nodes.keys().any(|here| machine::name(&shared.config.level, here) == name);
                if annotations.get(annotation::EXPOSED_BY) == Some(own) && !shown {
                    self.leaving.insert(name);
                }
            }
            self.asked = true;
        }
        while let Some(name) = self.leaving.first().cloned() {
            gone(api.delete(&name, &DeleteParams::default()).await)?;
            self.leaving.remove(&name);
        }
        Ok(())
    }
}

fn shown_as(shared: &Arc<Shared>, info: NodeInfo, above: String) -> Shown {
    let (info, told) = watch::channel(info);
    // The parent renews the Lease from our tunnel.
    let options = RegistrationOptions { renew_lease: false, status_interval: None, ..Default::default() };
    let registration = Registration::start(shared.parent.clone(), told, options);
    let mut assigned = registration.assigned.clone();
    let parent = shared.parent.clone();
    let claims = shared.claims.clone();
    let backend = Arc::new(Backend { shared: shared.clone(), node: above.clone() });
    let pods = Task::spawn("machine-pods", async move {
        // Before there is a node, nobody may ask for its pods.
        if assigned.wait_for(Option::is_some).await.is_ok() {
            let _volumes = dunlin_node::volumes::start(parent.clone(), &above, claims);
            let _pods = dunlin_node::pods::start(parent, &above, backend);
            std::future::pending::<()>().await;
        }
    });
    Shown { info, _registration: registration, _pods: pods }
}
