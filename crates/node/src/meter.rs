//! What is used per second, from two readings; nothing is measured while nobody asks.
//!
//! The answer has the form of the kubelet's `/stats/summary`, as far as its fields are known. A reading that is a while
//! old serves as the first of the two; if there is none, two are taken a second apart.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::backend::{PodBackend, PodRef, Readings, ServeError, Usage};

/// An answer is given again for this long: readings closer together say little.
const FRESH: Duration = Duration::from_secs(5);
/// A reading older than this tells of another time.
const STALE: Duration = Duration::from_secs(90);
/// What lies between two readings that are taken for one answer.
const SHORT: Duration = Duration::from_secs(1);

/// The last reading and the answer that was made from it.
#[derive(Debug, Default)]
pub struct Meter {
    last: Mutex<Option<(Instant, Readings, Value)>>,
}

impl Meter {
    /// What the node and its pods use.
    ///
    /// # Errors
    /// When the backend cannot measure.
    pub async fn summary(&self, backend: &dyn PodBackend) -> Result<Value, ServeError> {
        // Held while waiting, so that many questions at once cost one measurement.
        let mut last = self.last.lock().await;
        let (before, first) = match last.take() {
            Some((at, readings, summary)) if at.elapsed() < FRESH => {
                *last = Some((at, readings, summary.clone()));
                return Ok(summary);
            }
            Some((at, readings, _)) if at.elapsed() < STALE => (at, readings),
            _ => {
                let first = (Instant::now(), backend.usage().await?);
                tokio::time::sleep(SHORT).await;
                first
            }
        };
        let (now, readings) = (Instant::now(), backend.usage().await?);
        let summary = summarise(&first, &readings, now - before, Timestamp::now());
        *last = Some((now, readings, summary.clone()));
        Ok(summary)
    }
}

fn summarise(before: &Readings, now: &Readings, between: Duration, time: Timestamp) -> Value {
    let known: HashMap<_, _> = before.containers.iter().map(|(of, usage)| (of, *usage)).collect();
    let describe = |before: Usage, now: Usage| {
        let used = now.cpu_nanoseconds.saturating_sub(before.cpu_nanoseconds);
        let per_second = used as f64 / between.as_secs_f64().max(0.001);
        json!({
            "cpu": {"time": time, "usageNanoCores": per_second.round() as u64, "usageCoreNanoSeconds": now.cpu_nanoseconds},
            "memory": {"time": time, "workingSetBytes": now.memory_working_set},
        })
    };
    let mut pods: Vec<(PodRef, Vec<Value>)> = Vec::new();
    for (of, usage) in &now.containers {
        // A container that began between the readings has begun with nothing.
        let mut container = describe(known.get(of).copied().unwrap_or_default(), *usage);
        container["name"] = json!(of.container);
        match pods.iter_mut().find(|(pod, _)| *pod == of.pod) {
            Some((_, containers)) => containers.push(container),
            None => pods.push((of.pod.clone(), vec![container])),
        }
    }
    let pods: Vec<Value> = pods
        .into_iter()
        .map(|(pod, containers)| {
            json!({"podRef": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid}, "containers": containers})
        })
        .collect();
    json!({"node": describe(before.node, now.node), "pods": pods, "windowSeconds": between.as_secs_f64()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ContainerRef;

    #[test]
    fn rates_are_differences_over_time() {
        let of = |name: &str| ContainerRef {
            pod: PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() },
            container: name.into(),
        };
        let usage = |cpu_nanoseconds, memory_working_set| Usage { cpu_nanoseconds, memory_working_set };
        let before = Readings { node: usage(1_000, 7), containers: vec![(of("a"), usage(500, 1))] };
        let now = Readings {
            node: usage(5_000, 8),
            // `a` was restarted, so that it has used less than before.
            containers: vec![(of("a"), usage(100, 2)), (of("b"), usage(4_000, 3))],
        };
        let summary = summarise(&before, &now, Duration::from_secs(2), Timestamp::UNIX_EPOCH);
        assert_eq!(summary["node"]["cpu"]["usageNanoCores"], 2_000);
        assert_eq!(summary["node"]["memory"]["workingSetBytes"], 8);
        let containers = &summary["pods"][0]["containers"];
        assert_eq!(
            (&containers[0]["cpu"]["usageNanoCores"], &containers[1]["cpu"]["usageNanoCores"]),
            (&json!(0), &json!(2_000))
        );
        assert_eq!(summary["pods"].as_array().map(Vec::len), Some(1));
    }
}
