//! Claims on persistent volumes.

use std::sync::Arc;

use dunlin_api::quantity::Quantity;
use serde_json::Value;

use super::base::held;
use super::{Meta, projection};

projection! {
    pub struct Claim {
        pub metadata: Arc<Meta>,
        pub spec: ClaimSpec,
    }

    pub struct ClaimSpec {
        pub resources: ClaimResources,
        /// Absent: the default class. Empty: volumes without a class.
        pub storage_class_name: Option<Arc<str>>,
    }

    pub struct ClaimResources {
        /// Amounts by name, as they are written.
        pub requests: Arc<Value>,
    }
}

impl Claim {
    /// Bytes that it asks for.
    pub fn wanted(&self) -> i64 {
        Quantity::from_value(&self.spec.resources.requests["storage"]).map_or(0, |size| size.value())
    }

    /// The name of its class, empty for volumes without one.
    pub fn class(&self) -> &str {
        self.spec.storage_class_name.as_deref().unwrap_or_default()
    }
}

held! {
    Claim = "persistentvolumeclaims",
}
