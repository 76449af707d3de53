//! The tasks that HTTP/2 needs for a connection and its streams, owned by that connection.
//!
//! hyper starts tasks of its own through an executor, and even the connection runs on one: dropping what it gives back
//! only *asks* a connection to end once its last stream has. Here all of them end with their owner.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hyper::rt::Executor;
use tokio::task::JoinSet;

/// The owner: dropping it ends every task.
#[derive(Default)]
pub(crate) struct Tasks(Arc<Mutex<JoinSet<()>>>);

/// What hyper holds. It does not keep the tasks alive, or they would hold one another.
#[derive(Clone)]
pub(crate) struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl Tasks {
    pub fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }
}

impl<F> Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        // Without an owner the connection is over, and so is whatever belongs to it.
        let Some(tasks) = self.0.upgrade() else { return };
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // What has ended is let go; a panic was reported by the panic hook.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async {
            future.await;
        });
    }
}
