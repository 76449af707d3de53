//! The way home: API connections of pods that were made above, carried up level by level to the server they were made
//! in. Inside is the pod's own TLS, which nobody on the way can read.
//!
//! A connection opens with one line that names the pod; whoever may not speak for that pod is not carried.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dunlin_base::error::chain;
use dunlin_net::relay::{Connecting, Stream};
use dunlin_node::PodRef;
use dunlin_tunnel::dial::{Options, Target};
use dunlin_uplink::{UplinkHandle, Upper};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::exposed::Exposed;

/// The longest opening line, bytes.
const LONGEST: usize = 512;
/// How long opening may take on each level.
const PATIENCE: Duration = Duration::from_secs(10);
/// A buffer per direction.
const BUFFER: usize = 8 * 1024;

/// The opening line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    /// The pod's uid in the API of the server that is dialled.
    pod: String,
    /// Its namespace there.
    namespace: String,
    /// Its name there.
    name: String,
}

/// Opens a connection through the server above to the home of the pod that is called so there. The protocol of `above`
/// is [`dunlin_apiserver::HOME_ALPN`].
pub async fn dial(above: &Target, pod: PodRef) -> io::Result<Box<dyn Stream>> {
    let connected = dunlin_tunnel::dial::connect(above, &Options::default()).await;
    let mut stream = connected.map_err(io::Error::other)?;
    let mut line = serde_json::to_vec(&Opening { pod: pod.uid, namespace: pod.namespace, name: pod.name })?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(Box::new(stream))
}

/// What the server does with connections home.
pub struct Carrier {
    /// The own API, to see whose pod it is.
    pub client: kube::Client,
    /// The own API's listener, for pods whose home it is.
    pub listener: String,
    /// Nodes that are machines of a cluster, which speaks for them.
    pub exposed: Arc<Exposed>,
    /// The uplink and the way up, once there are any.
    pub up: OnceLock<(Arc<UplinkHandle>, Target)>,
}

impl Carrier {
    /// Takes a connection that `node` has opened.
    pub async fn carry(&self, node: &str, mut stream: impl Stream) {
        let opened = async {
            let pod = opening(&mut stream).await?;
            self.connect(node, &pod).await
        };
        match tokio::time::timeout(PATIENCE, opened).await {
            Ok(Ok(mut onward)) => {
                // How a connection ends is its peers' business.
                let _ =
                    tokio::io::copy_bidirectional_with_sizes(&mut stream, &mut onward, BUFFER, BUFFER).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(node, error = chain(&error), "a pod's connection home was not carried")
            }
            Err(_) => tracing::debug!(node, "a pod's connection home was not opened in time"),
        }
    }

    /// Opens the next part of the way for a pod of this server's API, which must be bound to `node`.
    pub async fn connect(&self, node: &str, pod: &PodRef) -> io::Result<Box<dyn Stream>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let found = pods.get_opt(&pod.name).await.map_err(io::Error::other)?;
        let found = found.filter(|found| found.metadata.uid.as_deref() == Some(&*pod.uid));
        let found = found.filter(|found| {
            let on = found.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
            on == node || self.exposed.cluster_of(on).is_some_and(|cluster| cluster == node)
        });
        let found = found.ok_or_else(|| {
            let PodRef { namespace, name, uid } = pod;
            io::Error::other(format!("no pod {namespace}/{name} of uid {uid:?} is bound to node {node:?}"))
        })?;
        if let Some((uplink, above)) = self.up.get() {
            match uplink.upper_of(&found) {
                Upper::None => {}
                Upper::Pod(upper) => return dial(above, upper).await,
                Upper::Unknown => return Err(io::Error::other("the parent has not told of the pod yet")),
            }
        }
        let stream = TcpStream::connect(&self.listener).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    /// The same for the node in this process.
    pub fn local(self: &Arc<Self>, node: &str) -> dunlin_agent::HomeDial {
        let (carrier, node) = (self.clone(), node.to_owned());
        Arc::new(move |pod| -> Connecting {
            let (carrier, node) = (carrier.clone(), node.clone());
            Box::pin(async move { carrier.connect(&node, &pod).await })
        })
    }
}

/// Reads the opening line, byte by byte: what follows it is not ours.
async fn opening(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<PodRef> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => break,
            _ if line.len() >= LONGEST => return Err(io::Error::other("the opening line is too long")),
            byte => line.push(byte),
        }
    }
    let opening: Opening = serde_json::from_slice(&line)?;
    Ok(PodRef { namespace: opening.namespace, name: opening.name, uid: opening.pod })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_opening_is_one_short_line() {
        let read = |bytes: &'static [u8]| async move { opening(&mut &*bytes).await };
        let said = read(b"{\"pod\":\"u\",\"namespace\":\"n\",\"name\":\"p\"}\nrest").await.unwrap();
        assert_eq!((&*said.uid, &*said.namespace, &*said.name), ("u", "n", "p"));
        assert!(read(b"{\"pod\":\"u\",\"namespace\":\"n\",\"name\":\"p\",\"more\":1}\n").await.is_err());
        assert!(read(b"GET / HTTP/1.1\n").await.is_err());
        assert!(read(&[b'a'; 600]).await.is_err());
    }
}
