//! The pod network of one node: addresses, bridge, veth pairs, nftables, and the relay to the API.
//!
//! `plan` has the decisions (addresses, rules) as pure tables; the rest carries them out. Only what carries this node's
//! id in its name is ever touched: the bridge `dnl<id>`, veths `dv<id>...`, the table `dunlin_<id>`.

pub mod error;
pub mod host;
pub mod netlink;
pub mod network;
pub mod plan;
pub mod relay;

pub use error::Error;
pub use network::{NetConfig, Network, remove_all};
pub use plan::ipam::Cidr;
pub use plan::rules::{HostPort, Protocol};
pub use relay::Relay;
