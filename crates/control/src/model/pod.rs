//! Pods, with what their containers ask for already summed up.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::{Condition, Held, Labels, Meta, Quantities, Time, projection};

projection! {
    pub struct Pod {
        pub metadata: Arc<Meta>,
        pub spec: PodSpec,
        pub status: PodStatus,
    }

    pub struct ContainerPort {
        pub name: Arc<str>,
        pub container_port: u16,
        pub host_port: u16,
        #[serde(rename = "hostIP")]
        pub host_ip: Arc<str>,
        pub protocol: Arc<str>,
    }

    pub struct Toleration {
        pub key: Arc<str>,
        pub operator: Arc<str>,
        pub value: Arc<str>,
        pub effect: Arc<str>,
        pub toleration_seconds: Option<i64>,
    }

    pub struct TopologySpread {
        pub max_skew: i64,
        pub topology_key: Arc<str>,
        pub when_unsatisfiable: Arc<str>,
        pub label_selector: Option<Arc<Value>>,
        pub min_domains: Option<i64>,
        pub match_label_keys: Vec<Arc<str>>,
        pub node_affinity_policy: Arc<str>,
        pub node_taints_policy: Arc<str>,
    }

    pub struct PodStatus {
        pub phase: Arc<str>,
        pub reason: Arc<str>,
        pub message: Arc<str>,
        pub conditions: Vec<Condition>,
        #[serde(rename = "hostIP")]
        pub host_ip: Arc<str>,
        #[serde(rename = "podIP")]
        pub pod_ip: Arc<str>,
        #[serde(rename = "podIPs")]
        pub pod_ips: Vec<PodIp>,
        pub start_time: Option<Time>,
        pub nominated_node_name: Arc<str>,
        pub container_statuses: Vec<ContainerStatus>,
        pub init_container_statuses: Vec<ContainerStatus>,
    }

    pub struct PodIp {
        pub ip: Arc<str>,
    }

    pub struct ContainerStatus {
        pub name: Arc<str>,
        pub ready: bool,
        pub restart_count: i64,
        pub state: ContainerState,
    }

    pub struct ContainerState {
        pub terminated: Option<Terminated>,
    }

    pub struct Terminated {
        pub exit_code: i32,
        pub reason: Arc<str>,
        pub finished_at: Option<Time>,
    }
}

/// `spec` of a pod without its containers, of which only sums and names are kept.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "Raw")]
pub struct PodSpec {
    pub node_name: Arc<str>,
    pub scheduler_name: Arc<str>,
    pub service_account_name: Arc<str>,
    pub priority: i32,
    pub preemption_policy: Arc<str>,
    pub node_selector: Labels,
    pub affinity: Option<Arc<Value>>,
    pub tolerations: Vec<Toleration>,
    pub topology_spread_constraints: Vec<TopologySpread>,
    pub restart_policy: Arc<str>,
    pub runtime_class_name: Arc<str>,
    pub host_network: bool,
    pub hostname: Arc<str>,
    pub subdomain: Arc<str>,
    pub scheduling_gates: Vec<Arc<str>>,
    pub termination_grace_period_seconds: Option<i64>,
    pub active_deadline_seconds: Option<i64>,
    /// What the pod needs on a node, after KEP-753: the larger of all containers together and of each moment of
    /// initialisation, plus the overhead.
    pub requests: Quantities,
    /// Every container's ports, host ports among them.
    pub ports: Vec<ContainerPort>,
    /// Images of the containers.
    pub images: Vec<Arc<str>>,
    /// Volumes whose content is on a claim: the pod is where they are.
    pub claims: Vec<ClaimVolume>,
}

projection! {
    pub struct Raw {
        pub node_name: Arc<str>,
        pub scheduler_name: Arc<str>,
        pub service_account_name: Arc<str>,
        pub priority: i32,
        pub preemption_policy: Arc<str>,
        pub node_selector: Labels,
        pub affinity: Option<Arc<Value>>,
        pub tolerations: Vec<Toleration>,
        pub topology_spread_constraints: Vec<TopologySpread>,
        pub restart_policy: Arc<str>,
        pub runtime_class_name: Arc<str>,
        pub host_network: bool,
        pub hostname: Arc<str>,
        pub subdomain: Arc<str>,
        pub scheduling_gates: Vec<Gate>,
        pub termination_grace_period_seconds: Option<i64>,
        pub active_deadline_seconds: Option<i64>,
        pub containers: Vec<Container>,
        pub init_containers: Vec<Container>,
        pub overhead: Quantities,
        pub resources: Requests,
        pub volumes: Vec<Volume>,
    }

    pub struct Volume {
        pub name: Arc<str>,
        pub persistent_volume_claim: Option<ClaimSource>,
        pub ephemeral: Option<EphemeralSource>,
    }

    pub struct ClaimSource {
        pub claim_name: Arc<str>,
    }

    pub struct EphemeralSource {
        pub volume_claim_template: Arc<Value>,
    }

    pub struct Gate {
        pub name: Arc<str>,
    }

    pub struct Container {
        pub image: Arc<str>,
        pub restart_policy: Arc<str>,
        pub ports: Vec<ContainerPort>,
        pub resources: Requests,
    }

    pub struct Requests {
        pub requests: Quantities,
        pub limits: Quantities,
    }
}

/// A volume on a claim: one that is named, or one that is made for the pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClaimVolume {
    pub volume: Arc<str>,
    claim: Option<Arc<str>>,
    /// The template of an ephemeral volume's claim, which the pod owns.
    pub template: Option<Arc<Value>>,
}

impl ClaimVolume {
    /// The claim's name, in the namespace of `pod`.
    pub fn claim(&self, pod: &Pod) -> Arc<str> {
        match &self.claim {
            Some(name) => name.clone(),
            None => format!("{}-{}", pod.metadata.name, self.volume).into(),
        }
    }
}

impl Requests {
    /// Requests, and limits where only those were given (the API server defaults them so as well).
    fn wanted(&self) -> Quantities {
        let mut wanted = self.limits.clone();
        wanted.0.extend(self.requests.0.iter().map(|(name, amount)| (name.clone(), *amount)));
        wanted
    }
}

impl From<Raw> for PodSpec {
    fn from(raw: Raw) -> Self {
        Self {
            requests: raw.needed(),
            ports: raw
                .containers
                .iter()
                .chain(&raw.init_containers)
                .flat_map(|c| c.ports.iter().cloned())
                .collect(),
            images: raw.containers.iter().map(|c| c.image.clone()).collect(),
            claims: raw
                .volumes
                .iter()
                .filter(|v| v.persistent_volume_claim.is_some() || v.ephemeral.is_some())
                .map(|v| ClaimVolume {
                    volume: v.name.clone(),
                    claim: v.persistent_volume_claim.as_ref().map(|source| source.claim_name.clone()),
                    template: v.ephemeral.as_ref().map(|source| source.volume_claim_template.clone()),
                })
                .collect(),
            node_name: raw.node_name,
            scheduler_name: raw.scheduler_name,
            service_account_name: raw.service_account_name,
            priority: raw.priority,
            preemption_policy: raw.preemption_policy,
            node_selector: raw.node_selector,
            affinity: raw.affinity,
            tolerations: raw.tolerations,
            topology_spread_constraints: raw.topology_spread_constraints,
            restart_policy: raw.restart_policy,
            runtime_class_name: raw.runtime_class_name,
            host_network: raw.host_network,
            hostname: raw.hostname,
            subdomain: raw.subdomain,
            scheduling_gates: raw.scheduling_gates.into_iter().map(|gate| gate.name).collect(),
            termination_grace_period_seconds: raw.termination_grace_period_seconds,
            active_deadline_seconds: raw.active_deadline_seconds,
        }
    }
}

impl Raw {
    fn needed(&self) -> Quantities {
        let mut running = Quantities::default();
        for container in &self.containers {
            running.add(&container.resources.wanted());
        }
        // Sidecars stay up beside everything that starts after them.
        let mut sidecars = Quantities::default();
        let mut starting = Quantities::default();
        for container in &self.init_containers {
            let wanted = container.resources.wanted();
            if &*container.restart_policy == "Always" {
                sidecars.add(&wanted);
                starting.raise_to(&sidecars);
            } else {
                let mut moment = sidecars.clone();
                moment.add(&wanted);
                starting.raise_to(&moment);
            }
        }
        running.add(&sidecars);
        running.raise_to(&starting);
        // Requests of the whole pod replace the sums (KEP-2837).
        running.0.extend(self.resources.wanted().0);
        running.add(&self.overhead);
        running
    }
}

impl Pod {
    /// Whether the condition `kind` is `True`.
    pub fn is(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|c| &*c.status == "True")
    }

    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| &*c.kind == kind)
    }

    pub fn is_ready(&self) -> bool {
        self.is("Ready")
    }

    /// Whether the pod has ended for good.
    pub fn is_finished(&self) -> bool {
        matches!(&*self.status.phase, "Succeeded" | "Failed")
    }

    /// Neither finished nor being deleted.
    pub fn is_active(&self) -> bool {
        !self.is_finished() && self.metadata.deletion_timestamp.is_none()
    }

    /// Ready for at least `min_ready` seconds.
    pub fn is_available(&self, min_ready: i64, now: i64) -> bool {
        let Some(ready) = self.condition("Ready").filter(|c| &*c.status == "True") else { return false };
        min_ready == 0 || ready.last_transition_time.is_some_and(|since| since.0 + min_ready <= now)
    }

    /// Whether the pod uses the claim of this name in its namespace.
    pub fn uses_claim(&self, name: &str) -> bool {
        self.spec.claims.iter().any(|volume| &*volume.claim(self) == name)
    }

    /// Ports that the pod takes on its node.
    pub fn host_ports(&self) -> impl Iterator<Item = &ContainerPort> {
        self.spec.ports.iter().filter(|port| port.host_port != 0)
    }
}

impl Held for Pod {
    const RESOURCE: &'static str = "pods";

    fn metadata(&self) -> &Arc<Meta> {
        &self.metadata
    }

    fn node(&self) -> Option<&Arc<str>> {
        Some(&self.spec.node_name).filter(|node| !node.is_empty())
    }
}
