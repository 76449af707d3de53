//! Compact projections of the objects that controllers read.
//!
//! Fields that no decision reads are not kept; an object is never written back from here. `null` means absent for
//! every field. Templates and selectors stay JSON, shared by reference.

mod autoscaling;
mod base;
mod child;
mod cluster;
pub mod migration;
mod pod;
mod quantities;
mod storage;
mod workload;

pub use autoscaling::{
    AutoscalerSpec, AutoscalerStatus, ContainerMetrics, HorizontalPodAutoscaler, PodMetrics, TargetReference,
};
pub use base::{Condition, Held, Key, Labels, Meta, Object, OwnerReference, Time};
pub use child::{Cluster, ClusterLabel, ClusterPool, ClusterStatus};
pub use cluster::{
    AggregationRule, ClusterRole, ConfigMap, EndpointSlice, Lease, LeaseSpec, Namespace, NamespaceSpec,
    NamespaceStatus, Node, NodeAddress, NodeImage, NodeRuntimeHandler, NodeSpec, NodeStatus, ResourceQuota,
    RuntimeClass, RuntimeScheduling, Service, ServiceAccount, ServicePort, ServiceSpec, Taint,
};
pub use migration::{Migration, MigrationSpec, MigrationStatus};
pub use pod::{
    ClaimVolume, ContainerPort, ContainerState, ContainerStatus, Pod, PodIp, PodSpec, PodStatus, Terminated,
    Toleration, TopologySpread,
};
pub use quantities::{Quantities, milli};
pub use storage::{Claim, ClaimRef, ClaimSpec, ClaimStatus, PersistentVolume, StorageClass, VolumeSpec};
pub use workload::{
    BudgetSpec, BudgetStatus, ClaimRetention, ControllerRevision, CronJob, CronJobSpec, CronJobStatus,
    DaemonSet, DaemonSetSpec, DaemonSetStatus, Deployment, DeploymentSpec, DeploymentStatus, Job, JobSpec,
    JobStatus, ObjectReference, Ordinals, PodDisruptionBudget, ReplicaSet, ReplicaSetSpec, ReplicaSetStatus,
    RollingUpdate, StatefulSet, StatefulSetSpec, StatefulSetStatus, Strategy,
};

pub(crate) use base::projection;
