//! Names of kinds and of resources: group, version and kind, or group, version and plural.
//!
//! They are small values that are compared, hashed and printed everywhere. They must not know which kinds exist;
//! that is [`crate::schema`].

use std::fmt;

use serde_json::Value;

/// Group, version and kind of an object, for example `apps`, `v1`, `Deployment`. The core group is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct GroupVersionKind {
    /// API group, empty for the core group.
    pub group: String,
    /// API version, for example `v1` or `v1beta1`.
    pub version: String,
    /// Kind in CamelCase.
    pub kind: String,
}

/// Group, version and plural name of a resource, for example `apps`, `v1`, `deployments`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct GroupVersionResource {
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural, lowercase resource name.
    pub resource: String,
}

/// Splits an `apiVersion` into group and version: `v1` is (``, `v1`), `apps/v1` is (`apps`, `v1`).
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

fn join(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

impl GroupVersionKind {
    /// Makes a name out of its parts.
    pub fn new(group: impl Into<String>, version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// Makes a name out of an `apiVersion` and a `kind` as objects carry them.
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        let (group, version) = split_api_version(api_version);
        Self::new(group, version, kind)
    }

    /// The name that an object carries in `apiVersion` and `kind`, if it carries both.
    pub fn of(object: &Value) -> Option<Self> {
        let api_version = object.get("apiVersion")?.as_str()?;
        let kind = object.get("kind")?.as_str()?;
        (!api_version.is_empty() && !kind.is_empty()).then(|| Self::from_api_version(api_version, kind))
    }

    /// The `apiVersion` of objects of this kind: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        join(&self.group, &self.version)
    }

    /// The resource of the same group and version with this plural name.
    pub fn resource(&self, plural: impl Into<String>) -> GroupVersionResource {
        GroupVersionResource::new(self.group.clone(), self.version.clone(), plural)
    }
}

impl GroupVersionResource {
    /// Makes a name out of its parts.
    pub fn new(group: impl Into<String>, version: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { group: group.into(), version: version.into(), resource: resource.into() }
    }

    /// The `apiVersion` of objects of this resource: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        join(&self.group, &self.version)
    }

    /// Resource and group without the version: `pods`, `deployments.apps`. Storage keys are named so.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }
}

/// As Kubernetes prints it: `apps/v1, Kind=Deployment`.
impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

/// As Kubernetes prints it: `apps/v1, Resource=deployments`.
impl fmt::Display for GroupVersionResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Resource={}", self.group, self.version, self.resource)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_round_trip() {
        for (api_version, group, version) in [("v1", "", "v1"), ("apps/v1", "apps", "v1")] {
            let gvk = GroupVersionKind::from_api_version(api_version, "X");
            assert_eq!((gvk.group.as_str(), gvk.version.as_str()), (group, version));
            assert_eq!(gvk.api_version(), api_version);
        }
        assert_eq!(
            GroupVersionResource::new("apps", "v1", "deployments").group_resource(),
            "deployments.apps"
        );
        assert_eq!(GroupVersionResource::new("", "v1", "pods").group_resource(), "pods");
        assert_eq!(GroupVersionKind::new("apps", "v1", "Deployment").to_string(), "apps/v1, Kind=Deployment");
    }

    #[test]
    fn an_object_names_its_kind() {
        assert_eq!(GroupVersionKind::of(&json!({"kind": "Pod"})), None);
        assert_eq!(GroupVersionKind::of(&json!({"apiVersion": "v1", "kind": ""})), None);
        let pod = GroupVersionKind::of(&json!({"apiVersion": "v1", "kind": "Pod"}));
        assert_eq!(pod, Some(GroupVersionKind::new("", "v1", "Pod")));
    }
}
