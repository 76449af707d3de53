//! The way from the API server to a node: in this process for the server's own agent, through the tunnel for others.

use std::sync::{Arc, OnceLock};

use dunlin_apiserver::{BoxBody, DialError, NodeDialer};
use dunlin_tunnel::accept::Tunnels;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;

use super::exposed::Exposed;

/// The service of the server's own agent, once it has started.
pub type LocalNode = Arc<OnceLock<(String, dunlin_agent::NodeService)>>;

/// Calls nodes by name.
pub struct Dialer {
    /// Open tunnels.
    pub tunnels: Arc<Tunnels>,
    /// Nodes that are reached through the tunnel of their cluster.
    pub exposed: Arc<Exposed>,
    /// The node in this process.
    pub local: LocalNode,
}

impl NodeDialer for Dialer {
    fn call(
        &self,
        node: &str,
        request: http::Request<BoxBody>,
    ) -> BoxFuture<'static, Result<http::Response<BoxBody>, DialError>> {
        let node = node.to_owned();
        if let Some((name, service)) = self.local.get()
            && *name == node
        {
            let service = service.clone();
            return Box::pin(async move { Ok(service.handle(request).await) });
        }
        let tunnels = self.tunnels.clone();
        let through = self.exposed.cluster_of(&node).unwrap_or_else(|| node.clone());
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
