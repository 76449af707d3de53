//! One connection into a pod: the node is called, and bytes are passed on both ways until both are at their end.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::Far;
use crate::body::{self, BoxBody};
use crate::refusal::Refusal;
use crate::stream::{Gone, Piece, Receiving, Sending};

/// Pieces on their way to the node; a pod that does not read slows the client down.
const PIECES: usize = 4;

/// The pod to which ports are forwarded.
pub struct Pod {
    pub name: String,
    pub uid: String,
    pub far: Arc<dyn Far>,
    /// Whether the client can end its own direction; if not, the end of the pod's is the end of a connection.
    pub half_close: bool,
}

/// Runs one connection. `error` gets a message if it cannot be made or breaks, and ends with it.
pub async fn run(pod: Arc<Pod>, port: u16, input: Receiving, data: Sending, error: Sending) {
    let ended = match connect(&pod, port).await {
        Ok((to_pod, response)) => pump(&pod, input, &data, &error, to_pod, response).await,
        Err(refusal) => Err(Ended::Failed(refusal.message)),
    };
    if let Err(Ended::Failed(message)) = ended {
        let text = format!("error forwarding port {port} to pod {}, uid {}: {message}", pod.name, pod.uid);
        tracing::debug!(port, pod = pod.name, error = %message, "a forwarded connection failed");
        // Whether the client still hears it is its own affair.
        let _ = error.data(Bytes::from(text)).await;
        data.finish().await;
        error.finish().await;
    }
}

async fn connect(pod: &Pod, port: u16) -> Result<(mpsc::Sender<Bytes>, Response<BoxBody>), Refusal> {
    let (to_pod, from_client) = mpsc::channel::<Bytes>(PIECES);
    let response = pod.far.call(format!("portforward/{port}"), body::channel(from_client)).await?;
    Ok((to_pod, response))
}

/// Why a connection ended before both directions were at their end.
enum Ended {
    /// The client wants no more of it, or is gone.
    Unwanted,
    /// The way to the pod broke.
    Failed(String),
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Self {
        Self::Unwanted
    }
}

async fn pump(
    pod: &Pod,
    mut input: Receiving,
    data: &Sending,
    error: &Sending,
    to_pod: mpsc::Sender<Bytes>,
    response: Response<BoxBody>,
) -> Result<(), Ended> {
    // The end of the call's body, which comes with the end of this, is the end for the pod.
    let upstream = async move {
        loop {
            match input.recv().await {
                // A pod that reads no more may still have something to say; the end or the reset must be heard.
                Some(Piece::Data(bytes)) => drop(to_pod.send(bytes).await),
                Some(Piece::Fin) => return Ok(()),
                None => return Err(Ended::Unwanted),
            }
        }
    };
    let downstream = async {
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            match frame.map(|f| f.into_data()) {
                Ok(Ok(bytes)) if !bytes.is_empty() => data.data(bytes).await?,
                Ok(_) => {}
                Err(source) => return Err(Ended::Failed(dunlin_base::error::chain(&*source).to_string())),
            }
        }
        // Told at once, not when the client has ended as well: kubectl closes its side only after this.
        data.finish().await;
        error.finish().await;
        if pod.half_close { Ok(()) } else { Err(Ended::Unwanted) }
    };
    tokio::try_join!(upstream, downstream).map(drop)
}
