//! Aggregation: which server answers for a group and version of the API.
//!
//! Every group and version has an `APIService`. One without `spec.service` stands for what this server serves itself
//! (`local`). One with a service hands everything below `/apis/{group}/{version}` to an extension server: who asks is
//! found out and judged here, then the request goes on (`proxy`) over a connection that proves that it comes from us
//! (`trust`). Whether the extension server can be asked is checked all the time (`check`), and what it serves joins our
//! own discovery.

mod check;
mod documents;
mod headers;
pub mod local;
pub mod proxy;
mod remote;
mod trust;

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use dunlin_base::task::Task;
use dunlin_pki::Identity;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::failure::Result;
use crate::object::{self, at, list, text};
use crate::resources::{self, Resource, known};
use crate::server::Inner;
use remote::Remote;
pub use trust::publish;

/// Where `APIService` objects are stored.
pub const STORED: &str = "apiservices.apiregistration.k8s.io";

/// One `APIService`.
pub struct Entry {
    pub name: String,
    pub group: String,
    pub version: String,
    priority: (i64, i64),
    pub available: bool,
    /// Who serves it, if we do not.
    remote: Option<Arc<Remote>>,
}

/// All of them, as far as this process knows.
#[derive(Default)]
pub struct Registry {
    entries: RwLock<Arc<Vec<Entry>>>,
    identity: Mutex<Option<Identity>>,
    /// Something changed that may make an extension server available or not.
    pub wake: Arc<Notify>,
}

impl Registry {
    pub fn entries(&self) -> Arc<Vec<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether any part of the API is served by somebody else.
    pub fn has_remotes(&self) -> bool {
        self.entries().iter().any(|entry| entry.remote.is_some())
    }

    /// Groups and versions in the order in which clients should prefer them.
    pub fn order(&self, all: &[Arc<Resource>]) -> Vec<(String, Vec<String>)> {
        let entries = self.entries();
        let mut sorted: Vec<&Entry> = entries.iter().collect();
        sorted.sort_by_key(|e| (Reverse(e.priority.0), e.name.clone()));
        // The core is in no list of groups, and the group of registrations comes first of those that are.
        let mut groups: Vec<(String, Vec<String>)> =
            vec![(String::new(), Vec::new()), (local::GROUP.to_owned(), Vec::new())];
        for entry in &sorted {
            if !groups.iter().any(|(group, _)| *group == entry.group) {
                groups.push((entry.group.clone(), Vec::new()));
            }
        }
        for (group, versions) in &mut groups {
            let mut own: Vec<&&Entry> = sorted.iter().filter(|e| e.group == *group).collect();
            own.sort_by_key(|e| (Reverse(e.priority.1), age(&e.version)));
            versions.extend(own.iter().map(|e| e.version.clone()));
        }
        // What has no registration, because somebody removed it, is served all the same.
        for (group, versions) in resources::groups(all) {
            let at = groups.iter().position(|(g, _)| g == group).unwrap_or_else(|| {
                groups.push((group.to_owned(), Vec::new()));
                groups.len() - 1
            });
            for version in versions {
                if !groups[at].1.iter().any(|v| v == version) {
                    groups[at].1.push(version.to_owned());
                }
            }
        }
        groups.retain(|(_, versions)| !versions.is_empty());
        groups
    }

    /// The extension server's part of the aggregated discovery; `None` if the version is ours.
    pub fn discovered(&self, group: &str, version: &str) -> Option<Value> {
        let entries = self.entries();
        let remote = entries.iter().find(|e| e.group == group && e.version == version)?.remote.clone()?;
        let found = remote.found();
        let freshness = if found.current { "Current" } else { "Stale" };
        let mut value = json!({"version": version, "freshness": freshness});
        if let Some(resources) = &found.resources {
            value["resources"] = json!(**resources);
        }
        Some(value)
    }

    /// Versions of extension servers that offer an OpenAPI document, with the query under which they do.
    pub fn documented(&self) -> Vec<(String, String, String)> {
        let entries = self.entries();
        let offered = entries.iter().filter_map(|entry| {
            let query = entry.remote.as_ref()?.found().openapi?;
            Some((entry.group.clone(), entry.version.clone(), query))
        });
        offered.collect()
    }

    /// Who serves what a path means, if we do not.
    pub fn serving(&self, path: &str) -> Option<(Arc<Vec<Entry>>, usize)> {
        let path = path.strip_prefix("/openapi/v3").unwrap_or(path);
        let mut parts = path.strip_prefix("/apis/")?.splitn(3, '/');
        let (group, version) = (parts.next()?, parts.next()?);
        let entries = self.entries();
        let at = entries.iter().position(|e| e.group == group && e.version == version)?;
        entries[at].remote.is_some().then_some((entries, at))
    }
}

/// Older versions sort behind newer ones, and drafts behind those that are done: `v2`, `v1`, `v1beta1`, `v1alpha1`.
fn age(version: &str) -> (u8, Reverse<u64>, Reverse<u64>, String) {
    let number = |text: &str| text.parse::<u64>().ok();
    let rest = version.strip_prefix('v').unwrap_or_default();
    let split = |word: &str| {
        let (major, minor) = rest.split_once(word)?;
        Some((number(major)?, number(minor)?))
    };
    let (rank, major, minor) = match (number(rest), split("beta"), split("alpha")) {
        (Some(major), ..) => (0, major, 0),
        (_, Some((major, minor)), _) => (1, major, minor),
        (_, _, Some((major, minor))) => (2, major, minor),
        _ => (3, 0, 0),
    };
    (rank, Reverse(major), Reverse(minor), version.to_owned())
}

/// Reads what is registered. An extension server that is still the same keeps what is known of it.
pub async fn settle(server: &Inner) -> Result<()> {
    let registry = &server.aggregate;
    let before = registry.entries();
    let mut entries = Vec::new();
    for object in server.all(known(local::GROUP, "apiservices"), None).await? {
        let spec = &object["spec"];
        let name = object::name(&object);
        let named = at(spec, &["service"]).is_some_and(Value::is_object);
        let old = before.iter().find(|e| e.name == name).and_then(|e| e.remote.clone());
        let remote = named.then(|| match old {
            Some(old) if old.spec == *spec => old,
            _ => Arc::new(Remote::new(spec)),
        });
        let available = list(&object, &["status", "conditions"])
            .iter()
            .any(|c| text(c, &["type"]) == "Available" && text(c, &["status"]) == "True");
        entries.push(Entry {
            name: name.to_owned(),
            group: text(spec, &["group"]).to_owned(),
            version: text(spec, &["version"]).to_owned(),
            priority: (object::int(spec, &["groupPriorityMinimum"]), object::int(spec, &["versionPriority"])),
            available,
            remote,
        });
    }
    *registry.entries.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(entries);
    Ok(())
}

/// A resource was written that may matter here.
pub async fn written(server: &Inner, resource: &Resource) -> Result<()> {
    match &*resource.stored {
        STORED => {
            settle(server).await?;
            server.aggregate.wake.notify_one();
        }
        "services" | "endpointslices.discovery.k8s.io" if server.aggregate.has_remotes() => {
            server.aggregate.wake.notify_one();
        }
        _ => {}
    }
    Ok(())
}

/// Keeps an eye on extension servers for as long as the server lives.
pub fn watch(server: &Arc<Inner>) -> Task {
    Task::spawn("extension servers", check::run(Arc::downgrade(server)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(group: &str, version: &str, priority: (i64, i64)) -> Entry {
        Entry {
            name: format!("{version}.{group}"),
            group: group.into(),
            version: version.into(),
            priority,
            available: true,
            remote: None,
        }
    }

    #[test]
    fn groups_come_by_priority_and_versions_too() {
        let registry = Registry::default();
        *registry.entries.write().unwrap() = Arc::new(vec![
            entry("", "v1", (18_000, 1)),
            entry("b.io", "v1beta1", (100, 10)),
            entry("b.io", "v1", (100, 10)),
            entry("b.io", "v1alpha1", (100, 90)),
            entry("a.io", "v1", (100, 10)),
            entry("c.io", "v1", (200, 10)),
        ]);
        let order = registry.order(&[]);
        let names: Vec<&str> = order.iter().map(|(group, _)| group.as_str()).collect();
        assert_eq!(names, ["", "c.io", "a.io", "b.io"]);
        assert_eq!(order[3].1, ["v1alpha1", "v1", "v1beta1"]);
    }

    #[test]
    fn newer_versions_come_first() {
        let mut versions = ["v1alpha1", "foo", "v1", "v2beta1", "v10", "v1beta2", "v11alpha2"];
        versions.sort_by_key(|v| age(v));
        assert_eq!(versions, ["v10", "v1", "v2beta1", "v1beta2", "v11alpha2", "v1alpha1", "foo"]);
    }
}
