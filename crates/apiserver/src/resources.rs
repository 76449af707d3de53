//! The table of resources: one row says everything that routing, discovery, storage and printing need.
//!
//! Rows are data. What a resource *does* beyond the common verbs is in `admission`, `subresource` and `table`.

mod builtin;

use std::sync::Arc;

use dunlin_api::gvk::GroupVersionKind;
use dunlin_store::{Class, Key, Scope};
use serde_json::Value;

pub use builtin::BUILTIN;

/// A subresource: its name, the kind that it reads and writes (`group/version/kind`), and its verbs.
#[derive(Debug, Clone, Copy)]
pub struct Sub {
    pub name: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Resource {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    pub subs: &'static [Sub],
    /// The name under which objects are stored; two versions of one kind share it.
    pub stored: &'static str,
    /// Whether `metadata.generation` counts changes of the specification.
    pub generation: bool,
}

impl Resource {
    /// `deployments.apps`, as error messages name it.
    pub fn qualified(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(self.group, self.version, self.kind)
    }

    pub fn sub(&self, name: &str) -> Option<&'static Sub> {
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
        match (self.group, self.plural) {
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
        key(self.stored, namespace, name)
    }

    pub fn scope(&self, namespace: Option<&str>) -> Scope {
        Scope { resource: Arc::from(self.stored), namespace: namespace.map(Arc::from), name: None, tag: None }
    }

    /// Whether the object survives a restart. Heartbeats and Events are not worth a flash write.
    pub fn class(&self, namespace: &str) -> Class {
        match self.stored {
            "events" => Class::Ephemeral,
            "leases.coordination.k8s.io" if namespace == "kube-node-lease" => Class::Ephemeral,
            _ => Class::Durable,
        }
    }

    /// The index value under which watchers find the object: the node of a pod.
    pub fn tag(&self, object: &Value) -> Option<Arc<str>> {
        if self.stored != "pods" {
            return None;
        }
        let node = crate::object::text(object, &["spec", "nodeName"]);
        (!node.is_empty()).then(|| Arc::from(node))
    }
}

/// A storage key.
pub fn key(stored: &str, namespace: &str, name: &str) -> Key {
    Key { resource: Arc::from(stored), namespace: Arc::from(namespace), name: Arc::from(name) }
}

/// The resource at `/apis/{group}/{version}/{plural}`.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    BUILTIN.iter().find(|r| r.plural == plural && r.group == group && r.version == version)
}

/// The first version of a resource, for code that knows only group and plural.
pub fn any(group: &str, plural: &str) -> Option<&'static Resource> {
    BUILTIN.iter().find(|r| r.plural == plural && r.group == group)
}

/// A resource of this program's own code; the table is known to hold it.
pub fn known(group: &str, plural: &str) -> &'static Resource {
    any(group, plural).expect("the table of resources names what the server itself uses")
}

/// Groups with their versions, in the order that clients should prefer them.
pub fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in BUILTIN {
        match groups.iter_mut().find(|(g, _)| *g == row.group) {
            Some((_, versions)) if versions.contains(&row.version) => {}
            Some((_, versions)) => versions.push(row.version),
            None => groups.push((row.group, vec![row.version])),
        }
    }
    groups
}

/// The rows of one group and version.
pub fn of(group: &str, version: &str) -> impl Iterator<Item = &'static Resource> {
    let (group, version) = (group.to_owned(), version.to_owned());
    BUILTIN.iter().filter(move |r| r.group == group && r.version == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_once() {
        for row in BUILTIN {
            assert_eq!(
                of(row.group, row.version).filter(|r| r.plural == row.plural).count(),
                1,
                "{}",
                row.plural
            );
            assert!(dunlin_api::schema::schema().of(&row.gvk()).is_some(), "{} has no type", row.gvk());
        }
    }
}
