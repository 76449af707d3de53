//! The role *agent*: this machine as a node of a server, or of the server in the same process.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use dunlin_agent::{Agent, AgentConfig, AgentHandle, NodeService, RegistrationOptions};
use dunlin_base::task::Task;
use dunlin_runtime::Runtime;
use dunlin_runtime::image::ImageStore;
use dunlin_runtime_oci::microvm::{self, Host};
use dunlin_runtime_oci::{Kind, OciRuntime, probe};
use dunlin_tunnel::dial;

use crate::balancer::Balancer;
use crate::cri::{self, Cri};
use crate::error::{Doing, Error};
use crate::join::member::Member;
use crate::join::{self, Joining};
use crate::layout::{self, Layout};
use crate::options::AgentOptions;
use crate::options::machines::Machines;
use crate::options::times::Times;

/// How a node presents itself.
pub(crate) struct Settings {
    pub node_name: String,
    pub labels: Vec<String>,
    /// Whether pods may run programs of this machine.
    pub native: bool,
    /// What pods' virtual machines are booted with.
    pub machines: Machines,
    /// The container runtime of others that is used, too.
    pub cri: Option<Cri>,
    pub area: Option<String>,
    /// The way to the API of pods that were made above.
    pub home: Option<dunlin_agent::HomeDial>,
    /// Towards a real Kubernetes: what is different there, and the range of pods if the cluster assigns none.
    pub foreign: Option<(dunlin_agent::Foreign, Option<String>)>,
    pub times: Times,
}

/// Runs an agent until it is asked to end. Its pods go on running.
///
/// # Errors
/// When it cannot start or join.
pub async fn run(options: AgentOptions) -> Result<(), Error> {
    options.times.check()?;
    options.check()?;
    options.machines.choice()?;
    if let Some(kubeconfig) = options.kubeconfig.clone() {
        return crate::cluster::run(options, &kubeconfig).await;
    }
    let cri = Cri::chosen(options.cri_socket.clone(), options.cri_handlers.clone())?;
    let layout = Layout::open(&options.data_dir)?;
    let node_name = options.node_name.clone().unwrap_or_else(hostname);
    let server = options.server.clone().unwrap_or_default();
    let urls: Vec<&str> = server.split(',').map(|url| url.trim().trim_end_matches('/')).collect();
    let server = urls.join(",");
    let balancer = if urls.len() > 1 { Some(Balancer::start(&urls).await?) } else { None };
    let (host, port) = match &balancer {
        Some(balancer) => balancer.endpoint(),
        None => join::endpoint(&server)?,
    };
    let through = balancer.as_ref().map_or_else(|| server.clone(), |_| format!("https://{host}:{port}"));

    let file = layout.membership();
    let joining = Joining {
        file: &file,
        server: &server,
        dial: &through,
        node_name: &node_name,
        cluster: false,
        machines: false,
    };
    let member = Member::open(&joining, options.token.as_deref()).await?;
    let client = member.client()?;
    let above =
        dial::Target { host: host.clone(), port, tls: Arc::new(member.tls(&[dunlin_apiserver::HOME_ALPN])?) };
    let home: dunlin_agent::HomeDial = Arc::new(move |pod| {
        let above = above.clone();
        Box::pin(async move { crate::home::dial(&above, pod).await })
    });
    let settings = Settings {
        node_name,
        labels: options.label.clone(),
        native: options.native_processes,
        machines: options.machines.clone(),
        cri,
        area: options.area.clone(),
        home: Some(home),
        foreign: None,
        times: options.times.clone(),
    };
    let (_handle, service) = start(&layout, settings, client, format!("{host}:{port}")).await?;

    let target = dial::Target { host, port, tls: Arc::new(member.tls(&[dunlin_tunnel::ALPN])?) };
    let _tunnel = Task::spawn("tunnel", dial::run_with(target, service, dial_options(&options.times)));
    let _learning = match balancer {
        Some(balancer) => {
            let client = member.client()?;
            Some(Task::spawn("servers", async move { balancer.learn(client).await }))
        }
        None => None,
    };
    let _rotation = Task::spawn("certificate", async move { member.rotate().await });
    crate::shutdown::requested().await
}

/// How the tunnel is dialled.
pub(crate) fn dial_options(times: &Times) -> dial::Options {
    dial::Options {
        first_delay: times.reconnect_first(),
        longest_delay: times.reconnect_most(),
        lived: times.reconnect_most(),
        connect: times.connect(),
        silence: times.silence(),
        ..dial::Options::default()
    }
}

/// Starts the node half on this machine.
pub(crate) async fn start(
    layout: &Layout,
    settings: Settings,
    client: kube::Client,
    api_endpoint: String,
) -> Result<(AgentHandle, NodeService), Error> {
    let id = layout.node_id()?;
    let run_dir = layout::run_dir(&id);
    layout::private_folder(&run_dir)?;
    let mut runtimes = runtimes(layout, &id, &settings).await?;
    for runtime in cri::open(layout, &id, settings.cri.as_ref()).await? {
        runtimes.push(Arc::new(runtime));
    }
    let images = ImageStore::open(layout.images()).doing("opening the image store")?;
    let labels = labels(&settings.labels)?;
    let mut config = AgentConfig::new(settings.node_name, layout.agent(), run_dir);
    config.node_id = id;
    config.labels = labels;
    config.area = settings.area;
    config.home = settings.home;
    config.registration = match settings.foreign {
        // The server renews the Lease while it hears from the node (`server::heartbeat`), so an idle node writes nothing.
        None => RegistrationOptions { renew_lease: false, status_interval: None, ..Default::default() },
        // Nobody else renews it there.
        Some(_) => RegistrationOptions {
            renew_interval: settings.times.heartbeat(),
            lease_duration: settings.times.node_grace(),
            ..Default::default()
        },
    };
    if let Some((foreign, pod_cidr)) = settings.foreign {
        config.foreign = Some(foreign);
        config.pod_cidr = pod_cidr;
    }
    config.crash_backoff_first = settings.times.crash_backoff_first();
    config.crash_backoff_most = settings.times.crash_backoff_most();
    config.crash_backoff_reset = settings.times.crash_backoff_reset();
    config.pull_backoff_first = settings.times.pull_backoff_first();
    config.pull_backoff_most = settings.times.pull_backoff_most();
    config.contact = settings.times.contact();
    Agent::start(config, client, runtimes, images, api_endpoint).await.doing("starting the agent")
}

/// Labels as flags say them.
pub(crate) fn labels(flags: &[String]) -> Result<std::collections::BTreeMap<String, String>, Error> {
    let one = |label: &String| {
        label
            .split_once('=')
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .ok_or_else(|| Error::Input(format!("--label {label:?} is wrong: write NAME=VALUE")))
    };
    flags.iter().map(one).collect()
}

/// The runtimes of this machine, the default one first.
async fn runtimes(layout: &Layout, id: &str, settings: &Settings) -> Result<Vec<Arc<dyn Runtime>>, Error> {
    let containers = open(layout, id, Kind::Oci).await?;
    let mut all: Vec<Arc<dyn Runtime>> = vec![Arc::new(containers)];
    match wasm(layout, id).await? {
        true => all.push(Arc::new(open(layout, id, Kind::Wasm).await?)),
        false => end(layout, id, Kind::Wasm).await?,
    }
    if settings.native {
        all.push(Arc::new(open(layout, id, Kind::Process).await?));
    } else {
        end(layout, id, Kind::Process).await?;
    }
    for kind in [Kind::Microvm, Kind::Unikernel] {
        match machines(layout, id, &settings.machines, kind).await? {
            Some(host) => {
                let config = runtime_config(layout, id, kind)?;
                let config = dunlin_runtime_oci::Config { machines: Some(host), ..config };
                let runtime =
                    OciRuntime::open(config).await.doing("starting the runtime of virtual machines")?;
                all.push(Arc::new(runtime));
            }
            None => end(layout, id, kind).await?,
        }
    }
    Ok(all)
}

/// Whether this machine, and this program, run WebAssembly.
async fn wasm(layout: &Layout, id: &str) -> Result<bool, Error> {
    if !cfg!(feature = "wasm") {
        return Ok(false);
    }
    let tried = probe::wasm(&runtime_config(layout, id, Kind::Wasm)?).await;
    if let Err(reason) = &tried {
        tracing::warn!(reason, "this machine cannot run WebAssembly: its pods are not taken");
    }
    Ok(tried.is_ok())
}

/// Ends what a runtime that is not allowed any more has running: nobody would look after it.
async fn end(layout: &Layout, id: &str, kind: Kind) -> Result<(), Error> {
    if !runtime_config(layout, id, kind)?.run_dir.join("sandboxes").exists() {
        return Ok(());
    }
    let runtime = open(layout, id, kind).await?;
    for sandbox in runtime.sandboxes().await.doing("listing pods")? {
        tracing::warn!(pod = %sandbox.id, runtime = runtime.name(), "this runtime is not allowed any more: ending a pod");
        runtime.remove_sandbox(&sandbox.id).await.doing("ending pods")?;
    }
    Ok(())
}

/// What virtual machines are run with, if they were chosen and can be run here. What is missing ends the program, because
/// its operator can mend it; a kernel that does not boot leaves this runtime out, and the machine is a node all the same.
async fn machines(layout: &Layout, id: &str, chosen: &Machines, kind: Kind) -> Result<Option<Host>, Error> {
    let Some(choice) = chosen.choice()? else { return Ok(None) };
    let config = runtime_config(layout, id, kind)?;
    let (programs, state) = (&config.programs_dir, &config.run_dir);
    let prepared = match kind {
        Kind::Unikernel => microvm::prepare_unikernels(programs, state).await,
        _ => microvm::prepare(&choice, programs, state).await,
    };
    match prepared {
        Ok(host) => Ok(Some(host)),
        Err(error @ microvm::Error::Boot { .. }) => {
            let error = dunlin_base::error::chain(&error);
            tracing::warn!(error, ?kind, "this machine runs no virtual machines of this kind");
            Ok(None)
        }
        Err(error) => Err(Error::Input(format!("microvm-kernel: {}", dunlin_base::error::chain(&error)))),
    }
}

/// Opens one of the runtimes.
pub(crate) async fn open(layout: &Layout, id: &str, kind: Kind) -> Result<OciRuntime, Error> {
    OciRuntime::open(runtime_config(layout, id, kind)?).await.doing("starting the runtime of containers")
}

/// A runtime's configuration, derived from the node's identity.
fn runtime_config(layout: &Layout, id: &str, kind: Kind) -> Result<dunlin_runtime_oci::Config, Error> {
    let below = match kind {
        Kind::Oci => "",
        Kind::Process => "process",
        Kind::Wasm => "wasm",
        Kind::Microvm => "microvm",
        Kind::Unikernel => "unikernel",
    };
    Ok(dunlin_runtime_oci::Config {
        kind,
        data_dir: layout.agent().join(below),
        run_dir: layout::run_dir(id).join(below),
        programs_dir: layout.agent().join("bin"),
        cgroup_root: layout::cgroup_root(id),
        executable: std::env::current_exe().doing("finding this program's file")?,
        machines: None,
    })
}

/// This machine's name, in the form that a Node's name must have.
pub(crate) fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name
        .trim()
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' })
        .collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "node".to_owned() } else { name.to_owned() }
}

/// This machine's IPv4 addresses, as the kernel's table of local routes lists them.
pub(crate) fn addresses() -> Vec<String> {
    let table = std::fs::read_to_string(Path::new("/proc/net/fib_trie")).unwrap_or_default();
    let mut found = Vec::new();
    let mut last = None;
    for line in table.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<IpAddr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.take().map(|a| a.to_string()));
        }
    }
    found.sort();
    found.dedup();
    found
}
