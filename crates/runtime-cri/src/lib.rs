//! Containers by a daemon that speaks CRI, Kubernetes' interface to runtimes: containerd, CRI-O, and through their handlers
//! whatever they run (gVisor, Kata, runwasi).
//!
//! The daemon makes sandboxes and containers, keeps their logs and has images of its own; nothing of what runs depends on
//! this process. All that is known of a sandbox is kept with it there, in labels and annotations, so that an agent that
//! starts again finds everything by asking, and nothing is touched that does not carry this node's identity. The network of
//! pods stays Dunlin's: the daemon is given a network plugin that does nothing ([`plugin`]). Why it is built so is in
//! `docs/adr/0013-cri.md`.

mod call;
mod container;
mod events;
mod exec;
mod images;
mod link;
pub mod message;
mod plan;
pub mod plugin;
mod runtime;
mod sandbox;
mod spdy;
mod volumes;

pub use runtime::{Config, CriRuntime, Handler};
