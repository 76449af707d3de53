//! Links, addresses and routes over netlink: the bridge, and a pod's end of the wire.
//!
//! What is done inside a pod's namespace runs on a thread of its own that enters it with `setns` and ends afterwards;
//! no thread of the runtime ever changes its namespace.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use dunlin_base::task::Task;
use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection,
};

use crate::error::Error;
use crate::plan::ipam::Cidr;

fn failed(operation: &'static str, what: &str) -> impl FnOnce(rtnetlink::Error) -> Error {
    let what = what.to_owned();
    move |source| Error::Netlink { operation, what, source }
}

fn exists(error: &rtnetlink::Error) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(m) if m.raw_code() == -libc::EEXIST)
}

fn missing(error: &rtnetlink::Error) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(m) if matches!(-m.raw_code(), libc::ENODEV | libc::ENXIO | libc::ENOENT))
}

/// A netlink socket of the namespace in which it was opened.
pub struct Netlink {
    handle: Handle,
    _connection: Task,
}

impl Netlink {
    /// Opens a socket in the current namespace.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn open() -> Result<Self, Error> {
        let (connection, handle, _) = new_connection().map_err(|e| Error::io("opening", "netlink", e))?;
        Ok(Self { handle, _connection: Task::spawn("netlink", connection) })
    }

    /// The index of a link, if it exists.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn index(&self, name: &str) -> Result<Option<u32>, Error> {
        match self.handle.link().get().match_name(name.to_owned()).execute().try_next().await {
            Ok(link) => Ok(link.map(|l| l.header.index)),
            Err(error) if missing(&error) => Ok(None),
            Err(error) => Err(failed("looking for", name)(error)),
        }
    }

    /// Makes the bridge, if need be, with its addresses; returns its index.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn bridge(&self, name: &str, addresses: &[(Ipv4Addr, u8)]) -> Result<u32, Error> {
        let index = match self.index(name).await? {
            Some(index) => index,
            None => {
                match self.handle.link().add(LinkBridge::new(name).up().build()).execute().await {
                    Err(error) if !exists(&error) => return Err(failed("creating bridge", name)(error)),
                    _ => {}
                }
                self.index(name).await?.ok_or_else(|| Error::NoLink(name.to_owned()))?
            }
        };
        for (address, prefix) in addresses {
            self.address(index, *address, *prefix).await?;
        }
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().change(up).execute().await.map_err(failed("setting up", name))?;
        Ok(index)
    }

    async fn address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), Error> {
        match self.handle.address().add(index, IpAddr::V4(address), prefix).execute().await {
            Err(error) if !exists(&error) => Err(failed("adding address", &address.to_string())(error)),
            _ => Ok(()),
        }
    }

    /// Makes a veth pair: `host` on the bridge, and `eth0` in the namespace behind `netns`, in one request.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn veth(&self, host: &str, bridge: u32, netns: RawFd) -> Result<(), Error> {
        self.remove(host).await?;
        let peer = LinkMessageBuilder::<LinkUnspec>::new().name("eth0".to_owned()).setns_by_fd(netns).build();
        let mut builder = LinkVeth::new(host, "eth0").up();
        builder = builder.set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
        self.handle.link().add(builder.build()).execute().await.map_err(failed("creating", host))?;
        let index = self.index(host).await?.ok_or_else(|| Error::NoLink(host.to_owned()))?;
        let join = LinkUnspec::new_with_index(index).controller(bridge).up().build();
        self.handle.link().change(join).execute().await.map_err(failed("joining to the bridge", host))
    }

    /// Removes a link; absent is success.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let Some(index) = self.index(name).await? else { return Ok(()) };
        match self.handle.link().del(index).execute().await {
            Err(error) if !missing(&error) => Err(failed("removing", name)(error)),
            _ => Ok(()),
        }
    }

    /// A route to another node's range.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn route(&self, range: &Cidr, via: Ipv4Addr) -> Result<(), Error> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(range.base, range.prefix)
            .gateway(via)
            .build();
        self.handle
            .route()
            .add(route)
            .replace()
            .execute()
            .await
            .map_err(failed("routing", &range.to_string()))
    }

    /// The pod's end: `lo` and `eth0` up, address and default route. Runs inside the pod's namespace.
    async fn inside(&self, address: Ipv4Addr, range: &Cidr) -> Result<(), Error> {
        for name in ["lo", "eth0"] {
            let index = self.index(name).await?.ok_or_else(|| Error::NoLink(name.to_owned()))?;
            if name == "eth0" {
                self.address(index, address, range.prefix).await?;
            }
            let up = LinkUnspec::new_with_index(index).up().build();
            self.handle.link().change(up).execute().await.map_err(failed("setting up", name))?;
        }
        let default = RouteMessageBuilder::<Ipv4Addr>::new().gateway(range.gateway()).build();
        match self.handle.route().add(default).execute().await {
            Err(error) if !exists(&error) => {
                Err(failed("adding the default route of", &address.to_string())(error))
            }
            _ => Ok(()),
        }
    }
}

/// Opens a network namespace.
///
/// # Errors
/// When the path does not exist any more: its sandbox is gone.
pub fn open_namespace(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|e| Error::io("opening", path, e))
}

/// Runs `work` on a thread inside the namespace and returns its answer.
///
/// # Errors
/// When the namespace cannot be entered, and what `work` returns.
pub async fn in_namespace<T, F>(namespace: File, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("netns".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || {
            // SAFETY: setns takes an open descriptor, which `namespace` keeps open, and changes only this thread.
            let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
            let result = if entered == 0 {
                work()
            } else {
                Err(Error::io("entering", "network namespace", std::io::Error::last_os_error()))
            };
            // The receiver is gone only when nobody wants the answer.
            let _ = sender.send(result);
        })
        .map_err(|e| Error::io("starting", "thread", e))?;
    receiver.await.map_err(|_| Error::Ended("the thread in the pod's namespace"))?
}

/// Configures the pod's end of its wire.
///
/// # Errors
/// When the namespace is gone or the kernel refuses.
pub async fn configure(namespace: File, address: Ipv4Addr, range: Cidr) -> Result<(), Error> {
    in_namespace(namespace, move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|e| Error::io("starting", "runtime", e))?;
        runtime.block_on(async { Netlink::open()?.inside(address, &range).await })
    })
    .await
}

/// Brings `lo` up in a namespace that gets no wire.
///
/// # Errors
/// When the namespace is gone or the kernel refuses.
pub async fn loopback(namespace: File) -> Result<(), Error> {
    in_namespace(namespace, move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|e| Error::io("starting", "runtime", e))?;
        runtime.block_on(async {
            let netlink = Netlink::open()?;
            let index = netlink.index("lo").await?.ok_or_else(|| Error::NoLink("lo".to_owned()))?;
            let up = LinkUnspec::new_with_index(index).up().build();
            netlink.handle.link().change(up).execute().await.map_err(failed("setting up", "lo"))
        })
    })
    .await
}

/// Connects to a TCP port from inside a namespace; the connection stays usable outside.
///
/// # Errors
/// When the namespace is gone or nothing listens.
pub async fn connect(namespace: File, address: std::net::SocketAddr) -> Result<tokio::net::TcpStream, Error> {
    let stream = in_namespace(namespace, move || {
        let timeout = std::time::Duration::from_secs(10);
        std::net::TcpStream::connect_timeout(&address, timeout)
            .map_err(|e| Error::io("connecting to", address.to_string(), e))
    })
    .await?;
    stream.set_nonblocking(true).map_err(|e| Error::io("preparing", "connection", e))?;
    tokio::net::TcpStream::from_std(stream).map_err(|e| Error::io("preparing", "connection", e))
}
