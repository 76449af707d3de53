//! From what pods use to how many there should be.
//!
//! Pods that are not ready, or of which nothing is known, must not make the size swing: when it would grow they count as
//! using nothing, when it would shrink those of which nothing is known count as using all of theirs.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Pod, PodMetrics};

/// For so long after its start the CPU use of a pod that is not ready says nothing, in seconds.
const CPU_INITIALISATION: i64 = 300;
/// Within so long after its start a pod that was never ready is expected to become so, in seconds.
const INITIAL_READINESS: i64 = 30;

/// What each pod should use.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// Hundredths of what it requests.
    Utilization(i64),
    /// An amount.
    AverageValue(i64),
}

/// One metric of one target.
pub struct Question<'a> {
    pub pods: &'a [Arc<Pod>],
    pub metrics: &'a HashMap<Arc<str>, Arc<PodMetrics>>,
    pub resource: &'a str,
    pub container: Option<&'a str>,
    pub goal: Goal,
    pub current: i32,
    /// By which part the use may be over or under the goal without consequence.
    pub tolerance: (f64, f64),
    pub now: i64,
}

/// The answer, with what is used now.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub replicas: i32,
    pub utilization: Option<i64>,
    pub average: i64,
}

/// Whether a use in relation to the goal is without consequence.
pub fn tolerates((over, under): (f64, f64), ratio: f64) -> bool {
    (1.0 - under..=1.0 + over).contains(&ratio)
}

impl Question<'_> {
    /// # Errors
    /// Why it cannot be told.
    pub fn answer(&self) -> Result<Answer, String> {
        if self.pods.is_empty() {
            return Err("no pods returned by selector while calculating replica count".to_owned());
        }
        let mut used: HashMap<&Arc<str>, i64> = HashMap::new();
        let (mut ready, mut unready, mut missing) = (0, Vec::new(), Vec::new());
        for pod in self.pods {
            let name = &pod.metadata.name;
            if pod.metadata.is_deleting() || &*pod.status.phase == "Failed" {
                continue;
            }
            let usage = self.metrics.get(name).map(|metrics| self.usage(pod, metrics)).transpose()?;
            match usage {
                _ if &*pod.status.phase == "Pending" => unready.push(name),
                None => missing.push(name),
                Some(_) if self.resource == "cpu" && self.is_starting(pod) => unready.push(name),
                Some(usage) => {
                    ready += 1;
                    used.insert(name, usage);
                }
            }
        }
        if used.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
        }
        let requests = self.requests()?;
        let (ratio, utilization, average) = self.ratio(&used, &requests);
        let answer = |replicas| Ok(Answer { replicas, utilization, average });
        let size = |ratio: f64, pods: usize| (ratio * pods as f64).ceil() as i32;
        let grows_with_unready = !unready.is_empty() && ratio > 1.0;
        if !grows_with_unready && missing.is_empty() {
            return answer(if self.tolerates(ratio) { self.current } else { size(ratio, ready) });
        }
        for name in missing {
            let full = match self.goal {
                Goal::Utilization(target) => {
                    requests.get(name).copied().unwrap_or(0).saturating_mul(target.max(100)) / 100
                }
                Goal::AverageValue(target) => target,
            };
            used.insert(name, if ratio < 1.0 { full } else { 0 });
        }
        if grows_with_unready {
            used.extend(unready.into_iter().map(|name| (name, 0)));
        }
        let (careful, ..) = self.ratio(&used, &requests);
        let turned = (ratio < 1.0 && careful > 1.0) || (ratio > 1.0 && careful < 1.0);
        let replicas = size(careful, used.len());
        let against =
            (careful < 1.0 && replicas > self.current) || (careful > 1.0 && replicas < self.current);
        answer(if self.tolerates(careful) || turned || against { self.current } else { replicas })
    }

    fn tolerates(&self, ratio: f64) -> bool {
        tolerates(self.tolerance, ratio)
    }

    fn usage(&self, pod: &Pod, metrics: &PodMetrics) -> Result<i64, String> {
        let all = metrics.containers.iter();
        let Some(name) = self.container else {
            return Ok(all.map(|container| container.usage.get(self.resource)).sum());
        };
        let found =
            all.filter(|container| &*container.name == name).map(|c| c.usage.get(self.resource)).next();
        found.ok_or_else(|| {
            let (namespace, pod) = (&pod.metadata.namespace, &pod.metadata.name);
            format!("container {name} not present in metrics for pod {namespace}/{pod}")
        })
    }

    /// Whether the pod uses what it uses because it starts.
    fn is_starting(&self, pod: &Pod) -> bool {
        let (Some(condition), Some(start)) = (pod.condition("Ready"), pod.status.start_time) else {
            return true;
        };
        let ready = &*condition.status == "True";
        let since = condition.last_transition_time.map_or(0, |at| at.0);
        if start.0 + CPU_INITIALISATION > self.now {
            let measured = self.metrics.get(&pod.metadata.name).and_then(|metrics| metrics.timestamp);
            return !ready || measured.is_some_and(|at| at.0 < since);
        }
        !ready && start.0 + INITIAL_READINESS > since
    }

    /// What every pod requests, if the goal is measured by it.
    fn requests(&self) -> Result<HashMap<&Arc<str>, i64>, String> {
        if !matches!(self.goal, Goal::Utilization(_)) {
            return Ok(HashMap::new());
        }
        let mut requests = HashMap::new();
        for pod in self.pods {
            let mut sum = 0;
            for (name, wanted) in &pod.spec.containers {
                if self.container.is_some_and(|one| one != &**name) {
                    continue;
                }
                match wanted.get(self.resource) {
                    0 => {
                        let (resource, pod) = (self.resource, &pod.metadata.name);
                        return Err(format!(
                            "missing request for {resource} in container {name} of Pod {pod}"
                        ));
                    }
                    amount => sum += amount,
                }
            }
            requests.insert(&pod.metadata.name, sum);
        }
        Ok(requests)
    }

    /// Use in relation to the goal, utilisation, and use of one pod on average.
    fn ratio(
        &self,
        used: &HashMap<&Arc<str>, i64>,
        requests: &HashMap<&Arc<str>, i64>,
    ) -> (f64, Option<i64>, i64) {
        let sum: i64 = used.values().sum();
        let average = sum / i64::try_from(used.len().max(1)).unwrap_or(1);
        match self.goal {
            Goal::Utilization(target) => {
                let wanted: i64 = used.keys().filter_map(|name| requests.get(*name)).sum();
                let utilization = sum.saturating_mul(100) / wanted.max(1);
                (utilization as f64 / target.max(1) as f64, Some(utilization), average)
            }
            Goal::AverageValue(target) => (average as f64 / target.max(1) as f64, None, average),
        }
    }
}
