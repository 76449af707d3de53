//! Whether this machine runs WebAssembly, found out by running some. Once per boot and version, in a process of its own: the
//! compiler's memory is not for the agent.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::creator::PROBE;
use crate::runtime::Config;

/// How long it may take on a slow board.
const PATIENCE: Duration = Duration::from_secs(60);

/// Finds out whether a runtime of WebAssembly would run anything here.
///
/// # Errors
/// The reason why not.
pub async fn wasm(config: &Config) -> Result<(), String> {
    let marker = config.run_dir.join(concat!("probed-", env!("CARGO_PKG_VERSION")));
    if marker.exists() {
        return Ok(());
    }
    run(&config.executable).await?;
    // Without the marker it is found out again.
    let _ = fs::create_dir_all(&config.run_dir).and_then(|()| fs::write(marker, ""));
    Ok(())
}

async fn run(executable: &Path) -> Result<(), String> {
    let mut command = Command::new(executable);
    command.arg(PROBE).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.output());
    let output = ended.await.map_err(|_| "it did not end".to_owned())?.map_err(|error| error.to_string())?;
    match (output.status.success(), String::from_utf8_lossy(&output.stderr)) {
        (true, _) => Ok(()),
        (false, said) if said.is_empty() => Err(output.status.to_string()),
        (false, said) => Err(said.into_owned()),
    }
}
