//! The role *server*: API, store, controllers and scheduler in one process, with an agent of its own unless told not to.
//!
//! Start-up is in the order in which things depend on each other, and the port is taken first: a wrong address or a
//! second server on the same machine is told before anything is written.

mod access;
mod backend;
mod certificates;
mod dialer;
pub(crate) mod exposed;
mod heartbeat;
mod once;
mod peers;
mod rotation;
mod servers;
pub mod signer;
mod uplink;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use dunlin_api::names::API_SERVICE_ADDRESS;
use dunlin_apiserver::{ApiServer, Audit, Config, User};
use dunlin_base::task::Task;
use dunlin_tunnel::accept::Tunnels;
use tokio::net::{TcpListener, TcpSocket};

use certificates::Certificates;
use dunlin_uplink::Expose;
use exposed::Exposed;

use crate::agent;
use crate::cri::Cri;
use crate::error::{Doing, Error};
use crate::home::Carrier;
use crate::join::Joining;
use crate::join::member::Member;
use crate::layout::Layout;
use crate::options::ServerOptions;

/// Who issues service account tokens; the name Kubernetes clients expect inside a cluster.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How many connections the kernel keeps for us until they are taken; it allows no more by itself (`somaxconn`). What
/// comes beyond that is dropped without a word, and its client tries again after one second, two more, four more. When
/// a server is back, each of its nodes dials twice within a second, while the server still starts.
const BACKLOG: u32 = 4096;

/// Runs a server until it is asked to end.
///
/// # Errors
/// When it cannot start, or the listener fails.
pub async fn run(options: ServerOptions) -> Result<(), Error> {
    options.times.check()?;
    options.machines.choice()?;
    let scheduler = match &options.scheduler {
        Some(policy) => policy.parse().map_err(|e| Error::Input(format!("--scheduler {policy}: {e}")))?,
        None => dunlin_driver::Scheduler::default(),
    };
    let audit = match options.access.audit()? {
        Some(settings) => Some(Audit::open(settings).map_err(|e| Error::Input(e.to_string()))?),
        None => None,
    };
    let mut issuers = options.access.issuers()?;
    let cri = Cri::chosen(options.cri_socket.clone(), options.cri_handlers.clone())?;
    let layout = Layout::open(&options.data_dir)?;
    let listener = listen(&options.listen)
        .await
        .map_err(|source| Error::Listen { address: options.listen.clone(), source })?;
    let address = listener.local_addr().doing("asking for the listener's address")?;
    let node_name = options.node_name.clone().unwrap_or_else(agent::hostname);
    // Below a parent the name tells this cluster from its siblings.
    let cluster = options.name.clone().unwrap_or_else(|| match &options.parent {
        Some(_) => agent::hostname(),
        None => "dunlin".to_owned(),
    });
    let expose = match options.expose.as_deref() {
        None | Some("cluster") => Expose::Cluster,
        Some("nodes") => Expose::Nodes,
        Some(other) => {
            return Err(Error::Input(format!(
                "--expose {other} is wrong: `cluster` shows the parent one node for all machines, `nodes` one for each"
            )));
        }
    };

    let store = backend::open(&options, &layout).await?;
    let shared = store.is_shared();
    if shared && options.parent.is_some() {
        return Err(Error::Input(
            "--parent does not go with --store etcd://... yet: a cluster with a parent has one server, on sqlite".to_owned(),
        ));
    }
    let keys = backend::keys(&*store, &layout, &cluster).await?;
    let (authority, issuer) = (Arc::new(keys.authority), Arc::new(keys.issuer));

    let own_node = (!options.no_agent).then(|| node_name.clone());
    let life = options.times.certificate_life();
    let certificates = Arc::new(Certificates::new(own_node.clone()));
    let tunnels = Arc::new(Tunnels::new(dunlin_tunnel::Settings {
        ping: options.times.ping(),
        timeout: options.times.ping_timeout(),
    }));
    let local: dialer::LocalNode = Arc::new(OnceLock::new());
    let exposed = Arc::new(Exposed::default());
    let peers: Arc<OnceLock<Arc<peers::Peers>>> = Arc::default();
    let dialer = Arc::new(dialer::Dialer {
        tunnels: tunnels.clone(),
        exposed: exposed.clone(),
        local: local.clone(),
        peers: peers.clone(),
    });
    let mut config = Config::new(store, issuer, ISSUER, authority.ca_pem(), dialer.clone());
    config.api_port = address.port();
    config.eviction_toleration = options.times.eviction_toleration();
    match options.max_requests_inflight {
        Some(0) => return Err(Error::Input("max-requests-inflight is 0: nobody could ask anything".into())),
        Some(most) => config.limits.concurrency = most as usize,
        None => {}
    }
    config.tunnel = Some(tunnel_hook(tunnels.clone()));
    config.front_proxy = Some(Arc::new(keys.front_proxy));
    config.peers = certificates.clone();
    config.audit = audit;
    for issuer in &mut issuers {
        issuer.cache = Some(layout.issuer_keys(&issuer.url));
    }
    config.oidc = issuers;
    config.peer = shared.then(|| peers::hook(dialer.clone()));
    let carrier: Arc<OnceLock<Arc<Carrier>>> = Arc::default();
    config.home = Some(home_hook(carrier.clone()));
    let api = ApiServer::new(config);
    api.bootstrap().await.doing("preparing the API's first objects")?;

    let serving = rotation::Serving::new(authority.clone(), names(address, &options, &node_name), life)?;
    let alpn: &[&[u8]] =
        &[b"h2", b"http/1.1", dunlin_tunnel::ALPN, dunlin_apiserver::HOME_ALPN, dunlin_apiserver::PEER_ALPN];
    let grace = options.times.certificate_grace();
    let tls = dunlin_pki::tls::server_config_with(authority.ca_pem(), serving.identity(), alpn, grace)
        .doing("setting up TLS")?;
    let administrator = access::Administrator {
        layout: layout.clone(),
        authority: authority.clone(),
        url: access::url(address, &options.advertise),
        cluster: cluster.clone(),
        life,
    };
    let kubeconfig = administrator.write_kubeconfig()?;

    let as_user = |name: &str| kube::Client::new(api.clone().as_user(User::in_process(name)), "default");
    access::ensure_token(&layout, &authority, as_user("dunlin:bootstrap")).await?;
    certificates.load(as_user("dunlin:signer")).await?;
    let server_id = layout.node_id()?;
    let among = shared.then(|| servers::Servers {
        client: as_user("dunlin:server"),
        id: server_id.clone(),
        address: servers::address(address, &options.advertise),
        own_node: own_node.clone(),
    });
    let (following, machines) = (exposed.clone(), as_user("dunlin:heartbeat"));
    let beat = heartbeat::Beat { interval: options.times.heartbeat(), lease: options.times.node_grace() };
    let mut _tasks = vec![
        Task::spawn("exposed machines", async move { following.follow(machines).await }),
        Task::spawn("serving certificate", serving.rotate()),
        Task::spawn("administrator", administrator.rotate(kubeconfig)),
        Task::spawn(
            "heartbeat",
            heartbeat::run(
                as_user("dunlin:heartbeat"),
                tunnels.clone(),
                exposed.clone(),
                own_node.clone(),
                shared.then(|| server_id.clone()),
                beat,
            ),
        ),
    ];
    let plans = dunlin_driver::Options {
        scheduler,
        ca_pem: authority.ca_pem().to_owned(),
        node_grace: options.times.node_grace(),
        eviction_toleration: options.times.eviction_toleration(),
        fence_margin: options.times.fence_margin(),
        ..Default::default()
    };
    let once = once::Once {
        driver: as_user("dunlin:driver"),
        plans,
        signer: signer::Signer {
            client: as_user("dunlin:signer"),
            authority: authority.clone(),
            certificates: certificates.clone(),
            life,
            servers: among.clone(),
        },
        certificates: certificates.clone(),
        servers: among.clone(),
    };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (mut elected, mut alone) = (None, None);
    match among {
        Some(among) => {
            let (way, rotate) = peers::Peers::new(among.clone(), authority.clone(), life)?;
            if peers.set(way).is_err() {
                tracing::error!("the way to other servers was set twice");
            }
            let (records, mirrored) = (as_user("dunlin:signer"), certificates);
            _tasks.push(Task::spawn("certificate for other servers", rotate));
            _tasks.push(Task::spawn("this server's lease", among.announce()));
            _tasks.push(Task::spawn("node records", async move { mirrored.mirror(records).await }));
            let times = dunlin_driver::election::Times::of(options.times.leader_lease());
            elected = Some(Task::spawn("election", once.whenever_elected(server_id, times, stopped)));
        }
        None => alone = Some(once.start()),
    }

    let home = Arc::new(Carrier {
        client: as_user("dunlin:home"),
        listener: relay_target(address),
        exposed,
        up: OnceLock::new(),
    });
    if carrier.set(home.clone()).is_err() {
        tracing::error!("the way home was set twice");
    }
    let mut _uplink = None;
    if let (Some(parent), Some((driver, _))) = (&options.parent, &alone) {
        let server = parent.trim_end_matches('/').to_owned();
        let file = layout.uplink();
        let machines = expose == Expose::Nodes;
        let joining = Joining {
            file: &file,
            server: &server,
            node_name: &cluster,
            dial: &server,
            cluster: true,
            machines,
        };
        let member = Member::open(&joining, options.token.as_deref()).await?;
        let run_dir = crate::layout::run_dir(&layout.node_id()?);
        crate::layout::private_folder(&run_dir)?;
        let parent = uplink::Parent {
            member,
            expose,
            area: options.area.clone(),
            times: options.times.clone(),
            run_dir,
        };
        let running = uplink::start(parent, as_user("dunlin:uplink"), driver.scheduler(), dialer)?;
        if home.up.set((running.handle.clone(), running.above.clone())).is_err() {
            tracing::error!("the uplink was started twice");
        }
        _uplink = Some(running);
    }

    let mut _agent = None;
    if let Some(name) = own_node {
        let node = User::new(format!("system:node:{name}"), &["system:nodes"]);
        let client = kube::Client::new(api.clone().as_user(node), "default");
        let settings = agent::Settings {
            node_name: name.clone(),
            labels: options.label.clone(),
            native: options.native_processes,
            machines: options.machines.clone(),
            cri,
            area: options.area.clone(),
            home: Some(home.local(&name)),
            foreign: None,
            times: options.times.clone(),
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
            let _ = stop.send(true);
            if let Some(elected) = &mut elected {
                // Before the listener: the Lease is given up through the API.
                elected.finished().await;
            }
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

/// Carries connections of pods to their home API; whoever is no node is turned away.
fn home_hook(carrier: Arc<OnceLock<Arc<Carrier>>>) -> dunlin_apiserver::TunnelHook {
    Arc::new(move |subject, stream, peer| {
        let carrier = carrier.get().cloned();
        Box::pin(async move {
            let node = subject.user.strip_prefix("system:node:");
            match (node, carrier) {
                (Some(node), Some(carrier)) if subject.groups.iter().any(|g| g == "system:nodes") => {
                    carrier.carry(node, stream).await;
                }
                _ => {
                    tracing::warn!(user = subject.user, %peer, "a way home was refused: not a node's certificate")
                }
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

/// Takes the port on the first of the addresses that can be had.
async fn listen(address: &str) -> std::io::Result<TcpListener> {
    let mut last = None;
    for address in tokio::net::lookup_host(address).await? {
        let taken = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // A port whose last connections are still being forgotten is free.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        match taken() {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("the name has no address")))
}
