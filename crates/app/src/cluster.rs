//! The role *agent* towards a real Kubernetes: the same agent as a node that a kubelet would be.
//!
//! There is no tunnel: the agent renews its own Lease, and the API server dials it (`dunlin_kubelet`). What is on disk is
//! enough to start without the API server, as ever.

use std::path::Path;

use dunlin_agent::Foreign;
use dunlin_base::task::Task;
use dunlin_kubelet::{Facts, Kubelet, Listener, Serving, clients, kubeconfig, labels, service};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::agent::{self, Settings};
use crate::cri::Cri;
use crate::error::Error;
use crate::layout::{Layout, private_folder};
use crate::options::AgentOptions;
use crate::options::times::Times;

/// Where kubelets are dialled.
const PORT: u16 = 10250;

/// Runs an agent as a node of the cluster of `kubeconfig` until it is asked to end. Its pods go on running.
///
/// # Errors
/// When it cannot start, or the cluster does not take it.
pub async fn run(options: AgentOptions, kubeconfig: &Path) -> Result<(), Error> {
    if let Some(label) = agent::labels(&options.label)?.keys().find(|label| !labels::allowed(label)) {
        return Err(Error::Input(format!(
            "--label {label}: a cluster does not let its nodes give themselves labels of kubernetes.io and k8s.io; let an \
             administrator do it, or choose a name of your own"
        )));
    }
    // Whoever asks it to end while it waits for the cluster does not wait, too.
    tokio::select! {
        ended = crate::shutdown::requested() => ended,
        ended = serve(options, kubeconfig) => ended,
    }
}

async fn serve(options: AgentOptions, kubeconfig: &Path) -> Result<(), Error> {
    let cri = Cri::chosen(options.cri_socket.clone(), options.cri_handlers.clone())?;
    let layout = Layout::open(&options.data_dir)?;
    let folder = layout.cluster();
    private_folder(&folder)?;
    let port = Some(options.kubelet_port.unwrap_or(PORT)).filter(|port| *port > 0);
    let listener = match port {
        Some(port) => Some(Listener::bind(port).await.map_err(failed)?),
        None => None,
    };
    let given = options.client_ca_file.as_deref().map(clients::from_file).transpose().map_err(failed)?;
    let cluster = kubeconfig::read(kubeconfig).await.map_err(failed)?;
    let (server, ca_pem) = (cluster.server.clone(), cluster.ca_pem.clone());
    let endpoint = format!("{}:{}", cluster.endpoint.0, cluster.endpoint.1);
    let joined =
        dunlin_kubelet::join(cluster, options.node_name.as_deref(), &agent::hostname(), &folder).await;
    let joined = joined.map_err(failed)?;
    tracing::info!(server, node = joined.node, "a node of this cluster");
    let api = service::find(&joined.client, &folder).await.map_err(failed)?;
    let settings = Settings {
        node_name: joined.node.clone(),
        labels: options.label.clone(),
        native: options.native_processes,
        machines: options.machines.clone(),
        cri,
        area: options.area.clone(),
        home: None,
        foreign: Some((Foreign { api, kubelet_port: port }, options.pod_cidr.clone())),
        times: options.times.clone(),
    };
    let (_handle, service) = agent::start(&layout, settings, joined.client.clone(), endpoint.clone()).await?;

    let own = joined.certificate.as_ref().map(|certificate| certificate.identity());
    let mut tasks = Vec::new();
    if let Some(certificate) = joined.certificate {
        tasks.push(Task::spawn("certificate", async move { certificate.rotate().await }));
    }
    let _listener = match listener {
        None => None,
        Some(listener) => {
            let names = names(&joined.node, &endpoint);
            let serving = Serving::open(&joined.node, names, &folder).map_err(failed)?;
            let known = given.clone().or_else(|| clients::proven(&ca_pem, own.as_ref()));
            let (tell, known) = watch::channel(known);
            if given.is_none() {
                tasks.push(Task::spawn("client-ca", clients::ask(joined.client.clone(), tell)));
            }
            let facts =
                Facts { node: joined.node.clone(), configuration: configuration(port, &options.times) };
            let kubelet = Kubelet::new(service, joined.client.clone(), facts);
            let shown = serving.shown();
            tasks.push(Task::spawn("serving-certificate", serving.keep(joined.client)));
            Some(Listener::start(listener, shown, known, kubelet))
        }
    };
    std::future::pending::<()>().await;
    Ok(())
}

fn failed(error: dunlin_kubelet::Error) -> Error {
    match error {
        dunlin_kubelet::Error::Input(text) => Error::Input(text),
        other => Error::Step { doing: "becoming a node of the cluster".to_owned(), source: other.into() },
    }
}

/// Under which names the kubelet's API is reached: those that the Node object shows.
fn names(node: &str, endpoint: &str) -> Vec<String> {
    let address = dunlin_agent::machine::own_address(endpoint).map(|address| address.to_string());
    std::iter::once(node.to_owned()).chain(address).collect()
}

/// What `/configz` says, in the words of `KubeletConfiguration`.
fn configuration(port: Option<u16>, times: &Times) -> Value {
    let seconds = |length: std::time::Duration| format!("{}s", length.as_secs());
    json!({
        "enableServer": true,
        "port": port,
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true, "cacheTTL": "2m0s"}},
        "authorization": {
            "mode": "Webhook",
            "webhook": {"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"},
        },
        "enableDebuggingHandlers": true,
        "clusterDomain": "cluster.local",
        "rotateCertificates": true,
        "serverTLSBootstrap": true,
        "nodeLeaseDurationSeconds": times.node_grace().as_secs(),
        "nodeStatusReportFrequency": "5m0s",
        "maxPods": 110,
        "crashLoopBackOff": {"maxContainerRestartPeriod": seconds(times.crash_backoff_most())},
    })
}
