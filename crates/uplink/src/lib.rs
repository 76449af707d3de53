//! A cluster as a node of its parent: it tells a summary, answers offers, runs pods by mirroring them into its own API,
//! reports their status up, and passes logs and sessions on to the machine.
//!
//! It touches nothing of the child's own: all that it makes carries the label `dunlin.io/mirror` with the parent's name,
//! and a deletion happens only because the parent's API has said so. Silence of the parent changes nothing.

mod below;
mod claims;
mod copies;
mod fence;
mod machines;
mod namespaces;
pub mod plan;
mod priority;
mod queue;
mod register;
mod service;
mod tokens;
mod uplink;
mod work;

pub use plan::mirror::{Expose, Level};
pub use service::{Dial, UplinkService};
pub use uplink::{Config, Contact, Uplink, UplinkHandle, Upper};
