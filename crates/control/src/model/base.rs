//! What all objects share: metadata, keys, times and conditions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// Names one object of one resource; `namespace` is empty for cluster-scoped resources.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Plural with group, as in `deployments.apps` or `pods`.
    pub resource: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    pub fn new(
        resource: impl Into<Arc<str>>,
        namespace: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
    ) -> Self {
        Self { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.is_empty() {
            true => write!(f, "{}/{}", self.resource, self.name),
            false => write!(f, "{}/{}/{}", self.resource, self.namespace, self.name),
        }
    }
}

/// A moment in seconds since the epoch; fractions are dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|at| Self(at.as_second()))
    }
}

/// RFC 3339 in UTC with whole seconds, as `metav1.Time` is written.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        jiff::Timestamp::from_second(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no RFC 3339 time")))
    }
}

/// Deserialises `null` as the default.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// A struct whose every field may be absent or null in JSON.
macro_rules! projection {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {$(
            $(#[$field_meta])*
            #[serde(default, deserialize_with = "crate::model::base::nullable")]
            pub $field: $type,
        )*}
    )*};
}
pub(crate) use projection;

projection! {
    /// `metadata` of every object.
    pub struct Meta {
        pub name: Arc<str>,
        pub namespace: Arc<str>,
        pub uid: Arc<str>,
        pub resource_version: Arc<str>,
        pub generation: i64,
        pub creation_timestamp: Option<Time>,
        pub deletion_timestamp: Option<Time>,
        pub deletion_grace_period_seconds: Option<i64>,
        pub labels: Labels,
        pub annotations: Labels,
        pub owner_references: Vec<OwnerReference>,
        pub finalizers: Vec<Arc<str>>,
    }

    pub struct OwnerReference {
        pub api_version: Arc<str>,
        pub kind: Arc<str>,
        pub name: Arc<str>,
        pub uid: Arc<str>,
        pub controller: bool,
        pub block_owner_deletion: bool,
    }

    pub struct Condition {
        #[serde(rename = "type")]
        pub kind: Arc<str>,
        pub status: Arc<str>,
        pub reason: Arc<str>,
        pub message: Arc<str>,
        pub last_transition_time: Option<Time>,
        pub last_update_time: Option<Time>,
        pub last_heartbeat_time: Option<Time>,
    }
}

impl Meta {
    /// The one owner that controls the object, if it has one.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// Any object as far as garbage collection and namespace deletion care.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Plural with group, as in `deployments.apps`.
    pub resource: Arc<str>,
    pub metadata: Arc<Meta>,
}

impl Object {
    pub fn key(&self) -> Key {
        Key::new(self.resource.clone(), self.metadata.namespace.clone(), self.metadata.name.clone())
    }
}

/// An object that a typed table of the view holds.
pub trait Held: Send + Sync + 'static {
    /// Plural with group.
    const RESOURCE: &'static str;

    fn metadata(&self) -> &Arc<Meta>;

    /// The node that the object is on, if objects of this kind are on nodes.
    fn node(&self) -> Option<&Arc<str>> {
        None
    }

    fn key(&self) -> Key {
        let metadata = self.metadata();
        Key::new(Self::RESOURCE, metadata.namespace.clone(), metadata.name.clone())
    }
}

macro_rules! held {
    ($($type:ty = $resource:literal),* $(,)?) => {$(
        impl $crate::model::Held for $type {
            const RESOURCE: &'static str = $resource;
            fn metadata(&self) -> &std::sync::Arc<$crate::model::Meta> {
                &self.metadata
            }
        }
    )*};
}
pub(crate) use held;
