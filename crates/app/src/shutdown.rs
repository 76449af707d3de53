//! Waiting for the signal to end.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Doing, Error};

/// Returns when the process is asked to end (`SIGTERM`, `SIGINT`).
pub(crate) async fn requested() -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).doing("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).doing("listening for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("ending as asked; pods keep running");
    Ok(())
}
