//! Compact projections of the objects that controllers read.
//!
//! Fields that no decision reads are not kept; an object is never written back from here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// `metadata` of every object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub name: Arc<str>,
    pub namespace: Arc<str>,
    pub uid: Arc<str>,
    pub resource_version: Arc<str>,
    pub generation: i64,
    pub creation_timestamp: Option<Arc<str>>,
    pub deletion_timestamp: Option<Arc<str>>,
    pub labels: Labels,
    pub annotations: Labels,
    pub owner_references: Vec<OwnerReference>,
    pub finalizers: Vec<Arc<str>>,
}

impl Meta {
    /// The one owner that controls the object, if it has one.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    pub api_version: Arc<str>,
    pub kind: Arc<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
    pub controller: bool,
    pub block_owner_deletion: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    pub status: Arc<str>,
    pub reason: Arc<str>,
    pub last_transition_time: Option<Arc<str>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub metadata: Meta,
    pub spec: PodSpec,
    pub status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub node_name: Arc<str>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    pub phase: Arc<str>,
    pub conditions: Vec<Condition>,
}

impl Pod {
    /// Whether the condition `kind` is `True`.
    pub fn is(&self, kind: &str) -> bool {
        self.status.conditions.iter().any(|c| &*c.kind == kind && &*c.status == "True")
    }

    /// Neither finished nor being deleted.
    pub fn is_active(&self) -> bool {
        !matches!(&*self.status.phase, "Succeeded" | "Failed") && self.metadata.deletion_timestamp.is_none()
    }
}
