//! Starting the long-running roles: configuration, log, runtime.

use std::future::Future;

use clap::CommandFactory;
use dunlin_app::Error as AppError;
use dunlin_app::options::Choices;
use dunlin_app::options::times::Times;

use crate::Error;
use crate::flags::{Agent, Flags, Global, Server};

/// Runs a future on the current thread: all that an agent and a client need.
pub fn on_one_thread<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?.block_on(work)
}

pub fn server(server: Server, global: Global) -> Result<(), Error> {
    let choices = Choices {
        name: server.name,
        listen: server.listen,
        advertise: server.advertise,
        max_requests_inflight: server.max_requests_inflight,
        no_agent: server.no_agent.then_some(true),
        scheduler: server.scheduler,
        store: server.store,
        store_ca: server.store_ca,
        store_cert: server.store_cert,
        store_key: server.store_key,
        store_user: server.store_user,
        store_password_file: server.store_password_file,
        store_prefix: server.store_prefix,
        parent: server.parent,
        token: server.token,
        expose: server.expose,
        access: server.access.into(),
        node_name: server.node.node_name,
        label: server.node.label,
        native_processes: server.node.native_processes.then_some(true),
        machines: server.node.machines.into(),
        cri_socket: server.node.cri_socket,
        cri_handlers: server.node.cri_handlers,
        area: server.node.area,
        times: Times::from_flags(&server.node.times)?,
        ..Choices::default()
    };
    let choices = prepare(choices, global)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()?;
    Ok(runtime.block_on(dunlin_app::server::run(choices.into()))?)
}

pub fn agent(agent: Agent, global: Global) -> Result<(), Error> {
    if global.kubeconfig.is_some() && (agent.server.is_some() || agent.token.is_some()) {
        let text = "--kubeconfig makes this machine a node of a Kubernetes cluster, --server and --token of a Dunlin \
                    server: give one or the other";
        Flags::command().error(clap::error::ErrorKind::ArgumentConflict, text).exit();
    }
    let choices = Choices {
        server: agent.server,
        token: agent.token,
        kubeconfig: global.kubeconfig.clone(),
        kubelet_port: agent.kubelet_port,
        client_ca_file: agent.client_ca_file,
        pod_cidr: agent.pod_cidr,
        node_name: agent.node.node_name,
        label: agent.node.label,
        native_processes: agent.node.native_processes.then_some(true),
        machines: agent.node.machines.into(),
        cri_socket: agent.node.cri_socket,
        cri_handlers: agent.node.cri_handlers,
        area: agent.node.area,
        times: Times::from_flags(&agent.node.times)?,
        ..Choices::default()
    };
    let choices = prepare(choices, global)?;
    on_one_thread(async { Ok(dunlin_app::agent::run(choices.into()).await?) })
}

pub fn reset(yes: bool, all: bool, global: &Global) -> Result<(), Error> {
    let data_dir = Choices { data_dir: global.data_dir.clone(), ..Choices::default() }.data_dir();
    if !yes {
        let what = if all { "and empties its data directory, " } else { "" };
        return Err(AppError::Input(format!(
            "this ends every pod of {}, {what}and cannot be undone: say --yes",
            data_dir.display()
        ))
        .into());
    }
    on_one_thread(async { Ok(dunlin_app::reset::run(&data_dir, all).await?) })
}

/// Lays the flags over the configuration file and starts the log.
fn prepare(flags: Choices, global: Global) -> Result<Choices, Error> {
    let flags = Choices { data_dir: global.data_dir, log: global.log, ..flags };
    let choices = flags.over(Choices::read(&global.config)?);
    let filter = choices.log.clone().unwrap_or_else(|| "info".to_owned());
    dunlin_base::log::init(&filter).map_err(|e| AppError::Input(e.to_string()))?;
    Ok(choices)
}
