//! The way from the API server to a node: in this process for the server's own agent, through the tunnel for others, or
//! through the server that holds the tunnel.

use std::sync::{Arc, OnceLock};

use dunlin_apiserver::{BoxBody, DialError, NodeDialer};
use dunlin_tunnel::accept::Tunnels;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;

use super::exposed::Exposed;
use super::peers::Peers;

/// The service of the server's own agent, once it has started.
pub type LocalNode = Arc<OnceLock<(String, dunlin_agent::NodeService)>>;

/// Calls nodes by name.
#[derive(Clone)]
pub struct Dialer {
    /// Open tunnels.
    pub tunnels: Arc<Tunnels>,
    /// Nodes that are reached through the tunnel of their cluster.
    pub exposed: Arc<Exposed>,
    /// The node in this process.
    pub local: LocalNode,
    /// The other servers, if there may be any.
    pub peers: Arc<OnceLock<Arc<Peers>>>,
}

type Call = BoxFuture<'static, Result<http::Response<BoxBody>, DialError>>;

impl Dialer {
    fn through(&self, node: &str) -> String {
        self.exposed.cluster_of(node).unwrap_or_else(|| node.to_owned())
    }

    fn is_local(&self, node: &str) -> bool {
        self.local.get().is_some_and(|(name, _)| name == node)
    }

    /// Calls a node that is connected to this server.
    pub fn here(&self, node: &str, request: http::Request<BoxBody>) -> Call {
        let node = node.to_owned();
        if self.is_local(&node)
            && let Some((_, service)) = self.local.get()
        {
            let service = service.clone();
            return Box::pin(async move { Ok(service.handle(request).await) });
        }
        let tunnels = self.tunnels.clone();
        let through = self.through(&node);
        Box::pin(async move {
            if !tunnels.is_connected(&through) {
                return Err(DialError::NotConnected(node));
            }
            match tunnels.call(&through, request).await {
                Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
                Err(source) => Err(DialError::Call { node, source: source.into() }),
            }
        })
    }
}

impl NodeDialer for Dialer {
    fn call(&self, node: &str, request: http::Request<BoxBody>) -> Call {
        let through = self.through(node);
        match self.peers.get() {
            Some(peers) if !self.is_local(node) && !self.tunnels.is_connected(&through) => {
                let (peers, node) = (peers.clone(), node.to_owned());
                Box::pin(async move { peers.call(&node, &through, request).await })
            }
            _ => self.here(node, request),
        }
    }
}
