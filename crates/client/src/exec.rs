//! `exec`: one more process in a container, with this terminal if asked.

use std::io::IsTerminal;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, TerminalSize};
use tokio::signal::unix::{SignalKind, signal};

use crate::Error;
use crate::connect::Connection;

/// What to execute.
#[derive(Debug, Clone, Default)]
pub struct Exec {
    /// The pod.
    pub pod: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// The container.
    pub container: Option<String>,
    /// Pass standard input on.
    pub stdin: bool,
    /// Use a terminal.
    pub tty: bool,
    /// The command.
    pub command: Vec<String>,
}

/// Runs a command and gives its exit code.
///
/// # Errors
/// When the server refuses, or the connection breaks.
pub async fn run(connection: &Connection, exec: &Exec) -> Result<i32, Error> {
    let api: Api<Pod> = Api::namespaced(
        connection.client.clone(),
        exec.namespace.as_deref().unwrap_or(&connection.namespace),
    );
    let tty = exec.tty && std::io::stdin().is_terminal();
    let mut params = AttachParams::default().stdin(exec.stdin).stdout(true).stderr(!tty).tty(tty);
    if let Some(container) = &exec.container {
        params = params.container(container.clone());
    }
    let doing = format!("executing in pod {}", exec.pod);
    let mut process =
        api.exec(&exec.pod, exec.command.clone(), &params).await.map_err(Error::api(doing.clone()))?;
    let _raw = tty.then(Raw::enter).flatten();
    let mut tasks = tokio::task::JoinSet::new();
    if let Some(mut remote) = process.stdin() {
        tasks.spawn(async move {
            // The other side may be gone before our input ends.
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut remote).await;
        });
    }
    if let Some(mut sizes) = process.terminal_size() {
        tasks.spawn(async move {
            let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
            loop {
                if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout()) {
                    let size = TerminalSize { width: size.ws_col, height: size.ws_row };
                    if futures_util::SinkExt::send(&mut sizes, size).await.is_err() {
                        return;
                    }
                }
                if changes.recv().await.is_none() {
                    return;
                }
            }
        });
    }
    let (mut out, mut err) = (process.stdout(), process.stderr());
    let copied = async {
        let out = async {
            if let Some(out) = &mut out {
                tokio::io::copy(out, &mut tokio::io::stdout()).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let err = async {
            if let Some(err) = &mut err {
                tokio::io::copy(err, &mut tokio::io::stderr()).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        tokio::try_join!(out, err)
    };
    let status = process.take_status();
    copied.await.map_err(Error::io(doing.clone()))?;
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    let Some(status) = status else { return Err(Error::Input(format!("{doing}: the connection broke"))) };
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let code = causes
        .iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .and_then(|cause| cause.message.as_deref()?.parse().ok());
    code.ok_or_else(|| Error::Input(format!("{doing}: {}", status.message.unwrap_or_default())))
}

/// The terminal in raw mode until dropped.
struct Raw(rustix::termios::Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let before = rustix::termios::tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &self.0);
    }
}
