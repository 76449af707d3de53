//! What makes pods: deployments, replica sets, daemon sets and jobs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::base::held;
use super::{Condition, Meta, Time, projection};

projection! {
    pub struct ReplicaSet {
        pub metadata: Arc<Meta>,
        pub spec: ReplicaSetSpec,
        pub status: ReplicaSetStatus,
    }

    pub struct ReplicaSetSpec {
        pub replicas: Option<i32>,
        pub min_ready_seconds: i64,
        /// `metav1.LabelSelector`.
        pub selector: Arc<Value>,
        pub template: Arc<Value>,
    }

    pub struct ReplicaSetStatus {
        pub observed_generation: i64,
        pub replicas: i32,
        pub fully_labeled_replicas: i32,
        pub ready_replicas: i32,
        pub available_replicas: i32,
        pub terminating_replicas: Option<i32>,
        pub conditions: Vec<Condition>,
    }

    pub struct Deployment {
        pub metadata: Arc<Meta>,
        pub spec: DeploymentSpec,
        pub status: DeploymentStatus,
    }

    pub struct DeploymentSpec {
        pub replicas: Option<i32>,
        pub selector: Arc<Value>,
        pub template: Arc<Value>,
        pub strategy: Strategy,
        pub min_ready_seconds: i64,
        pub revision_history_limit: Option<i32>,
        pub paused: bool,
        pub progress_deadline_seconds: Option<i64>,
    }

    pub struct Strategy {
        #[serde(rename = "type")]
        pub kind: Arc<str>,
        pub rolling_update: RollingUpdate,
    }

    /// Each a number or a percentage.
    pub struct RollingUpdate {
        pub max_surge: Value,
        pub max_unavailable: Value,
        pub partition: Option<i32>,
    }

    pub struct DeploymentStatus {
        pub observed_generation: i64,
        pub replicas: i32,
        pub updated_replicas: i32,
        pub ready_replicas: i32,
        pub available_replicas: i32,
        pub unavailable_replicas: i32,
        pub terminating_replicas: Option<i32>,
        pub collision_count: Option<i32>,
        pub conditions: Vec<Condition>,
    }

    pub struct DaemonSet {
        pub metadata: Arc<Meta>,
        pub spec: DaemonSetSpec,
        pub status: DaemonSetStatus,
    }

    pub struct DaemonSetSpec {
        pub selector: Arc<Value>,
        pub template: Arc<Value>,
        pub update_strategy: Strategy,
        pub min_ready_seconds: i64,
        pub revision_history_limit: Option<i32>,
    }

    pub struct DaemonSetStatus {
        pub observed_generation: i64,
        pub current_number_scheduled: i32,
        pub number_misscheduled: i32,
        pub desired_number_scheduled: i32,
        pub number_ready: i32,
        pub updated_number_scheduled: i32,
        pub number_available: i32,
        pub number_unavailable: i32,
        pub collision_count: Option<i32>,
    }

    pub struct StatefulSet {
        pub metadata: Arc<Meta>,
        pub spec: StatefulSetSpec,
        pub status: StatefulSetStatus,
    }

    pub struct StatefulSetSpec {
        pub replicas: Option<i32>,
        pub selector: Arc<Value>,
        pub template: Arc<Value>,
        pub service_name: Arc<str>,
        /// Claims that every pod has of its own.
        pub volume_claim_templates: Vec<Arc<Value>>,
        pub pod_management_policy: Arc<str>,
        pub update_strategy: Strategy,
        pub revision_history_limit: Option<i32>,
        pub min_ready_seconds: i64,
        pub persistent_volume_claim_retention_policy: ClaimRetention,
        pub ordinals: Ordinals,
    }

    /// `Retain` or `Delete`; empty is `Retain`.
    pub struct ClaimRetention {
        pub when_deleted: Arc<str>,
        pub when_scaled: Arc<str>,
    }

    pub struct Ordinals {
        pub start: i64,
    }

    pub struct StatefulSetStatus {
        pub observed_generation: i64,
        pub replicas: i32,
        pub ready_replicas: i32,
        pub available_replicas: i32,
        pub current_replicas: i32,
        pub updated_replicas: i32,
        pub current_revision: Arc<str>,
        pub update_revision: Arc<str>,
        pub collision_count: Option<i32>,
    }

    pub struct ControllerRevision {
        pub metadata: Arc<Meta>,
        pub data: Arc<Value>,
        pub revision: i64,
    }

    pub struct PodDisruptionBudget {
        pub metadata: Arc<Meta>,
        pub spec: BudgetSpec,
        pub status: BudgetStatus,
    }

    /// Each a number or a percentage, one of them at most.
    pub struct BudgetSpec {
        pub min_available: Value,
        pub max_unavailable: Value,
        pub selector: Arc<Value>,
    }

    pub struct BudgetStatus {
        pub observed_generation: i64,
        pub disruptions_allowed: i32,
        pub current_healthy: i32,
        pub desired_healthy: i32,
        pub expected_pods: i32,
        /// Pods whose eviction was granted and was not seen yet, and when.
        pub disrupted_pods: BTreeMap<Arc<str>, Time>,
        pub conditions: Vec<Condition>,
    }

    pub struct CronJob {
        pub metadata: Arc<Meta>,
        pub spec: CronJobSpec,
        pub status: CronJobStatus,
    }

    pub struct CronJobSpec {
        pub schedule: Arc<str>,
        pub time_zone: Option<Arc<str>>,
        pub starting_deadline_seconds: Option<i64>,
        pub concurrency_policy: Arc<str>,
        pub suspend: bool,
        pub job_template: Arc<Value>,
        pub successful_jobs_history_limit: Option<i32>,
        pub failed_jobs_history_limit: Option<i32>,
    }

    pub struct CronJobStatus {
        pub active: Vec<ObjectReference>,
        pub last_schedule_time: Option<Time>,
        pub last_successful_time: Option<Time>,
    }

    pub struct ObjectReference {
        pub kind: Arc<str>,
        pub namespace: Arc<str>,
        pub name: Arc<str>,
        pub uid: Arc<str>,
    }

    pub struct Job {
        pub metadata: Arc<Meta>,
        pub spec: JobSpec,
        pub status: JobStatus,
    }

    pub struct JobSpec {
        pub parallelism: Option<i32>,
        pub completions: Option<i32>,
        pub completion_mode: Arc<str>,
        pub backoff_limit: Option<i32>,
        pub backoff_limit_per_index: Option<i32>,
        pub max_failed_indexes: Option<i32>,
        pub active_deadline_seconds: Option<i64>,
        pub ttl_seconds_after_finished: Option<i64>,
        pub suspend: bool,
        pub manual_selector: bool,
        pub managed_by: Option<Arc<str>>,
        pub pod_replacement_policy: Arc<str>,
        pub pod_failure_policy: Option<Arc<Value>>,
        pub success_policy: Option<Arc<Value>>,
        pub selector: Arc<Value>,
        pub template: Arc<Value>,
    }

    pub struct JobStatus {
        pub active: i32,
        pub ready: Option<i32>,
        pub terminating: Option<i32>,
        pub succeeded: i32,
        pub failed: i32,
        pub start_time: Option<Time>,
        pub completion_time: Option<Time>,
        pub completed_indexes: Arc<str>,
        pub failed_indexes: Option<Arc<str>>,
        pub uncounted_terminated_pods: Option<Arc<Value>>,
        pub conditions: Vec<Condition>,
    }
}

held! {
    ReplicaSet = "replicasets.apps",
    Deployment = "deployments.apps",
    DaemonSet = "daemonsets.apps",
    StatefulSet = "statefulsets.apps",
    ControllerRevision = "controllerrevisions.apps",
    PodDisruptionBudget = "poddisruptionbudgets.policy",
    CronJob = "cronjobs.batch",
    Job = "jobs.batch",
}

impl Job {
    /// The condition `Complete` or `Failed` of a job that has ended.
    pub fn finished(&self) -> Option<&Condition> {
        let ended = |c: &&Condition| matches!(&*c.kind, "Complete" | "Failed") && &*c.status == "True";
        self.status.conditions.iter().find(ended)
    }

    /// Whether each completion has a number of its own.
    pub fn is_indexed(&self) -> bool {
        &*self.spec.completion_mode == "Indexed"
    }
}
