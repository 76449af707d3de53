//! The clock by which guests give way to each other. It stands still while no guest runs, so that an idle server costs
//! nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::Engine;

/// How long a guest may hold the thread while others wait.
const TICK: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

/// A thread that counts the engine's epochs while guests run.
#[derive(Clone)]
pub struct Ticker(Arc<Shared>);

/// A guest that runs, until this is dropped.
pub struct Running(Arc<Shared>);

impl Ticker {
    /// Begins the thread, which lives as long as the process.
    pub fn new(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let count = move || {
            loop {
                let mut guard = theirs.lock.lock().unwrap_or_else(PoisonError::into_inner);
                while theirs.running.load(Ordering::Acquire) == 0 {
                    guard = theirs.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
                }
                drop(guard);
                std::thread::sleep(TICK);
                engine.increment_epoch();
            }
        };
        std::thread::Builder::new().name("epochs".into()).stack_size(64 << 10).spawn(count)?;
        Ok(Self(shared))
    }

    /// Counts one more guest.
    pub fn running(&self) -> Running {
        if self.0.running.fetch_add(1, Ordering::AcqRel) == 0 {
            // Under the lock, or the thread could miss it between its look and its sleep.
            let _guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.wake.notify_one();
        }
        Running(self.0.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}
