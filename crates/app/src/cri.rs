//! The daemon of others that runs containers for this node over CRI: which it is, what it has of ours, and how it is left.
//!
//! Which daemon it is stands in a file as well, so that what runs there is found when the node no longer uses it, and when it
//! is taken off the machine.

use std::path::PathBuf;

use dunlin_base::error::chain;
use dunlin_runtime::Runtime;
use dunlin_runtime_cri::{Config, CriRuntime, Handler, plugin};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error};
use crate::layout::{self, Layout};

/// What is chosen: a socket, and which of the daemon's handlers are offered beside its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cri {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// Its handlers, by its own names.
    pub handlers: Vec<String>,
}

impl Cri {
    /// What flags and configuration file say; nothing if no socket is named.
    ///
    /// # Errors
    /// When it cannot be meant, with what to do.
    pub fn chosen(socket: Option<PathBuf>, handlers: Vec<String>) -> Result<Option<Self>, Error> {
        let Some(socket) = socket else {
            return match handlers.first() {
                Some(_) => Err(Error::Input(
                    "cri-handlers are those of a container runtime: name its socket with --cri-socket PATH"
                        .to_owned(),
                )),
                None => Ok(None),
            };
        };
        // Some write it as a URL, as kubelet has it.
        let path = socket.to_string_lossy();
        let socket = PathBuf::from(path.strip_prefix("unix://").unwrap_or(&path));
        if !socket.is_absolute() {
            return Err(Error::Input(format!(
                "cri-socket {:?} is not an absolute path, as /run/containerd/containerd.sock is",
                socket.display()
            )));
        }
        if let Some(wrong) = handlers.iter().find(|name| Handler::called(name).is_none()) {
            return Err(Error::Input(format!(
                "cri-handlers: {wrong:?} cannot be asked for by a RuntimeClass: a name has at most 59 lower-case letters, \
                 digits and '-'; give the handler such a name in the container runtime's configuration"
            )));
        }
        Ok(Some(Self { socket, handlers }))
    }

    fn all(&self) -> Vec<Handler> {
        let further = self.handlers.iter().filter_map(|name| Handler::called(name));
        std::iter::once(Handler::default_one()).chain(further).collect()
    }

    /// Its runtimes, one for each handler.
    async fn runtimes(&self, id: &str) -> Result<Vec<CriRuntime>, Error> {
        let mut all = Vec::new();
        for handler in self.all() {
            let config = Config {
                socket: self.socket.clone(),
                run_dir: layout::run_dir(id).join("cri").join(&handler.name),
                handler,
                node: id.to_owned(),
                cgroup_root: layout::cgroup_root(id),
            };
            all.push(CriRuntime::open(config).await.doing("starting the runtime of a CRI socket")?);
        }
        Ok(all)
    }
}

/// Opens the runtimes of what is chosen, and leaves the daemon that was chosen before if it is another.
///
/// # Errors
/// When files or cgroups cannot be made.
pub(crate) async fn open(layout: &Layout, id: &str, cri: Option<&Cri>) -> Result<Vec<CriRuntime>, Error> {
    if remembered(layout).is_some_and(|before| Some(&before) != cri) {
        for failure in leave(layout, id).await? {
            tracing::warn!(
                failure,
                "pods of a container runtime that is not used any more could not be ended"
            );
        }
    }
    let Some(cri) = cri else { return Ok(Vec::new()) };
    let program = std::env::current_exe().doing("finding this program's file")?;
    plugin::install(&layout.cri(), &program).doing("installing the network plugin")?;
    let text = serde_json::to_vec(cri).doing("noting the CRI socket")?;
    layout::write_atomically(&file(layout), &text, 0o644)?;
    cri.runtimes(id).await
}

/// Ends all pods that are ours at the daemon that was last used, and gives back what failed. It is forgotten when nothing did.
///
/// # Errors
/// When cgroups cannot be made.
pub(crate) async fn leave(layout: &Layout, id: &str) -> Result<Vec<String>, Error> {
    let Some(before) = remembered(layout) else { return Ok(Vec::new()) };
    let mut failures = Vec::new();
    for runtime in before.runtimes(id).await? {
        match runtime.sandboxes().await {
            Ok(found) => {
                for sandbox in found {
                    if let Err(error) = runtime.remove_sandbox(&sandbox.id).await {
                        failures.push(chain(&error));
                    }
                }
            }
            Err(error) => failures.push(chain(&error)),
        }
    }
    if failures.is_empty() {
        std::fs::remove_file(file(layout)).doing("forgetting the CRI socket")?;
    }
    Ok(failures)
}

fn file(layout: &Layout) -> PathBuf {
    layout.cri().join("socket.json")
}

fn remembered(layout: &Layout) -> Option<Cri> {
    serde_json::from_slice(&std::fs::read(file(layout)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_says_what_to_do() {
        let chosen = |socket: Option<&str>, handlers: &[&str]| {
            let handlers = handlers.iter().map(|h| (*h).to_owned()).collect();
            Cri::chosen(socket.map(PathBuf::from), handlers).map_err(|e| e.to_string())
        };
        assert_eq!(chosen(None, &[]), Ok(None));
        let good = chosen(Some("unix:///run/c.sock"), &["runsc"]).unwrap().unwrap();
        assert_eq!(good.socket, PathBuf::from("/run/c.sock"));
        let names: Vec<String> = good.all().into_iter().map(|handler| handler.name).collect();
        assert_eq!(names, ["cri", "cri-runsc"]);
        assert!(chosen(None, &["runsc"]).unwrap_err().contains("--cri-socket"));
        assert!(chosen(Some("c.sock"), &[]).unwrap_err().contains("absolute"));
        assert!(chosen(Some("/c.sock"), &["Kata"]).unwrap_err().contains("\"Kata\""));
    }
}
