//! What a guest sees and how much it may take.

use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::uri::Scheme;
use serde::{Deserialize, Serialize};
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::cli::OutputFile;
use wasmtime_wasi::p2::OutputStream;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use crate::pace::Pace;

/// The most elements that a guest's tables may have together; each takes a pointer.
const TABLE_ELEMENTS: usize = 1 << 20;

/// What is run, in the place where the caller is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Guest {
    /// The program's name and its arguments.
    pub args: Vec<String>,
    /// The environment, in order.
    pub env: Vec<(String, String)>,
    /// Where a component begins; modules know no working directory.
    pub cwd: String,
    /// The most that all memories of all its instances may have together, bytes.
    pub memory: Option<u64>,
    /// The ports on which a `wasi:http` component serves.
    pub ports: Vec<u16>,
    /// The network is the machine's own: only the guest's ports can be bound, and nothing on the loopback device reached.
    pub host_network: bool,
}

/// A guest in its place: what all of its instances have in common.
#[derive(Clone)]
pub struct Place {
    pub guest: Arc<Guest>,
    /// Memory that is taken.
    room: Arc<Room>,
    /// Standard output and error, where they are not this process's.
    streams: Option<(OutputFile, OutputFile)>,
    /// How fast it may run, where no cgroup sees to that.
    pace: Option<Arc<Pace>>,
}

impl Place {
    /// In a process of its own.
    pub fn alone(guest: &Guest) -> Self {
        Self { guest: Arc::new(guest.clone()), room: Arc::new(Room::new(guest)), streams: None, pace: None }
    }

    /// On a thread of a process that has other guests.
    pub fn shared(guest: Guest, room: Arc<Room>, out: File, err: File, pace: Pace) -> Self {
        let streams = Some((OutputFile::new(out), OutputFile::new(err)));
        Self { guest: Arc::new(guest), room, streams, pace: Some(Arc::new(pace)) }
    }

    /// The surroundings of one instance: standard streams, the whole file system of this place, its network.
    pub fn surroundings(&self) -> wasmtime::Result<WasiCtxBuilder> {
        let guest = &self.guest;
        let mut builder = WasiCtx::builder();
        match &self.streams {
            Some((out, err)) => builder.stdout(out.clone()).stderr(err.clone()),
            None => builder.inherit_stdio(),
        };
        builder.args(&guest.args).envs(&guest.env);
        builder.initial_cwd(&guest.cwd).preopened_dir("/", "/", FsPerms::ReadWrite)?;
        builder.allow_blocking_current_thread(true).allow_ip_name_lookup(true);
        builder.allow_tcp(true).allow_udp(true);
        let guest = guest.clone();
        builder.socket_addr_check(move |address, purpose| {
            let allowed = !guest.host_network || allowed(&guest.ports, address.ip(), address.port(), purpose);
            Box::pin(async move { allowed })
        });
        Ok(builder)
    }

    /// A store for one instance, whose memory is counted.
    pub fn store<T: Counted + 'static>(&self, engine: &Engine, mut state: T) -> Store<T> {
        state.taken().room = self.room.clone();
        let mut store = Store::new(engine, state);
        store.limiter(|state| state.taken());
        // Whoever runs long gives way to others now and then, and to those outside if it has had its share.
        match self.pace.clone() {
            None => store.epoch_deadline_async_yield_and_update(1),
            Some(pace) => store.epoch_deadline_callback(move |_| {
                Ok(match pace.pause() {
                    None => UpdateDeadline::Yield(1),
                    Some(pause) => UpdateDeadline::YieldCustom(1, Box::pin(tokio::time::sleep(pause))),
                })
            }),
        }
        store.set_epoch_deadline(1);
        store
    }

    /// Waits until the guest may run again.
    pub async fn wait(&self) {
        if let Some(pause) = self.pace.as_ref().and_then(|pace| pace.pause()) {
            tokio::time::sleep(pause).await;
        }
    }

    /// Tells whoever measures the guest what it has now.
    pub fn tell(&self) {
        if let Some(pace) = &self.pace {
            pace.tell();
        }
    }

    /// Says on the guest's standard error what it cannot say itself.
    pub fn complain(&self, text: std::fmt::Arguments<'_>) {
        let line = format!("wasm: {text}\n");
        // Where nobody can be told, nobody listens.
        match &self.streams {
            Some((_, err)) => drop(err.clone().write(line.into())),
            None => drop(io::stderr().write_all(line.as_bytes())),
        }
    }
}

/// The memory that all instances of a guest have together.
#[derive(Debug, Default)]
pub struct Room {
    most: Option<usize>,
    taken: AtomicUsize,
}

impl Room {
    /// As much as the guest may have.
    pub fn new(guest: &Guest) -> Self {
        Self { most: guest.memory.and_then(|m| usize::try_from(m).ok()), taken: AtomicUsize::new(0) }
    }

    /// What is taken, bytes.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let add =
            |taken: usize| taken.checked_add(bytes).filter(|sum| self.most.is_none_or(|most| *sum <= most));
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// On the machine's own network a guest serves what its pod says and asks others, and reaches nothing that listens on the
/// loopback device.
fn allowed(ports: &[u16], address: IpAddr, port: u16, purpose: SocketAddrUse) -> bool {
    match purpose {
        SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => port == 0 || ports.contains(&port),
        SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => true,
        _ => !address.to_canonical().is_loopback(),
    }
}

/// State whose memory is counted.
pub trait Counted: Send {
    /// What it has.
    fn taken(&mut self) -> &mut Taken;
}

/// What an instance has taken.
#[derive(Debug, Default)]
pub struct Taken {
    room: Arc<Room>,
    memory: usize,
    elements: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.give_back(self.memory);
    }
}

impl ResourceLimiter for Taken {
    fn memory_growing(&mut self, now: usize, wanted: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let more = wanted.saturating_sub(now);
        let granted = self.room.take(more);
        if granted {
            self.memory += more;
        }
        Ok(granted)
    }

    fn table_growing(&mut self, now: usize, wanted: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.elements.saturating_add(wanted.saturating_sub(now));
        let granted = elements <= TABLE_ELEMENTS;
        if granted {
            self.elements = elements;
        }
        Ok(granted)
    }
}

/// The state of a component's instance.
pub struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    taken: Taken,
    outgoing: Outgoing,
}

/// Requests that a guest makes by `wasi:http`.
struct Outgoing {
    silent: bool,
}

impl WasiHttpHooks for Outgoing {
    fn is_supported_scheme(&mut self, scheme: &Scheme) -> bool {
        !self.silent && (*scheme == Scheme::HTTP || *scheme == Scheme::HTTPS)
    }
}

impl State {
    /// One that has nothing yet; `silent` guests make no requests by `wasi:http`, whose addresses cannot be looked at.
    pub fn new(wasi: WasiCtx, silent: bool) -> Self {
        Self {
            wasi,
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            taken: Taken::default(),
            outgoing: Outgoing { silent },
        }
    }
}

impl Counted for State {
    fn taken(&mut self) -> &mut Taken {
        &mut self.taken
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outgoing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_over_all_instances_and_given_back() {
        let room = Arc::new(Room::new(&Guest { memory: Some(100), ..Guest::default() }));
        let instance = || Taken { room: room.clone(), ..Taken::default() };
        let (mut one, mut other) = (instance(), instance());
        assert!(one.memory_growing(0, 60, None).unwrap());
        assert!(!one.memory_growing(0, 60, None).unwrap());
        assert!(!other.memory_growing(0, 41, None).unwrap());
        assert!(one.memory_growing(60, 100, None).unwrap());
        assert!(!one.memory_growing(100, 101, None).unwrap());
        assert!(!one.table_growing(0, TABLE_ELEMENTS + 1, None).unwrap());
        drop(one);
        assert_eq!(room.taken(), 0);
        assert!(other.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn the_machines_network_is_not_a_guests() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let may = |a: &str, port, purpose| allowed(&[8080], address(a), port, purpose);
        assert!(may("0.0.0.0", 8080, SocketAddrUse::TcpBind));
        assert!(!may("0.0.0.0", 22, SocketAddrUse::TcpBind));
        assert!(may("127.0.0.1", 50000, SocketAddrUse::TcpAccept));
        assert!(may("192.0.2.1", 443, SocketAddrUse::TcpConnect));
        assert!(!may("127.0.0.1", 6443, SocketAddrUse::TcpConnect));
        assert!(!may("::ffff:127.0.0.1", 6443, SocketAddrUse::UdpSend));
    }
}
