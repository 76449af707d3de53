//! What autoscalers go by, asked of the API again and again: what pods use, delivered like any other list, and the metrics
//! that extension servers tell.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dunlin_api::quantity::Quantity;
use dunlin_base::error::chain;
use dunlin_control::controllers::autoscaler::custom::{Measure, Measured};
use dunlin_control::model::{Held, PodMetrics, milli};
use futures_util::{StreamExt, stream};
use kube::Client;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use crate::informer::{Change, News};
use crate::kinds::{self, Any};

/// How often is asked: as often as autoscalers look.
const EVERY: Duration = Duration::from_secs(15);
/// How long an extension server may take for one metric.
const PATIENCE: Duration = Duration::from_secs(10);
/// Metrics that are asked for at the same time.
const AT_ONCE: usize = 8;
const PATH: &str = "/apis/metrics.k8s.io/v1beta1/pods";
const CUSTOM: &str = "/custom.metrics.k8s.io/v1beta2/";
const OLDER: &str = "/custom.metrics.k8s.io/v1beta1/";

/// Runs until the receiver is gone. `wanted` are the paths of metrics that are needed beside what pods use.
pub async fn follow(client: Client, mut wanted: watch::Receiver<Vec<Arc<str>>>, to: mpsc::Sender<Change>) {
    loop {
        match list(&client).await {
            Ok(all) => {
                if to.send(change(News::All(all))).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(error, "what pods use is not known"),
        }
        let paths = wanted.borrow_and_update().clone();
        if !paths.is_empty() {
            let asked = paths.into_iter().map(|path| {
                let client = &client;
                async move { (path.clone(), measured(client, &path).await) }
            });
            let all: HashMap<_, _> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
            if to.send(change(News::Measured(all))).await.is_err() {
                return;
            }
        }
        // Whoever needs another one does not wait.
        if let Ok(Err(_)) = tokio::time::timeout(EVERY, wanted.changed()).await {
            return;
        }
    }
}

fn change(news: News) -> Change {
    Change { resource: PodMetrics::RESOURCE.into(), metadata_only: false, version: 0, news }
}

async fn list(client: &Client) -> Result<Vec<Any>, String> {
    let text = get(client, PATH).await.map_err(|error| chain(&error))?;
    kinds::list(&text, Any::PodMetrics).map(|page| page.items).map_err(|error| error.to_string())
}

async fn get(client: &Client, path: &str) -> Result<String, kube::Error> {
    let request = http::Request::get(path).header(http::header::ACCEPT, "application/json");
    client.request_text(request.body(Vec::new()).map_err(kube::Error::HttpError)?).await
}

async fn measured(client: &Client, path: &str) -> Measured {
    let asked = async {
        match get(client, path).await {
            // Older adapters serve the older version, which says the same.
            Err(error) if is_unserved(&error) && path.contains(CUSTOM) => {
                get(client, &path.replacen(CUSTOM, OLDER, 1)).await
            }
            answer => answer,
        }
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| "it does not answer")?;
    parse(&answer.map_err(|error| match error {
        error if is_unserved(&error) => {
            format!("this cluster does not serve {}", path.split('/').nth(2).unwrap_or_default())
        }
        kube::Error::Api(status) => status.message,
        error => chain(&error),
    })?)
}

/// Whether there is nobody who could answer: whoever does not know a metric says so in a `Status`.
fn is_unserved(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 && status.reason != "NotFound")
}

/// A `MetricValueList`, or an `ExternalMetricValueList`.
fn parse(text: &str) -> Measured {
    #[derive(Deserialize)]
    struct List {
        #[serde(default)]
        items: Vec<Item>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Item {
        #[serde(default)]
        described_object: Object,
        value: Quantity,
    }
    #[derive(Deserialize, Default)]
    struct Object {
        #[serde(default)]
        name: Arc<str>,
    }
    let list: List = serde_json::from_str(text).map_err(|error| format!("its answer: {error}"))?;
    let measure = |item: Item| Measure { of: item.described_object.name, value: milli(&item.value) };
    Ok(list.items.into_iter().map(measure).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_both_forms() {
        let custom = r#"{"kind": "MetricValueList", "items": [
            {"describedObject": {"kind": "Pod", "name": "a"}, "metric": {"name": "rps"}, "timestamp": null, "value": "1500m"},
            {"describedObject": {"kind": "Pod", "name": "b"}, "metricName": "rps", "value": "2k"}]}"#;
        let value = |of: &str, value| Measure { of: of.into(), value };
        assert_eq!(parse(custom).unwrap(), [value("a", 1500), value("b", 2_000_000)]);
        assert_eq!(parse(r#"{"items": [{"metricName": "q", "value": "7"}]}"#).unwrap(), [value("", 7000)]);
        assert_eq!(parse("{}").unwrap(), []);
        assert!(parse("<html>").unwrap_err().starts_with("its answer: "));
        assert!(parse(r#"{"items": [{"value": "much"}]}"#).is_err());
    }
}
