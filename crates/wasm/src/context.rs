//! What a guest sees and how much it may take.

use std::net::IpAddr;

use http::uri::Scheme;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, ResourceLimiter, Store};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

/// The most elements that a guest's tables may have together; each takes a pointer.
const TABLE_ELEMENTS: usize = 1 << 20;

/// What is run, in the place where the caller is.
#[derive(Debug, Clone, Default)]
pub struct Guest {
    /// The program's name and its arguments.
    pub args: Vec<String>,
    /// The environment, in order.
    pub env: Vec<(String, String)>,
    /// Where a component begins; modules know no working directory.
    pub cwd: String,
    /// The most that all of an instance's memories may have together, bytes.
    pub memory: Option<u64>,
    /// The ports on which a `wasi:http` component serves.
    pub ports: Vec<u16>,
    /// The network is the machine's own: only the guest's ports can be bound, and nothing on the loopback device reached.
    pub host_network: bool,
}

impl Guest {
    /// The surroundings of one instance: standard streams, the whole file system of this place, its network.
    pub fn surroundings(&self) -> wasmtime::Result<WasiCtxBuilder> {
        let mut builder = WasiCtx::builder();
        builder.inherit_stdio().args(&self.args).envs(&self.env);
        builder.initial_cwd(&self.cwd).preopened_dir("/", "/", FsPerms::ReadWrite)?;
        builder.allow_blocking_current_thread(true).allow_ip_name_lookup(true);
        builder.allow_tcp(true).allow_udp(true);
        let (ports, host) = (self.ports.clone(), self.host_network);
        builder.socket_addr_check(move |address, purpose| {
            let allowed = !host || allowed(&ports, address.ip(), address.port(), purpose);
            Box::pin(async move { allowed })
        });
        Ok(builder)
    }

    /// A store for one instance, whose memory is counted.
    pub fn store<T: Counted + 'static>(&self, engine: &Engine, state: T) -> Store<T> {
        let mut store = Store::new(engine, state);
        store.data_mut().taken().most = self.memory.and_then(|m| usize::try_from(m).ok());
        store.limiter(|state| state.taken());
        // Whoever runs long gives way to others now and then.
        store.epoch_deadline_async_yield_and_update(1);
        store.set_epoch_deadline(1);
        store
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
    most: Option<usize>,
    memory: usize,
    elements: usize,
}

impl ResourceLimiter for Taken {
    fn memory_growing(&mut self, now: usize, wanted: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let memory = self.memory.saturating_add(wanted.saturating_sub(now));
        let granted = self.most.is_none_or(|most| memory <= most);
        if granted {
            self.memory = memory;
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
    fn memory_is_counted_over_all_memories() {
        let mut taken = Taken { most: Some(100), ..Taken::default() };
        assert!(taken.memory_growing(0, 60, None).unwrap());
        assert!(!taken.memory_growing(0, 60, None).unwrap());
        assert!(taken.memory_growing(60, 100, None).unwrap());
        assert!(!taken.memory_growing(100, 101, None).unwrap());
        assert!(!taken.table_growing(0, TABLE_ELEMENTS + 1, None).unwrap());
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
