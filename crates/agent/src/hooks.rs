//! Running a command in a container and waiting for it, for probes and hooks.

use std::sync::Arc;
use std::time::Duration;

use dunlin_runtime::{ContainerId, ExecSpec, Runtime, SandboxId, SessionOutput};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

/// Output kept for a message.
const KEPT: usize = 1024;

/// Runs a command; its output is the error's text if it fails.
pub async fn exec(
    runtime: &Arc<dyn Runtime>,
    sandbox: &SandboxId,
    id: &ContainerId,
    command: &[String],
) -> Result<(), String> {
    let spec = ExecSpec { args: command.to_vec(), tty: false, stdin: false };
    let mut session = runtime.exec(sandbox, id, spec).await.map_err(|e| dunlin_base::error::chain(&e))?;
    let mut kept = Vec::new();
    while let Some(output) = session.output.recv().await {
        match output {
            SessionOutput::Stdout(b) | SessionOutput::Stderr(b) => {
                let room = KEPT.saturating_sub(kept.len()).min(b.len());
                kept.extend_from_slice(&b[..room]);
            }
            SessionOutput::Exited(status) if status.code == 0 => return Ok(()),
            SessionOutput::Exited(_) => return Err(String::from_utf8_lossy(&kept).into_owned()),
            SessionOutput::Failed(reason) => return Err(reason),
        }
    }
    Err("the session ended without an exit status".into())
}

/// Runs a lifecycle hook.
pub async fn run(
    runtime: &Arc<dyn Runtime>,
    sandbox: &SandboxId,
    id: &ContainerId,
    container: &Container,
    hook: &LifecycleHandler,
    pod_ip: &str,
) -> Result<(), String> {
    if let Some(command) = hook.exec.as_ref().and_then(|e| e.command.as_ref()) {
        return exec(runtime, sandbox, id, command).await;
    }
    if let Some(action) = &hook.http_get {
        return crate::probe::http(container, action, pod_ip).await;
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
    }
    Ok(())
}
