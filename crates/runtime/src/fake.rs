//! A runtime without processes, for tests of those who use one.
//!
//! It keeps the trait's promises about ids, idempotence, states and events, and does nothing else: containers run until
//! they are signalled or until the test lets them end. Clones share their state, as two openings of a real runtime do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{broadcast, mpsc};

use crate::{
    ContainerId, ContainerSpec, ContainerState, ContainerStatus, Error, Event, ExecSpec, ExitStatus, Runtime,
    SandboxId, SandboxSpec, SandboxStatus, Session, SessionOutput, Stats,
};

type Answer = Box<dyn Fn(&ContainerId, &ExecSpec) -> (i32, String) + Send>;
type Refuse = Box<dyn Fn(&ContainerSpec) -> Option<Error> + Send>;

struct Container {
    status: ContainerStatus,
    attached: Vec<mpsc::Sender<SessionOutput>>,
}

struct Sandbox {
    status: SandboxStatus,
    containers: BTreeMap<ContainerId, Container>,
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<SandboxId, Sandbox>,
    started: Vec<(SandboxId, ContainerSpec)>,
    signals: Vec<(ContainerId, i32)>,
    answer: Option<Answer>,
    refuse: Option<Refuse>,
    pids: u32,
}

/// The fake.
#[derive(Clone)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<Event>,
}

impl Default for Fake {
    fn default() -> Self {
        Self { state: Arc::default(), events: broadcast::Sender::new(256) }
    }
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a container's process end by itself; one that does not run is left alone.
    pub fn exit(&self, sandbox: &SandboxId, container: &ContainerId, code: i32) {
        self.end(sandbox, container, code, None, false);
    }

    /// Lets the kernel kill a container for want of memory.
    pub fn out_of_memory(&self, sandbox: &SandboxId, container: &ContainerId) {
        self.end(sandbox, container, 137, Some(9), true);
    }

    /// Lets what keeps a sandbox die.
    pub fn lose(&self, id: &SandboxId) {
        if let Some(sandbox) = self.state().sandboxes.get_mut(id) {
            sandbox.status.alive = false;
            sandbox.status.network_namespace = None;
            for container in sandbox.containers.values_mut() {
                if let ContainerState::Running { started, .. } = container.status.state {
                    container.status.state = ContainerState::Exited(ended(137, Some(9), false, started));
                }
            }
        }
        let _ = self.events.send(Event::SandboxLost { sandbox: id.clone() });
    }

    /// What executed commands answer: exit code and output. Without it they succeed and say nothing.
    pub fn answer(&self, answer: impl Fn(&ContainerId, &ExecSpec) -> (i32, String) + Send + 'static) {
        self.state().answer = Some(Box::new(answer));
    }

    /// Which starts fail, and with what.
    pub fn refuse(&self, refuse: impl Fn(&ContainerSpec) -> Option<Error> + Send + 'static) {
        self.state().refuse = Some(Box::new(refuse));
    }

    /// Every container that was started, in order.
    pub fn started(&self) -> Vec<(SandboxId, ContainerSpec)> {
        self.state().started.clone()
    }

    /// Every signal that reached a running container, in order.
    pub fn signals(&self) -> Vec<(ContainerId, i32)> {
        self.state().signals.clone()
    }

    fn end(&self, sandbox: &SandboxId, id: &ContainerId, code: i32, signal: Option<i32>, oom: bool) {
        let mut state = self.state();
        let container = state.sandboxes.get_mut(sandbox).and_then(|s| s.containers.get_mut(id));
        let Some(container) = container else { return };
        let ContainerState::Running { started, .. } = container.status.state else { return };
        let status = ended(code, signal, oom, started);
        for client in container.attached.drain(..) {
            // A client that does not read has no place for the end; it sees the channel closed.
            let _ = client.try_send(SessionOutput::Exited(status.clone()));
        }
        container.status.state = ContainerState::Exited(status);
        drop(state);
        let _ = self.events.send(Event::Exited { sandbox: sandbox.clone(), container: id.clone() });
    }

    /// The container if it runs.
    fn running<'s>(
        state: &'s mut State,
        sandbox: &SandboxId,
        id: &ContainerId,
    ) -> Result<&'s mut Container, Error> {
        let found = state.sandboxes.get_mut(sandbox).ok_or_else(|| Error::NoSandbox(sandbox.clone()))?;
        let container = found.containers.get_mut(id);
        let container = container.ok_or_else(|| Error::NoContainer(sandbox.clone(), id.clone()))?;
        match container.status.state {
            ContainerState::Running { .. } => Ok(container),
            ContainerState::Exited(_) => Err(Error::NotRunning(id.clone())),
        }
    }
}

fn ended(code: i32, signal: Option<i32>, oom_killed: bool, started: SystemTime) -> ExitStatus {
    ExitStatus { code, signal, oom_killed, started, finished: SystemTime::now() }
}

impl Sandbox {
    fn status(&self) -> SandboxStatus {
        let containers = self.containers.values().map(|c| c.status.clone()).collect();
        SandboxStatus { containers, ..self.status.clone() }
    }
}

impl Runtime for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn create_sandbox(&self, spec: SandboxSpec) -> BoxFuture<'_, Result<SandboxStatus, Error>> {
        let mut state = self.state();
        let sandbox = state.sandboxes.entry(spec.id.clone()).or_insert_with(|| Sandbox {
            status: SandboxStatus {
                alive: true,
                created: SystemTime::now(),
                network_namespace: (!spec.host_network).then(|| PathBuf::from("/proc/self/ns/net")),
                containers: Vec::new(),
                id: spec.id,
            },
            containers: BTreeMap::new(),
        });
        let status = sandbox.status();
        Box::pin(async { Ok(status) })
    }

    fn sandboxes(&self) -> BoxFuture<'_, Result<Vec<SandboxStatus>, Error>> {
        let all = self.state().sandboxes.values().map(Sandbox::status).collect();
        Box::pin(async { Ok(all) })
    }

    fn sandbox<'a>(&'a self, id: &'a SandboxId) -> BoxFuture<'a, Result<SandboxStatus, Error>> {
        let found = self.state().sandboxes.get(id).map(Sandbox::status);
        Box::pin(async { found.ok_or_else(|| Error::NoSandbox(id.clone())) })
    }

    fn remove_sandbox<'a>(&'a self, id: &'a SandboxId) -> BoxFuture<'a, Result<(), Error>> {
        self.state().sandboxes.remove(id);
        Box::pin(async { Ok(()) })
    }

    fn start_container<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        spec: ContainerSpec,
    ) -> BoxFuture<'a, Result<ContainerStatus, Error>> {
        Box::pin(async move {
            let mut state = self.state();
            let state = &mut *state;
            let found = state.sandboxes.get_mut(sandbox).ok_or_else(|| Error::NoSandbox(sandbox.clone()))?;
            if let Some(container) = found.containers.get(&spec.id) {
                return Ok(container.status.clone());
            }
            if !found.status.alive {
                return Err(Error::Shim { sandbox: sandbox.clone(), reason: "the sandbox is dead".into() });
            }
            if let Some(error) = state.refuse.as_ref().and_then(|refuse| refuse(&spec)) {
                return Err(error);
            }
            state.pids += 1;
            let running = ContainerState::Running { pid: 1_000_000 + state.pids, started: SystemTime::now() };
            let status = ContainerStatus { id: spec.id.clone(), state: running };
            let container = Container { status: status.clone(), attached: Vec::new() };
            found.containers.insert(spec.id.clone(), container);
            state.started.push((sandbox.clone(), spec));
            Ok(status)
        })
    }

    fn signal<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
        signal: i32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            {
                let mut state = self.state();
                match Self::running(&mut state, sandbox, container) {
                    Ok(_) => state.signals.push((container.clone(), signal)),
                    Err(Error::NotRunning(_)) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            // The fake's processes handle no signals.
            self.end(sandbox, container, 128 + signal, Some(signal), false);
            Ok(())
        })
    }

    fn remove_container<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut state = self.state();
            if Self::running(&mut state, sandbox, container).is_ok() {
                return Err(Error::Unsupported { runtime: "fake", operation: "remove a running container" });
            }
            if let Some(sandbox) = state.sandboxes.get_mut(sandbox) {
                sandbox.containers.remove(container);
            }
            Ok(())
        })
    }

    fn exec<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
        spec: ExecSpec,
    ) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(async move {
            let mut state = self.state();
            Self::running(&mut state, sandbox, container)?;
            let (code, text) =
                state.answer.as_ref().map_or((0, String::new()), |answer| answer(container, &spec));
            let (session, output) = session();
            // Two places are free in a new channel.
            if !text.is_empty() {
                let _ = output.try_send(SessionOutput::Stdout(Bytes::from(text)));
            }
            let _ = output.try_send(SessionOutput::Exited(ended(code, None, false, SystemTime::now())));
            Ok(session)
        })
    }

    fn attach<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(async move {
            let mut state = self.state();
            let (session, output) = session();
            Self::running(&mut state, sandbox, container)?.attached.push(output);
            Ok(session)
        })
    }

    fn stats<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Stats, Error>> {
        Box::pin(async move {
            Self::running(&mut self.state(), sandbox, container)?;
            let (memory_working_set, memory_usage) = (1 << 20, 2 << 20);
            Ok(Stats { cpu_nanoseconds: 1_000_000, memory_working_set, memory_usage, pids: 1 })
        })
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}

/// A session whose input nobody reads, and the end that feeds its output.
fn session() -> (Session, mpsc::Sender<SessionOutput>) {
    let (input, _) = mpsc::channel(1);
    let (to_client, output) = mpsc::channel(8);
    (Session { input, output }, to_client)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Factory;

    struct Same(Fake);

    impl Factory for Same {
        fn open(&self) -> BoxFuture<'_, Arc<dyn Runtime>> {
            Box::pin(async { Arc::new(self.0.clone()) as Arc<dyn Runtime> })
        }
        fn layers(&self) -> Vec<PathBuf> {
            vec!["/layer".into()]
        }
        fn logs(&self) -> PathBuf {
            "/logs".into()
        }
        fn assert_clean(&self) {
            assert!(self.0.state().sandboxes.is_empty());
        }
    }

    crate::contract_tests!(Same(Fake::default()); life);
}
