//! Many components that serve, each on a thread of its own, in one process: one engine, one clock, and code that is loaded
//! once for all who run it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::context::{Guest, Place, Room};
use crate::engine::engine;
use crate::http::Server;
use crate::pace::Pace;
use crate::run::component;
use crate::ticker::Ticker;

/// What all guests of the process share.
pub struct Host {
    engine: Engine,
    ticker: Ticker,
    /// By device and number of the file that it was loaded from, and how many run it.
    loaded: Mutex<HashMap<(u64, u64), (Component, usize)>>,
}

/// One guest of a host.
pub struct Hosted {
    /// What it is.
    pub guest: Guest,
    /// Its code, which a cache has given.
    pub code: File,
    /// Where it listens.
    pub listeners: Vec<TcpListener>,
    /// Its standard output.
    pub out: File,
    /// Its standard error.
    pub err: File,
    /// The most of the processor that it may use, thousandths.
    pub cpu: Option<u64>,
}

impl Host {
    /// One without guests.
    ///
    /// # Errors
    /// When there is no engine or no thread to be had.
    pub fn new() -> Result<Self, String> {
        let engine = engine().map_err(|error| format!("{error:#}"))?;
        let ticker = Ticker::new(engine.clone()).map_err(|error| error.to_string())?;
        Ok(Self { engine, ticker, loaded: Mutex::default() })
    }

    /// Loads the code of a guest, or finds it loaded. Needs a `/proc`.
    ///
    /// # Errors
    /// When the engine does not take it.
    pub fn load(self: &Arc<Self>, code: &File) -> Result<Loaded, String> {
        let stat = code.metadata().map_err(|error| error.to_string())?;
        let key = (stat.dev(), stat.ino());
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let (component, users) = match loaded.entry(key) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                let made = component(&self.engine, code).map_err(|error| format!("{error:#}"))?;
                free.insert((made, 0))
            }
        };
        *users += 1;
        Ok(Loaded { host: self.clone(), key, component: component.clone() })
    }
}

/// Code that stays loaded as long as somebody has this.
pub struct Loaded {
    host: Arc<Host>,
    key: (u64, u64),
    component: Component,
}

impl Loaded {
    /// Runs a guest on the calling thread, whose place, user and network are the guest's, until it is told to stop and has
    /// answered what it was asked, or until `gone` says that nobody wants it any more. `ready` is called when it serves,
    /// and `used` now and then with the nanoseconds of the processor and the bytes of memory that the guest has used.
    ///
    /// # Errors
    /// When the component cannot serve.
    pub fn run(
        &self,
        hosted: Hosted,
        stopped: watch::Receiver<bool>,
        mut gone: watch::Receiver<bool>,
        used: impl Fn(u64, u64) + Send + Sync + 'static,
        ready: impl FnOnce(),
    ) -> Result<(), String> {
        let room = Arc::new(Room::new(&hosted.guest));
        let taken = room.clone();
        let told = move |cpu| used(cpu, taken.taken() as u64);
        let pace = Pace::new(hosted.cpu, Box::new(told));
        let place = Place::shared(hosted.guest, room, hosted.out, hosted.err, pace);
        let (engine, ticker) = (&self.host.engine, &self.host.ticker);
        let server = Server::new(engine, &self.component, &place, ticker).map_err(|e| format!("{e:#}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let served = runtime.block_on(async {
            ready();
            tokio::select! {
                served = server.serve(hosted.listeners, stopped) => served,
                _ = gone.wait_for(|gone| *gone) => Ok(()),
            }
        });
        // A call that hangs in a file system holds up nobody.
        runtime.shutdown_background();
        served.map_err(|error| error.to_string())
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let mut loaded = self.host.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, users)) = loaded.get_mut(&self.key) {
            *users -= 1;
            if *users == 0 {
                loaded.remove(&self.key);
            }
        }
    }
}
