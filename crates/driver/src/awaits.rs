//! What a key's own writes did that the informers must have seen before the key is planned again.
//!
//! A plan made on a view that lacks them would create twice or delete too much.

use std::collections::HashMap;
use std::sync::Arc;

use dunlin_control::view::View;

#[derive(Debug, Clone, Default)]
pub struct Awaits {
    /// Highest version written, by resource.
    versions: HashMap<Arc<str>, u64>,
    /// Uids of objects that were deleted.
    deleted: Vec<Arc<str>>,
}

impl Awaits {
    pub fn version(&mut self, resource: Arc<str>, version: u64) {
        let highest = self.versions.entry(resource).or_default();
        *highest = version.max(*highest);
    }

    pub fn deletion(&mut self, uid: Arc<str>) {
        self.deleted.push(uid);
    }

    pub fn merge(&mut self, other: Self) {
        for (resource, version) in other.versions {
            self.version(resource, version);
        }
        self.deleted.extend(other.deleted);
    }

    pub fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.deleted.is_empty()
    }

    /// Whether all of it has been seen; forgets what has. `versions` says how far each informer is; resources without
    /// one are not waited for.
    pub fn seen(&mut self, versions: &HashMap<Arc<str>, u64>, view: &View) -> bool {
        self.versions.retain(|resource, written| versions.get(resource).is_some_and(|seen| seen < written));
        self.deleted
            .retain(|uid| view.objects.by_uid(uid).is_some_and(|object| !object.metadata.is_deleting()));
        self.is_empty()
    }
}
