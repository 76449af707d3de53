//! Autoscalers, and what pods use.

use std::sync::Arc;

use serde_json::Value;

use super::base::held;
use super::{Condition, Meta, Quantities, Time, projection};

projection! {
    pub struct HorizontalPodAutoscaler {
        pub metadata: Arc<Meta>,
        pub spec: AutoscalerSpec,
        pub status: AutoscalerStatus,
    }

    pub struct AutoscalerSpec {
        pub scale_target_ref: TargetReference,
        pub min_replicas: Option<i32>,
        pub max_replicas: i32,
        pub metrics: Vec<Arc<Value>>,
        pub behavior: Option<Arc<Value>>,
    }

    pub struct TargetReference {
        pub api_version: Arc<str>,
        pub kind: Arc<str>,
        pub name: Arc<str>,
    }

    pub struct AutoscalerStatus {
        pub observed_generation: Option<i64>,
        pub last_scale_time: Option<Time>,
        pub current_replicas: Option<i32>,
        pub desired_replicas: i32,
        pub current_metrics: Arc<Value>,
        pub conditions: Vec<Condition>,
    }

    /// What a pod's containers use.
    pub struct PodMetrics {
        pub metadata: Arc<Meta>,
        pub timestamp: Option<Time>,
        pub containers: Vec<ContainerMetrics>,
    }

    pub struct ContainerMetrics {
        pub name: Arc<str>,
        pub usage: Quantities,
    }
}

held! {
    HorizontalPodAutoscaler = "horizontalpodautoscalers.autoscaling",
    PodMetrics = "pods.metrics.k8s.io",
}
