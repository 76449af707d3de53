//! As many replicas as keep what the pods use at a target.
//!
//! The last recommendations and changes of size decide how fast it may go; they are handed from plan to plan
//! ([`History`]) and not written anywhere: after a restart an autoscaler begins with the size that it finds.
//! Source: the algorithm of the HorizontalPodAutoscaler documentation, KEP-853, KEP-1610, KEP-4951.

mod behavior;
mod calculator;
pub mod custom;
mod metrics;

use std::sync::Arc;

use serde_json::{Value, json};

use super::common::{self, Conditions};
use crate::model::{Held, HorizontalPodAutoscaler, Key, Pod, Time};
use crate::plan::{Action, Plan, Precondition, Report};
use crate::view::View;
pub use behavior::History;
use metrics::Proposal;

const COMPONENT: &str = "horizontal-pod-autoscaler";
/// How often an autoscaler looks, in seconds.
const EVERY: i64 = 15;

/// What is scaled.
struct Target {
    key: Key,
    uid: Arc<str>,
    wanted: i32,
    current: i32,
    selector: Arc<Value>,
}

pub fn plan(view: &View, key: &Key, now: i64, _seed: u64) -> (Plan, Report) {
    let (mut plan, mut report) = (Plan::default(), Report::default());
    let Some(scaler) = view.autoscalers.by_key(key).cloned() else { return (plan, report) };
    if scaler.metadata.is_deleting() {
        return (plan, report);
    }
    plan.again_at(now + EVERY);
    let mut conditions = Conditions::new(&scaler.status.conditions);
    let this = Scaler { key, scaler: &scaler, now };
    let target = match target(view, key, &scaler) {
        Ok(target) => target,
        Err(why) => {
            let text = format!("the HPA controller was unable to get the target's current scale: {why}");
            conditions.set("AbleToScale", false, "FailedGetScale", &text, now, false);
            this.warn(&mut plan, "FailedGetScale", &why);
            report.waits(why);
            this.status(&mut plan, conditions, Outcome::default());
            return (plan, report);
        }
    };
    let text = "the HPA controller was able to get the target's current scale";
    conditions.set("AbleToScale", true, "SucceededGetScale", text, now, false);
    let outcome = this.decide(view, &mut plan, &mut report, &target, &mut conditions);
    this.status(&mut plan, conditions, outcome);
    (plan, report)
}

/// The paths at which the API tells the metrics of an autoscaler that an extension server measures.
pub fn paths(view: &View, scaler: &HorizontalPodAutoscaler) -> Vec<Arc<str>> {
    if scaler
        .spec
        .metrics
        .iter()
        .all(|metric| metric["type"].as_str().is_some_and(|t| t.ends_with("Resource")))
    {
        return Vec::new();
    }
    let target = target(view, &scaler.key(), scaler);
    target.map_or_else(|_| Vec::new(), |target| custom::paths(view, scaler, &target.selector))
}

/// What a decision means for the status.
#[derive(Default)]
struct Outcome {
    current: i32,
    /// `None`: it could not be found out.
    desired: Option<i32>,
    metrics: Option<Vec<Value>>,
    rescaled: bool,
}

/// One autoscaler while it is planned.
struct Scaler<'a> {
    key: &'a Key,
    scaler: &'a HorizontalPodAutoscaler,
    now: i64,
}

impl Scaler<'_> {
    fn warn(&self, plan: &mut Plan, reason: &str, message: &str) {
        let told = self.scaler.status.conditions.iter().any(|c| c.message.contains(message));
        if !told {
            let message = message.to_owned();
            plan.push(common::warning(self.key, &self.scaler.metadata, COMPONENT, reason, message));
        }
    }

    fn decide(
        &self,
        view: &View,
        plan: &mut Plan,
        report: &mut Report,
        target: &Target,
        conditions: &mut Conditions,
    ) -> Outcome {
        let spec = &self.scaler.spec;
        let (least, most) = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
        let now = self.now;
        let mut history = view
            .histories
            .get(self.key)
            .map_or_else(|| History::starting(target.wanted, now), |history| History::clone(history));
        let mut outcome = Outcome { current: target.current, ..Outcome::default() };
        let (desired, why) = if target.wanted == 0 && least != 0 {
            let text = "scaling is disabled since the replica count of the target is zero";
            conditions.set("ScalingActive", false, "ScalingDisabled", text, now, false);
            (0, String::new())
        } else if target.wanted > most {
            (most, "Current number of replicas above Spec.MaxReplicas".to_owned())
        } else if target.wanted < least {
            (least, "Current number of replicas below Spec.MinReplicas".to_owned())
        } else {
            let pods = pods_of(view, self.key, &target.selector);
            let proposal =
                match metrics::propose(view, self.scaler, &target.selector, &pods, target.wanted, now) {
                    Ok(proposal) => proposal,
                    Err(failure) => {
                        conditions.set(
                            "ScalingActive",
                            false,
                            failure.reason,
                            &failure.condition,
                            now,
                            false,
                        );
                        self.warn(plan, failure.reason, &failure.message);
                        report.waits(failure.message.clone());
                        return outcome;
                    }
                };
            let Proposal { replicas, metric, statuses } = proposal;
            let text = format!("the HPA was able to successfully calculate a replica count from {metric}");
            conditions.set("ScalingActive", true, "ValidMetricFound", &text, now, false);
            outcome.metrics = Some(statuses);
            let limits = behavior::Limits { current: target.wanted, least, most, now };
            let desired = history.normalise(spec.behavior.as_deref(), replicas, limits, conditions);
            let why = match desired.cmp(&target.wanted) {
                std::cmp::Ordering::Greater => format!("{metric} above target"),
                _ => "All metrics below target".to_owned(),
            };
            (desired, why)
        };
        outcome.desired = Some(desired);
        if desired != target.wanted {
            outcome.rescaled = true;
            history.resized(target.wanted, desired, now);
            plan.push(Action::Patch {
                target: target.key.clone(),
                subresource: Some("scale"),
                patch: json!({"spec": {"replicas": desired}}),
                only_if: Precondition::uid(&target.uid),
            });
            let text = format!("New size: {desired}; reason: {why}");
            plan.push(common::event(self.key, &self.scaler.metadata, COMPONENT, "SuccessfulRescale", text));
            let text = format!("the HPA controller was able to update the target scale to {desired}");
            conditions.set("AbleToScale", true, "SucceededRescale", &text, now, false);
        }
        plan.history = Some(Arc::new(history));
        outcome
    }

    fn status(&self, plan: &mut Plan, conditions: Conditions, outcome: Outcome) {
        let old = &self.scaler.status;
        let before = json!({
            "observedGeneration": old.observed_generation, "currentReplicas": old.current_replicas,
            "desiredReplicas": old.desired_replicas, "currentMetrics": *old.current_metrics,
        });
        let mut new = json!({
            "currentReplicas": outcome.current, "desiredReplicas": outcome.desired.unwrap_or(old.desired_replicas),
        });
        // Autoscalers have no generation in this API, as in Kubernetes.
        if self.scaler.metadata.generation > 0 {
            new["observedGeneration"] = json!(self.scaler.metadata.generation);
        }
        if let Some(metrics) = outcome.metrics {
            new["currentMetrics"] = json!(metrics);
        }
        if outcome.rescaled {
            new["lastScaleTime"] = json!(Time(self.now).to_string());
        }
        if let Some(conditions) = conditions.into_changed() {
            new["conditions"] = conditions;
        }
        common::patch_status(plan, self.key, &self.scaler.metadata, &before, new);
    }
}

fn target(view: &View, key: &Key, scaler: &HorizontalPodAutoscaler) -> Result<Target, String> {
    let reference = &scaler.spec.scale_target_ref;
    let (namespace, name) = (&key.namespace, &reference.name);
    macro_rules! of {
        ($table:ident) => {
            view.$table.get(namespace, name).map(|found| Target {
                key: found.key(),
                uid: found.metadata.uid.clone(),
                wanted: found.spec.replicas.unwrap_or(1),
                current: found.status.replicas,
                selector: found.spec.selector.clone(),
            })
        };
    }
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    let (found, plural) = match (group, &*reference.kind) {
        ("apps", "Deployment") => (of!(deployments), "deployments"),
        ("apps", "ReplicaSet") => (of!(replica_sets), "replicasets"),
        ("apps", "StatefulSet") => (of!(stateful_sets), "statefulsets"),
        (_, kind) => {
            let version = &reference.api_version;
            return Err(format!(
                "{kind} of {version} cannot be scaled here: there are Deployment, ReplicaSet and StatefulSet of apps/v1"
            ));
        }
    };
    found.ok_or_else(|| format!("{plural}.apps {name:?} not found"))
}

fn pods_of(view: &View, key: &Key, selector: &Value) -> Vec<Arc<Pod>> {
    let mut pods = view.pods.in_namespace(&key.namespace);
    pods.retain(|pod| crate::labels::matches(selector, &pod.metadata.labels));
    pods
}
