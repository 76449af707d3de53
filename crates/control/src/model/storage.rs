//! Persistent volumes, claims on them, and the classes of both.

use std::sync::Arc;

use dunlin_api::names::annotation;
use dunlin_api::quantity::Quantity;
use serde_json::Value;

use super::base::held;
use super::{Meta, projection};

/// `volumeBindingMode` of classes whose claims wait until a pod that uses them has a place.
const WAIT: &str = "WaitForFirstConsumer";

projection! {
    pub struct PersistentVolume {
        pub metadata: Arc<Meta>,
        pub spec: VolumeSpec,
        pub status: VolumeStatus,
    }

    pub struct VolumeSpec {
        /// Amounts by name, as they are written.
        pub capacity: Arc<Value>,
        pub access_modes: Vec<Arc<str>>,
        pub claim_ref: Option<ClaimRef>,
        pub persistent_volume_reclaim_policy: Arc<str>,
        pub storage_class_name: Arc<str>,
        pub volume_mode: Arc<str>,
        pub node_affinity: VolumeAffinity,
    }

    pub struct VolumeAffinity {
        /// A `v1.NodeSelector`.
        pub required: Option<Arc<Value>>,
    }

    pub struct ClaimRef {
        pub namespace: Arc<str>,
        pub name: Arc<str>,
        pub uid: Arc<str>,
    }

    pub struct VolumeStatus {
        pub phase: Arc<str>,
        pub message: Arc<str>,
    }

    pub struct Claim {
        pub metadata: Arc<Meta>,
        pub spec: ClaimSpec,
        pub status: ClaimStatus,
    }

    pub struct ClaimSpec {
        pub access_modes: Vec<Arc<str>>,
        pub selector: Option<Arc<Value>>,
        pub resources: ClaimResources,
        pub volume_name: Arc<str>,
        /// Absent: the default class. Empty: volumes without a class.
        pub storage_class_name: Option<Arc<str>>,
        pub volume_mode: Arc<str>,
        pub data_source: Option<Arc<Value>>,
        pub data_source_ref: Option<Arc<Value>>,
    }

    pub struct ClaimResources {
        /// Amounts by name, as they are written.
        pub requests: Arc<Value>,
    }

    pub struct ClaimStatus {
        pub phase: Arc<str>,
        pub capacity: Arc<Value>,
        pub access_modes: Vec<Arc<str>>,
    }

    pub struct StorageClass {
        pub metadata: Arc<Meta>,
        pub provisioner: Arc<str>,
        pub reclaim_policy: Arc<str>,
        pub volume_binding_mode: Arc<str>,
        pub mount_options: Vec<Arc<str>>,
        /// `v1.TopologySelectorTerm`s.
        pub allowed_topologies: Vec<Arc<Value>>,
    }
}

/// What a list of amounts says of storage; nothing if it cannot be read, since the API server has validated it.
fn bytes(amounts: &Value) -> i64 {
    Quantity::from_value(&amounts["storage"]).map_or(0, |size| size.value())
}

impl PersistentVolume {
    pub fn size(&self) -> i64 {
        bytes(&self.spec.capacity)
    }

    /// Whether `claimRef` means this claim; without a uid it means any claim of that name.
    pub fn is_for(&self, claim: &Claim) -> bool {
        self.spec.claim_ref.as_ref().is_some_and(|wanted| {
            wanted.name == claim.metadata.name
                && wanted.namespace == claim.metadata.namespace
                && (wanted.uid.is_empty() || wanted.uid == claim.metadata.uid)
        })
    }

    pub fn is_block(&self) -> bool {
        &*self.spec.volume_mode == "Block"
    }

    /// Who made it, if no person did.
    pub fn provisioner(&self) -> Option<&str> {
        self.metadata.annotations.get(annotation::PROVISIONED_BY).map(|name| &**name)
    }

    pub fn is_bound_by_controller(&self) -> bool {
        self.metadata.annotations.contains_key(annotation::BOUND_BY_CONTROLLER)
    }
}

impl Claim {
    pub fn wanted(&self) -> i64 {
        bytes(&self.spec.resources.requests)
    }

    /// The name of its class, empty for volumes without one.
    pub fn class(&self) -> &str {
        self.spec.storage_class_name.as_deref().unwrap_or_default()
    }

    pub fn is_block(&self) -> bool {
        &*self.spec.volume_mode == "Block"
    }

    /// Whether both sides of the binding are written.
    pub fn is_bound(&self) -> bool {
        !self.spec.volume_name.is_empty()
            && self.metadata.annotations.contains_key(annotation::BIND_COMPLETED)
    }

    /// The node that the scheduler chose for the first pod that uses it.
    pub fn selected_node(&self) -> Option<&Arc<str>> {
        self.metadata.annotations.get(annotation::SELECTED_NODE)
    }
}

impl StorageClass {
    pub fn waits_for_consumer(&self) -> bool {
        &*self.volume_binding_mode == WAIT
    }

    pub fn is_default(&self) -> bool {
        let mark = self.metadata.annotations.get(annotation::DEFAULT_STORAGE_CLASS);
        mark.is_some_and(|mark| &**mark == "true")
    }
}

held! {
    PersistentVolume = "persistentvolumes",
    Claim = "persistentvolumeclaims",
    StorageClass = "storageclasses.storage.k8s.io",
}
