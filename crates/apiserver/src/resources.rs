//! The table of resources: one row says everything that routing, discovery, storage and printing need.
//!
//! Rows are data. What a resource *does* beyond the common verbs is in `admission`, `subresource` and `table`.

mod builtin;

use std::borrow::Cow;
use std::sync::Arc;

use dunlin_api::gvk::GroupVersionKind;
use dunlin_api::names::annotation::EXPOSED_BY;
use dunlin_store::{Class, Key, Scope};
use serde_json::Value;

pub use builtin::{BUILTIN, GPU};

use crate::custom::Custom;

/// A name: the program's own, or one that came with a definition.
pub type Text = Cow<'static, str>;

/// A subresource: its name, the kind that it reads and writes (`group/version/kind`), and its verbs.
#[derive(Debug, Clone)]
pub struct Sub {
    pub name: &'static str,
    pub group: Text,
    pub version: Text,
    pub kind: Text,
    pub verbs: &'static [&'static str],
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Resource {
    pub group: Text,
    pub version: Text,
    pub kind: Text,
    pub plural: Text,
    pub singular: Text,
    pub short: Vec<Text>,
    pub categories: Vec<Text>,
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    pub subs: Vec<Sub>,
    /// The name under which objects are stored; two versions of one kind share it.
    pub stored: Text,
    /// Whether `metadata.generation` counts changes of the specification.
    pub generation: bool,
    /// What its definition says, for resources that are not built in.
    pub custom: Option<Arc<Custom>>,
}

impl Resource {
    /// `deployments.apps`, as error messages name it.
    pub fn qualified(&self) -> String {
        match &*self.group {
            "" => self.plural.clone().into_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    pub fn api_version(&self) -> String {
        match &*self.group {
            "" => self.version.clone().into_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(&*self.group, &*self.version, &*self.kind)
    }

    /// `WidgetList`.
    pub fn list_kind(&self) -> String {
        match &self.custom {
            Some(custom) => custom.list_kind.to_string(),
            None => format!("{}List", self.kind),
        }
    }

    pub fn sub(&self, name: &str) -> Option<&Sub> {
        self.subs.iter().find(|s| s.name == name)
    }

    pub fn can(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// Whether objects are stored at all; reviews are only answered.
    pub fn is_stored(&self) -> bool {
        self.can("get")
    }

    pub fn has_status(&self) -> bool {
        self.sub("status").is_some()
    }

    /// How Go names the type, as messages show it.
    pub fn go_type(&self) -> String {
        let package = match self.group.split('.').next() {
            None | Some("" | "events") => "core",
            Some(package) => package,
        };
        format!("{package}.{}", self.kind)
    }

    /// What clients are told whenever they use it.
    pub fn deprecation(&self) -> Option<&'static str> {
        match (&*self.group, &*self.plural) {
            ("", "endpoints") => {
                Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
            }
            ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
            _ => None,
        }
    }

    /// Whether this is the resource `plural` of `group`.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    pub fn key(&self, namespace: &str, name: &str) -> Key {
        let namespace = if self.namespaced { namespace } else { "" };
        key(&self.stored, namespace, name)
    }

    pub fn scope(&self, namespace: Option<&str>) -> Scope {
        Scope {
            resource: Arc::from(&*self.stored),
            namespace: namespace.map(Arc::from),
            name: None,
            tag: None,
        }
    }

    /// Whether the object survives a restart. Heartbeats and Events are not worth a flash write.
    pub fn class(&self, namespace: &str) -> Class {
        match &*self.stored {
            "events" => Class::Ephemeral,
            "leases.coordination.k8s.io" if namespace == "kube-node-lease" => Class::Ephemeral,
            _ => Class::Durable,
        }
    }

    /// The index value under which objects are found: the node of a pod, and the node of the cluster to which a machine
    /// belongs that is shown as a node of its own.
    pub fn tag(&self, object: &Value) -> Option<Arc<str>> {
        let tag = match &*self.stored {
            "pods" => crate::object::text(object, &["spec", "nodeName"]),
            "nodes" => crate::object::text(object, &["metadata", "annotations", EXPOSED_BY]),
            _ => "",
        };
        (!tag.is_empty()).then(|| Arc::from(tag))
    }
}

/// A storage key.
pub fn key(stored: &str, namespace: &str, name: &str) -> Key {
    Key { resource: Arc::from(stored), namespace: Arc::from(namespace), name: Arc::from(name) }
}

/// The built-in resource at `/apis/{group}/{version}/{plural}`.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Arc<Resource>> {
    BUILTIN.iter().find(|r| r.plural == plural && r.group == group && r.version == version)
}

/// A resource of this program's own code; the table is known to hold it.
pub fn known(group: &str, plural: &str) -> &'static Arc<Resource> {
    let found = BUILTIN.iter().find(|r| r.plural == plural && r.group == group);
    found.expect("the table of resources names what the server itself uses")
}

/// Groups with their versions, in the order that clients should prefer them: that of the resources.
pub fn groups(all: &[Arc<Resource>]) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in all {
        match groups.iter_mut().find(|(g, _)| *g == row.group) {
            Some((_, versions)) if versions.contains(&&*row.version) => {}
            Some((_, versions)) => versions.push(&row.version),
            None => groups.push((&row.group, vec![&row.version])),
        }
    }
    groups
}

/// The resources of one group and version.
pub fn of<'a>(
    all: &'a [Arc<Resource>],
    group: &str,
    version: &str,
) -> impl Iterator<Item = &'a Arc<Resource>> {
    all.iter().filter(move |r| r.group == group && r.version == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_once() {
        for row in BUILTIN.iter() {
            assert_eq!(
                of(&BUILTIN, &row.group, &row.version).filter(|r| r.plural == row.plural).count(),
                1,
                "{}",
                row.plural
            );
            assert!(dunlin_api::schema::schema().of(&row.gvk()).is_some(), "{} has no type", row.gvk());
        }
    }
}
