//! Places kept for pods that a parent has offered, until the bound pod comes or the time is over.
//!
//! A kept place counts in the snapshot like a placed pod. Since an offered pod does not exist here yet, it goes by a uid
//! made of the one that it has in its home API. Times are milliseconds of any clock that does not go backwards.

use std::collections::HashMap;
use std::sync::Arc;

use dunlin_api::names::annotation;
use serde_json::Value;

use crate::model::Pod;

use super::{Policy, Snapshot, WhyNot, place};

/// The places that are kept: by home uid, until when.
#[derive(Debug, Default)]
pub struct Kept {
    until: HashMap<Arc<str>, u64>,
}

impl Kept {
    /// Keeps a place for the pod once it is found; an older one is given up.
    pub fn begin(&mut self, snapshot: &mut Snapshot, pod: &Pod, until: u64) {
        let home = home_uid(pod);
        self.give_up(snapshot, &home);
        self.until.insert(home, until);
    }

    /// No place was found.
    pub fn end(&mut self, pod: &Pod) {
        self.until.remove(&home_uid(pod));
    }

    /// Whether the offer of the pod still counts.
    pub fn holds(&self, pod: &Pod) -> bool {
        self.until.contains_key(&home_uid(pod))
    }

    /// Frees the place that is kept for the pod of this home uid, if one is.
    pub fn give_up(&mut self, snapshot: &mut Snapshot, home: &Arc<str>) {
        if self.until.remove(home).is_some() {
            snapshot.forget(&offered_uid(home));
        }
    }

    /// Frees places whose time is over; returns whether there were some.
    pub fn expire(&mut self, snapshot: &mut Snapshot, now: u64) -> bool {
        let over: Vec<Arc<str>> =
            self.until.iter().filter(|(_, until)| **until <= now).map(|(home, _)| home.clone()).collect();
        for home in &over {
            self.give_up(snapshot, home);
        }
        !over.is_empty()
    }

    /// When the next place's time is over.
    pub fn next_at(&self) -> Option<u64> {
        self.until.values().min().copied()
    }
}

/// Gives an offered pod the uid that it has until it exists here.
pub fn mark_offered(raw: &mut Value) {
    let home = raw["metadata"]["annotations"][annotation::HOME_UID].as_str().unwrap_or_default();
    raw["metadata"]["uid"] = offered_uid(home).into();
}

/// A place for an offered pod. Whole groups, and external schedulers, decide about pods that are here.
///
/// # Errors
/// When there is none.
pub fn place_offered(snapshot: &Snapshot, pod: &Pod, default: Policy, seed: u64) -> Result<Arc<str>, WhyNot> {
    let policy = match Policy::of(pod, default)? {
        Policy::Group | Policy::External => Policy::Balanced,
        other => other,
    };
    place(snapshot, pod, policy, seed)
}

/// The uid of the pod in its home API, by which kept places are known.
pub fn home_uid(pod: &Pod) -> Arc<str> {
    let meta = &pod.metadata;
    meta.annotations.get(annotation::HOME_UID).unwrap_or(&meta.uid).clone()
}

fn offered_uid(home: &str) -> String {
    format!("offered-{home}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Node;
    use serde_json::json;

    #[test]
    fn a_place_is_kept_until_its_time_is_over_or_the_pod_comes() {
        let mut snapshot = Snapshot::default();
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"},
            "status": {"allocatable": {"cpu": "1", "pods": "10"}}}))
        .expect("a node");
        snapshot.set_node(Arc::new(node));
        let mut raw = json!({"metadata": {"name": "p", "annotations": {"dunlin.io/home-uid": "u"}},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}});
        mark_offered(&mut raw);
        let pod: Arc<Pod> = Arc::new(serde_json::from_value(raw).expect("a pod"));
        let find = |snapshot: &Snapshot| place_offered(snapshot, &pod, Policy::Group, 1);
        let mut kept = Kept::default();
        kept.begin(&mut snapshot, &pod, 100);
        let node = find(&snapshot).expect("it is free");
        snapshot.assume(&pod, &node);
        assert!(find(&snapshot).is_err() && kept.holds(&pod) && kept.next_at() == Some(100));
        assert!(!kept.expire(&mut snapshot, 99) && find(&snapshot).is_err());
        assert!(kept.expire(&mut snapshot, 100) && find(&snapshot).is_ok() && !kept.holds(&pod));
        kept.begin(&mut snapshot, &pod, 300);
        snapshot.assume(&pod, &node);
        kept.give_up(&mut snapshot, &"u".into());
        assert!(find(&snapshot).is_ok() && kept.next_at().is_none());
    }
}
