//! The role *server*: API, store, controllers and scheduler in one process, with an agent of its own unless told not to.
//!
//! Start-up is in the order in which things depend on each other, and the port is taken first: a wrong address or a
//! second server on the same machine is told before anything is written.

mod access;
mod dialer;
mod heartbeat;
pub mod signer;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use dunlin_api::names::API_SERVICE_ADDRESS;
use dunlin_apiserver::{ApiServer, Config, User};
use dunlin_base::task::Task;
use dunlin_pki::{Authority, jwt};
use dunlin_store::sqlite::SqliteStore;
use dunlin_tunnel::accept::Tunnels;
use tokio::net::TcpListener;

use crate::agent;
use crate::error::{Doing, Error};
use crate::layout::Layout;
use crate::options::ServerOptions;

/// Who issues service account tokens; the name Kubernetes clients expect inside a cluster.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Runs a server until it is asked to end.
///
/// # Errors
/// When it cannot start, or the listener fails.
pub async fn run(options: ServerOptions) -> Result<(), Error> {
    let scheduler = match &options.scheduler {
        Some(policy) => policy.parse().map_err(|e| Error::Input(format!("--scheduler {policy}: {e}")))?,
        None => dunlin_driver::Scheduler::default(),
    };
    let layout = Layout::open(&options.data_dir)?;
    let listener = TcpListener::bind(&options.listen)
        .await
        .map_err(|source| Error::Listen { address: options.listen.clone(), source })?;
    let address = listener.local_addr().doing("asking for the listener's address")?;
    let node_name = options.node_name.clone().unwrap_or_else(agent::hostname);
    let cluster = options.name.clone().unwrap_or_else(|| "dunlin".to_owned());

    let authority = Arc::new(
        Authority::open_or_create(&layout.keys(), &cluster).doing("opening the certificate authority")?,
    );
    let issuer =
        Arc::new(jwt::Issuer::open_or_create(&layout.keys(), ISSUER).doing("opening the token issuer")?);
    let store = SqliteStore::open(layout.database(), Default::default())
        .doing(format!("opening the store {}", layout.database().display()))?;

    let tunnels = Arc::new(Tunnels::new(Default::default()));
    let local: dialer::LocalNode = Arc::new(OnceLock::new());
    let dialer = Arc::new(dialer::Dialer { tunnels: tunnels.clone(), local: local.clone() });
    let mut config = Config::new(Arc::new(store), issuer, ISSUER, authority.ca_pem(), dialer);
    config.api_port = address.port();
    config.tunnel = Some(tunnel_hook(tunnels.clone()));
    let api = ApiServer::new(config);
    api.bootstrap().await.doing("preparing the API's first objects")?;

    let identity = authority
        .issue_server(&names(address, &options, &node_name))
        .doing("issuing the server's certificate")?;
    let alpn: &[&[u8]] = &[b"h2", b"http/1.1", dunlin_tunnel::ALPN];
    let tls = dunlin_pki::tls::server_config(authority.ca_pem(), &identity, alpn).doing("setting up TLS")?;
    access::write_kubeconfig(&layout, &authority, &access::url(address, &options.advertise), &cluster)?;

    let as_user = |name: &str| kube::Client::new(api.clone().as_user(User::in_process(name)), "default");
    access::ensure_token(&layout, &authority, as_user("dunlin:bootstrap")).await?;
    let own_node = (!options.no_agent).then(|| node_name.clone());
    let _tasks = [
        Task::spawn("signer", signer::run(as_user("dunlin:signer"), authority.clone())),
        Task::spawn(
            "heartbeat",
            heartbeat::run(as_user("dunlin:heartbeat"), tunnels.clone(), own_node.clone()),
        ),
    ];
    let plans =
        dunlin_driver::Options { ca_pem: authority.ca_pem().to_owned(), scheduler, ..Default::default() };
    let _driver = dunlin_driver::run(as_user("dunlin:driver"), plans);

    let mut _agent = None;
    if let Some(name) = own_node {
        let node = User::new(format!("system:node:{name}"), &["system:nodes"]);
        let client = kube::Client::new(api.clone().as_user(node), "default");
        let settings = agent::Settings {
            node_name: name.clone(),
            labels: options.label.clone(),
            area: options.area.clone(),
        };
        let (handle, service) = agent::start(&layout, settings, client, relay_target(address)).await?;
        if local.set((name, service)).is_err() {
            tracing::error!("the server's own agent was started twice");
        }
        _agent = Some(handle);
    }
    tracing::info!(address = %address, data = %layout.root().display(), "serving");
    let mut listener = dunlin_apiserver::serve(api, listener, Arc::new(tls)).doing("serving the API")?;
    tokio::select! {
        () = listener.finished() => Err(Error::Input("the API's listener ended unexpectedly; the log says why".to_owned())),
        asked = crate::shutdown::requested() => {
            listener.stop().await;
            asked
        }
    }
}

/// Where the relay of pods' API connections goes: the API itself, on an address of this machine.
fn relay_target(listen: SocketAddr) -> String {
    let ip = if listen.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { listen.ip() };
    SocketAddr::new(ip, listen.port()).to_string()
}

/// Hands a node's tunnel to the registry; whoever is no node is turned away.
fn tunnel_hook(tunnels: Arc<Tunnels>) -> dunlin_apiserver::TunnelHook {
    Arc::new(move |subject, stream, peer| {
        let tunnels = tunnels.clone();
        Box::pin(async move {
            match subject.user.strip_prefix("system:node:") {
                Some(node) if subject.groups.iter().any(|g| g == "system:nodes") => {
                    tracing::info!(node, %peer, "node connected");
                    tunnels.adopt(node.to_owned(), stream).await;
                    tracing::info!(node, %peer, "node disconnected");
                }
                _ => tracing::warn!(user = subject.user, %peer, "tunnel refused: not a node's certificate"),
            }
        })
    })
}

/// Every name and address by which clients may call this server.
fn names(listen: SocketAddr, options: &ServerOptions, node_name: &str) -> Vec<String> {
    let mut names: Vec<String> = [
        "localhost",
        "127.0.0.1",
        "::1",
        "10.43.0.1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    .map(str::to_owned)
    .into();
    names.push(API_SERVICE_ADDRESS.to_string());
    names.push(node_name.to_owned());
    names.push(agent::hostname());
    names.extend(options.advertise.iter().cloned());
    if !listen.ip().is_unspecified() {
        names.push(listen.ip().to_string());
    } else {
        names.extend(agent::addresses());
    }
    names.sort();
    names.dedup();
    names
}
