//! The parts of the host that are set by files and programs: kernel settings and `nft`.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use crate::error::Error;

/// Writes a kernel setting below `/proc/sys`, unless it has that value.
///
/// # Errors
/// When it cannot be written.
pub fn sysctl(name: &str, value: &str) -> Result<(), Error> {
    let path = Path::new("/proc/sys").join(name);
    if std::fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|e| Error::io("writing", path, e))
}

/// Gives `script` to `nft`.
///
/// # Errors
/// What `nft` printed.
pub async fn nft(script: &str) -> Result<(), Error> {
    let mut child = tokio::process::Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Error::Nft(format!("cannot be started ({e}); install nftables")))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).await.map_err(|e| Error::Nft(e.to_string()))?;
    }
    let output = child.wait_with_output().await.map_err(|e| Error::Nft(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(Error::Nft(text.lines().next().unwrap_or("failed").trim().to_owned()))
}
