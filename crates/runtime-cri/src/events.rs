//! What happens at the daemon, told to whoever listens: by its own events where it has them, and by looking in any case.
//!
//! A look compares two lists with those of before, so nothing is missed that lasts. It also sees to logs that have grown too
//! large, which with CRI is not the daemon's work.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_grpc::wire::Message;
use dunlin_grpc::{Failure, code};
use dunlin_runtime::{ContainerId, Error, Event, SandboxId};
use tokio::time::Instant;

use crate::call::{self, nothing};
use crate::message::{self, Container, State};
use crate::runtime::{Shared, lock};
use crate::{container, plan, sandbox};

/// How often is looked at a daemon that tells nothing by itself. It bounds how late an exit is noticed.
const LOOK: Duration = Duration::from_secs(1);
/// How often at one that does.
const LOOK_RARELY: Duration = Duration::from_secs(10);
/// How often while nothing of ours is there, or the daemon does not answer.
const LOOK_IDLE: Duration = Duration::from_secs(5);
/// How often the daemon is asked how it is, and its sandboxes are listed.
const HEALTH: Duration = Duration::from_secs(10);

/// What was there at the last look.
#[derive(Default)]
pub struct Seen {
    containers: HashMap<String, (State, SandboxId, ContainerId)>,
    sandboxes: HashMap<SandboxId, bool>,
}

/// Looks until it is dropped.
pub async fn watch(shared: Arc<Shared>, mut seen: Seen) {
    let tells = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut listener: Option<Task> = None;
    let mut asked: Option<Instant> = None;
    loop {
        let due = asked.is_none_or(|at| at.elapsed() >= HEALTH);
        let ready = if due { health(&shared).await } else { Ok(()) };
        let looked = match ready {
            Ok(()) => look(&shared, &mut seen, due).await,
            Err(error) => Err(error),
        };
        let good = match looked {
            Ok(()) => {
                asked = if due { Some(Instant::now()) } else { asked };
                true
            }
            Err(error) => {
                asked = None;
                note(&shared, Some(&error));
                false
            }
        };
        if good && due {
            note(&shared, None);
        }
        if good && listener.as_ref().is_none_or(Task::is_finished) {
            listener = Some(Task::spawn("cri events", listen(shared.clone(), tells.clone())));
        }
        let wait = if !good || seen.containers.is_empty() {
            LOOK_IDLE
        } else if tells.load(std::sync::atomic::Ordering::Relaxed) {
            LOOK_RARELY
        } else {
            LOOK
        };
        // Woken or not, the next round looks at everything.
        let _ = tokio::time::timeout(wait, shared.wake.notified()).await;
    }
}

/// Whether the daemon can run pods of this handler now.
pub async fn health(shared: &Shared) -> Result<(), Error> {
    let health = shared.link.ask(call::STATUS, Message::default().int(1, 1), message::health).await?;
    if !health.troubles.is_empty() {
        return Err(shared.link.failed(call::STATUS, health.troubles.join("; ")));
    }
    let wanted = &shared.config.handler.runtime;
    match health.handlers {
        Some(known) if !wanted.is_empty() && !known.contains(wanted) => Err(shared
            .link
            .failed(call::STATUS, format!("it has no handler {wanted:?}, but {}", known.join(", ")))),
        _ => Ok(()),
    }
}

/// Tells whether the daemon is there, when that has changed.
fn note(shared: &Shared, trouble: Option<&Error>) {
    let changed = shared
        .ready
        .send_if_modified(|ready| std::mem::replace(ready, trouble.is_none()) != trouble.is_none());
    let name = &shared.config.handler.name;
    match trouble {
        Some(error) if changed || lock(&shared.trouble).is_none() => {
            tracing::warn!(runtime = name, error = chain(error), "a container runtime cannot run pods now");
        }
        None if changed => tracing::info!(runtime = name, "a container runtime is ready"),
        _ => {}
    }
    *lock(&shared.trouble) = trouble.map(|error| chain(error));
}

/// Wakes the watch whenever the daemon tells something.
async fn listen(shared: Arc<Shared>, tells: Arc<std::sync::atomic::AtomicBool>) {
    let mut stream = match shared.link.events().await {
        Ok(stream) => stream,
        Err(Failure::Refused { code: code::UNIMPLEMENTED, .. }) => {
            // It will not learn it while it runs.
            std::future::pending::<()>().await;
            return;
        }
        Err(_) => return,
    };
    loop {
        match stream.next().await {
            Ok(Some(_)) => {
                tells.store(true, std::sync::atomic::Ordering::Relaxed);
                shared.wake.notify_one();
            }
            Err(Failure::Refused { code: code::UNIMPLEMENTED, .. }) => std::future::pending().await,
            Ok(None) | Err(_) => break,
        }
    }
    tells.store(false, std::sync::atomic::Ordering::Relaxed);
    shared.wake.notify_one();
}

/// Looks once, tells what has changed, and sees to logs.
pub async fn look(shared: &Shared, seen: &mut Seen, sandboxes: bool) -> Result<(), Error> {
    let mut now = HashMap::new();
    for one in container::everywhere(shared).await? {
        let sandbox = SandboxId(one.labels.get(plan::SANDBOX).cloned().unwrap_or_default());
        if one.state == State::Running {
            rotate(shared, &one).await;
        }
        now.insert(one.id.clone(), (one.state, sandbox, container::id_of(&one)));
    }
    let before = std::mem::replace(&mut seen.containers, now);
    let over = |state: State| matches!(state, State::Exited | State::Unknown);
    for (id, (state, sandbox, container)) in &seen.containers {
        if over(*state) && before.get(id).is_none_or(|(was, ..)| !over(*was)) {
            tell(shared, sandbox, container);
        }
    }
    for (id, (state, sandbox, container)) in &before {
        // Somebody else removed it.
        if !over(*state) && !seen.containers.contains_key(id) {
            tell(shared, sandbox, container);
        }
    }
    lock(&shared.processes).retain(|id, _| seen.containers.contains_key(id));
    if sandboxes {
        let now: HashMap<SandboxId, bool> = sandbox::survey(shared).await?.into_iter().collect();
        let before = std::mem::replace(&mut seen.sandboxes, now);
        for (id, alive) in before {
            if alive && !seen.sandboxes.get(&id).copied().unwrap_or(false) {
                // Nobody listening is no fault.
                let _ = shared.events.send(Event::SandboxLost { sandbox: id });
            }
        }
    }
    Ok(())
}

fn tell(shared: &Shared, sandbox: &SandboxId, container: &ContainerId) {
    let event = Event::Exited { sandbox: sandbox.clone(), container: container.clone() };
    // Nobody listening is no fault.
    let _ = shared.events.send(event);
}

/// Sets a log aside that has grown too large, and lets the daemon begin a new one.
async fn rotate(shared: &Shared, container: &Container) {
    let Some(notes) = plan::notes_of(&container.annotations) else { return };
    let size = std::fs::metadata(&notes.log).map_or(0, |meta| meta.len());
    if notes.log_max_size == 0 || size <= notes.log_max_size {
        return;
    }
    if let Err(error) = set_aside(&notes.log, notes.log_max_files) {
        tracing::warn!(log = %notes.log.display(), %error, "a log could not be set aside");
        return;
    }
    let request = Message::default().text(1, &container.id);
    if let Err(error) = shared.link.ask(call::REOPEN, request, nothing).await {
        // It goes on in the file that was renamed, and the next look tries again when a new one is there.
        tracing::warn!(log = %notes.log.display(), error = chain(&error), "a log could not be begun anew");
    }
}

/// The log becomes `.1`, what was `.1` becomes `.2`, and so on.
fn set_aside(log: &Path, keep: u32) -> std::io::Result<()> {
    let file = |n: u32| PathBuf::from(format!("{}.{n}", log.display()));
    if keep == 0 {
        return std::fs::remove_file(log);
    }
    for n in (1..keep).rev() {
        match std::fs::rename(file(n), file(n + 1)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(log, file(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_logs_are_kept_than_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("app.log");
        for n in 0..5 {
            std::fs::write(&log, n.to_string()).unwrap();
            set_aside(&log, 2).unwrap();
        }
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        assert_eq!((text("app.log"), text("app.log.1"), text("app.log.2"), text("app.log.3")).1, "4");
        assert_eq!((text("app.log.2").as_str(), text("app.log.3").as_str()), ("3", ""));
        std::fs::write(&log, "x").unwrap();
        set_aside(&log, 0).unwrap();
        assert!(!log.exists());
    }
}
