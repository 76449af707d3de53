//! What every runtime must do, as a suite that each implementation runs on itself.
//!
//! A [`Factory`] opens the runtime and says what it can; [`run`] runs one case on it and looks for traces afterwards. The
//! macro [`contract_tests!`](crate::contract_tests) makes a test of each case. Cases in [`life`] need a runtime and
//! nothing else; all others need processes and a root file system with busybox. Waits are on conditions.

pub mod attach;
pub mod exec;
pub mod hostile;
pub mod life;
pub mod limits;
pub mod logs;
pub mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::{
    ContainerId, ContainerSpec, ContainerState, ContainerStatus, ExitStatus, Resources, Runtime, SandboxId,
    SandboxSpec, Session, SessionOutput,
};

/// Longest wait for anything; a loaded machine with two cores needs some of it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the suite needs to know of an implementation.
pub trait Factory: Send + Sync {
    /// Opens the runtime on the same directories each time; the one opened before has been dropped.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Runtime>>;
    /// Layers of a root file system whose `/bin` holds busybox and its links.
    fn layers(&self) -> Vec<PathBuf>;
    /// The same as an image, of a runtime that has its own.
    fn image(&self) -> Option<String> {
        None
    }
    /// A directory for logs.
    fn logs(&self) -> PathBuf;
    /// Fails if anything is left of the sandboxes, which have all been removed.
    fn assert_clean(&self);
}

/// One runtime under test.
pub struct Bench<'a> {
    /// How it is opened.
    pub factory: &'a dyn Factory,
    /// The runtime; none while it is being opened again.
    runtime: Option<Arc<dyn Runtime>>,
}

static SANDBOXES: AtomicU32 = AtomicU32::new(0);

/// Runs one case, removes every sandbox whether it failed or not, and looks for traces.
pub async fn run<C>(factory: &dyn Factory, case: C)
where
    C: AsyncFnOnce(&mut Bench<'_>),
{
    use futures_util::FutureExt as _;
    let mut bench = Bench { factory, runtime: Some(factory.open().await) };
    let outcome = std::panic::AssertUnwindSafe(case(&mut bench)).catch_unwind().await;
    bench.runtime = None;
    let runtime = factory.open().await;
    for sandbox in runtime.sandboxes().await.expect("listing what is left") {
        runtime.remove_sandbox(&sandbox.id).await.expect("removing what is left");
    }
    drop(runtime);
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    factory.assert_clean();
}

impl<'a> Bench<'a> {
    /// One that only makes specifications, for tests that open runtimes themselves.
    pub fn of(factory: &'a dyn Factory) -> Self {
        Self { factory, runtime: None }
    }
}

impl Bench<'_> {
    /// The runtime.
    pub fn runtime(&self) -> &dyn Runtime {
        self.runtime.as_deref().expect("it is open")
    }

    /// Drops the runtime and opens another, as when the agent is restarted.
    pub async fn reopen(&mut self) {
        self.runtime = None;
        self.runtime = Some(self.factory.open().await);
    }

    /// The specification of a new sandbox.
    pub fn sandbox_spec(&self) -> SandboxSpec {
        let id = format!("contract-{}-{}", std::process::id(), SANDBOXES.fetch_add(1, Ordering::Relaxed));
        SandboxSpec {
            cgroup: format!("burstable/pod{id}"),
            id: SandboxId(id),
            hostname: "contract".into(),
            host_network: false,
            host_pid: false,
            host_ipc: false,
            share_process_namespace: false,
            resources: Resources { pids_limit: Some(2000), ..Resources::default() },
            sysctls: BTreeMap::new(),
            memory_volumes: BTreeMap::new(),
            // One of the suite's containers is.
            privileged: true,
            tenant: String::new(),
        }
    }

    /// Makes a sandbox.
    pub async fn sandbox(&self) -> SandboxId {
        let spec = self.sandbox_spec();
        let id = spec.id.clone();
        let status = self.runtime().create_sandbox(spec).await.expect("creating a sandbox");
        assert!(status.alive, "a new sandbox is alive");
        id
    }

    /// The specification of a container that runs a command.
    pub fn spec(&self, name: &str, args: &[&str]) -> ContainerSpec {
        let capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"];
        ContainerSpec {
            id: ContainerId(name.to_owned()),
            layers: self.factory.layers(),
            image: self.factory.image(),
            image_user: None,
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            env: vec![("PATH".into(), "/bin".into())],
            cwd: "/".into(),
            uid: 0,
            gid: 0,
            additional_gids: Vec::new(),
            read_only_rootfs: false,
            mounts: Vec::new(),
            devices: Vec::new(),
            capabilities: capabilities.map(str::to_owned).to_vec(),
            privileged: false,
            no_new_privileges: false,
            seccomp_default: true,
            masked_paths: vec!["/proc/kcore".into()],
            readonly_paths: vec!["/proc/sys".into()],
            ports: Vec::new(),
            tty: false,
            stdin: false,
            stdin_once: false,
            resources: Resources::default(),
            log_path: self.log(name),
            log_max_size: 10 << 20,
            log_max_files: 3,
        }
    }

    /// A specification of a shell that runs a script.
    pub fn script(&self, name: &str, script: &str) -> ContainerSpec {
        self.spec(name, &["sh", "-c", script])
    }

    /// Where a container of this name logs.
    pub fn log(&self, name: &str) -> PathBuf {
        self.factory.logs().join(format!("{name}.log"))
    }

    /// Starts a container.
    pub async fn start(&self, sandbox: &SandboxId, spec: ContainerSpec) -> ContainerId {
        let id = spec.id.clone();
        let status = self.runtime().start_container(sandbox, spec).await.expect("starting a container");
        assert_eq!(status.id, id);
        id
    }

    /// The container as it is now.
    pub async fn container(&self, sandbox: &SandboxId, id: &ContainerId) -> Option<ContainerStatus> {
        let status = self.runtime().sandbox(sandbox).await.expect("asking for a sandbox");
        status.containers.into_iter().find(|c| c.id == *id)
    }

    /// Waits for a container's end.
    pub async fn exited(&self, sandbox: &SandboxId, id: &ContainerId) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.container(sandbox, id).await.expect("the container exists").state {
                ContainerState::Exited(status) => return status,
                ContainerState::Running { .. } => pause(deadline, "the container's end").await,
            }
        }
    }

    /// Runs a script to its end, and returns how it ended and what it logged, prefixes removed.
    pub async fn script_output(&self, sandbox: &SandboxId, spec: ContainerSpec) -> (ExitStatus, String) {
        let log = spec.log_path.clone();
        let id = self.start(sandbox, spec).await;
        let status = self.exited(sandbox, &id).await;
        (status, logs::content(&log))
    }
}

/// Waits a little; fails when the deadline is over.
pub async fn pause(deadline: Instant, what: &str) {
    assert!(Instant::now() < deadline, "waited too long for {what}");
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        pause(deadline, what).await;
    }
}

/// What a session gave until its end.
#[derive(Debug, Default)]
pub struct Heard {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// How it ended.
    pub status: Option<ExitStatus>,
}

/// Listens until a session ends.
pub async fn listen(session: &mut Session) -> Heard {
    let mut heard = Heard::default();
    let all = async {
        while let Some(output) = session.output.recv().await {
            match output {
                SessionOutput::Stdout(bytes) => heard.out.push_str(&String::from_utf8_lossy(&bytes)),
                SessionOutput::Stderr(bytes) => heard.err.push_str(&String::from_utf8_lossy(&bytes)),
                SessionOutput::Exited(status) => heard.status = Some(status),
                SessionOutput::Failed(reason) => panic!("the session failed: {reason}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the session ends");
    heard
}

/// Listens until standard output holds a text.
pub async fn hear(session: &mut Session, text: &str) -> String {
    let mut heard = String::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !heard.contains(text) {
        match tokio::time::timeout_at(deadline, session.output.recv()).await {
            Ok(Some(SessionOutput::Stdout(bytes) | SessionOutput::Stderr(bytes))) => {
                heard.push_str(&String::from_utf8_lossy(&bytes));
            }
            other => panic!("heard {heard:?}, then {other:?}, while waiting for {text:?}"),
        }
    }
    heard
}

/// Makes a test of each case named, over a factory that the expression gives.
///
/// `contract_tests!(make_factory(); life: exits_are_told, ...)`; without names all cases of all modules.
#[macro_export]
macro_rules! contract_tests {
    ($factory:expr; $($module:ident: $($case:ident),+ $(,)?);+ $(;)?) => {
        $(mod $module {
            use super::*;
            $(#[tokio::test]
            async fn $case() {
                let factory = $factory;
                $crate::contract::run(&factory, $crate::contract::$module::$case).await;
            })+
        })+
    };
    ($factory:expr; life) => {
        $crate::contract_tests!($factory;
            life: creation_is_idempotent, starting_is_idempotent, what_is_absent_is_named, kill_is_told,
                removal_is_idempotent, a_new_runtime_finds_everything, a_dead_container_is_removed_alone,
                a_running_container_is_not_removed, many_sandboxes);
    };
    ($factory:expr) => {
        $crate::contract_tests!($factory; life);
        $crate::contract_tests!($factory;
            process: exit_codes, term_then_kill, environment_directory_and_user, missing_commands, wrong_specifications,
                hostname_and_namespaces, shared_processes, memory_volumes_are_shared, mounts_and_read_only,
                capabilities_and_filter, devices, many_layers, an_exit_while_nobody_listens, the_shared_memory_is_the_pods;
            logs: format, long_lines, rotation, the_last_words_are_there, a_terminal_logs;
            exec: output_and_code, input, terminal, missing_commands_and_containers, dropping_kills, user_and_environment,
                many_at_once, a_slow_client_gets_everything;
            attach: output_goes_to_log_and_client, input_goes_in, closing_once, terminal, an_absent_client_stops_nothing;
            limits: memory_limit_kills, pids_limit_holds, cpu_limit_slows, stats_count, pod_limit_holds;
            hostile: much_output, fork_bomb, deaf_to_signals, a_broken_start_leaves_nothing, orphans_end);
    };
}
