//! The Kubernetes API over HTTP: discovery, reading, writing, watching, who may do what, and the streams into pods.
//!
//! One [`ApiServer`] is a `tower::Service`: the TLS listener ([`serve`]) and callers in the same process use the very
//! same code. It decides nothing about the cluster (that is `control`), keeps nothing but caches (that is `store`),
//! and reaches nodes only through a [`NodeDialer`].

mod admission;
mod aggregate;
mod audit;
mod auth;
mod bootstrap;
mod components;
mod conditions;
mod config;
mod custom;
mod discovery;
mod failure;
mod flow;
mod handlers;
mod handshake;
mod listen;
mod metrics;
mod model;
mod negotiate;
mod object;
mod options;
mod others;
mod outgoing;
mod reply;
mod request;
mod resources;
mod server;
mod subresource;
mod sweep;
mod table;
mod time;
mod usage;

pub use audit::{Audit, AuditError, AuditSettings, PolicyError};
pub use auth::oidc::{Expression, Gives, Mapping, OidcIssuer, Rule, Source};
pub use config::{
    Admitted, BoxBody, BoxError, Config, DialError, Limits, NoNodes, NodeDialer, Peers, StaticToken,
    TunnelHook, TunnelStream, Unexpired, User,
};
pub use listen::{HOME_ALPN, Listener, PEER_ALPN, ServeError, TUNNEL_ALPN, serve};
pub use server::ApiServer;
