//! Owned tasks: no task outlives the value that started it.
//!
//! A bare `tokio::spawn` leaves an orphan when its owner goes away; a [`Task`] ends with its owner, and a panic in it
//! is logged with the task's name instead of vanishing.

use std::future::Future;

use tokio::task::JoinHandle;

/// A running task that is ended when this value is dropped.
#[derive(Debug)]
pub struct Task {
    handle: JoinHandle<()>,
}

impl Task {
    /// Starts `future` on the current runtime. `name` appears in the log if it panics.
    pub fn spawn<F>(name: &'static str, future: F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = tokio::spawn(async move {
            let guard = PanicNote { name };
            future.await;
            std::mem::forget(guard);
        });
        Self { handle }
    }

    /// Whether the task has ended by itself.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Ends the task now; dropping the value does the same.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Waits until the task has ended by itself, or has been aborted.
    pub async fn finished(&mut self) {
        // A panic was logged by the note; an abort is what the caller asked for.
        let _ = (&mut self.handle).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

struct PanicNote {
    name: &'static str,
}

impl Drop for PanicNote {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "task panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn ends_with_its_owner() {
        let shared = Arc::new(());
        let held = shared.clone();
        let task = Task::spawn("test", async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&shared), 2);
        drop(task);
        tokio::time::timeout(Duration::from_secs(5), async {
            while Arc::strong_count(&shared) > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the task must end when its owner is dropped");
    }
}
