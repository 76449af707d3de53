//! What pods use, asked of the API again and again and delivered like any other list.

use std::time::Duration;

use dunlin_base::error::chain;
use dunlin_control::model::{Held, PodMetrics};
use kube::Client;
use tokio::sync::mpsc;

use crate::informer::{Change, News};
use crate::kinds::{self, Any};

/// How often is asked: as often as autoscalers look.
const EVERY: Duration = Duration::from_secs(15);
const PATH: &str = "/apis/metrics.k8s.io/v1beta1/pods";

/// Runs until the receiver is gone.
pub async fn follow(client: Client, to: mpsc::Sender<Change>) {
    loop {
        match list(&client).await {
            Ok(all) => {
                let news = News::All(all);
                let resource = PodMetrics::RESOURCE.into();
                if to.send(Change { resource, metadata_only: false, version: 0, news }).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(error, "what pods use is not known"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn list(client: &Client) -> Result<Vec<Any>, String> {
    let request = http::Request::get(PATH).header(http::header::ACCEPT, "application/json");
    let request = request.body(Vec::new()).expect("the path is a constant");
    let text = client.request_text(request).await.map_err(|error| chain(&error))?;
    kinds::list(&text, Any::PodMetrics).map(|page| page.items).map_err(|error| error.to_string())
}
