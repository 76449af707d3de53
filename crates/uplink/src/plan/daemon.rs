//! A DaemonSet pod of the parent as the DaemonSet that it becomes below: one pod on every matching machine.
//!
//! It is keyed by the upper DaemonSet, not by the pod, so that a successor of the pod updates it in place; and nothing
//! that differs from one pod to the next may be in its template, which would restart every daemon for nothing.

use std::collections::BTreeMap;

use dunlin_api::names::{annotation, label};
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};

use super::mirror::{self, Level, Names, token_secret};

/// The DaemonSet that controls the pod, if one does.
pub fn owner(upper: &Pod) -> Option<&OwnerReference> {
    let owners = upper.metadata.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true) && owner.kind == "DaemonSet")
}

/// The DaemonSet below for the pod `upper` of the DaemonSet `owner`.
pub fn daemon(
    level: &Level,
    upper: &Pod,
    owner: &OwnerReference,
    namespace: &str,
    names: Names<'_>,
) -> DaemonSet {
    let selector = BTreeMap::from([(label::DAEMON_OF.to_owned(), owner.uid.clone())]);
    let mut labels = upper.metadata.labels.clone().unwrap_or_default();
    for own in [label::CONTROLLER_REVISION_HASH, label::POD_TEMPLATE_GENERATION, label::MIRROR] {
        labels.remove(own);
    }
    labels.extend(selector.clone());
    let mut annotations = mirror::home(&level.node, &upper.metadata);
    mirror::pin(&upper.spec.clone().unwrap_or_default(), &mut annotations);
    annotations.remove(annotation::HOME_UID);
    annotations.remove(annotation::MIRROR_OF);
    let spec = mirror::spec(level, upper.spec.clone().unwrap_or_default(), &token_secret(&owner.uid), names);
    let own = BTreeMap::from([(annotation::MIRROR_OF.to_owned(), owner.uid.clone())]);
    DaemonSet {
        metadata: ObjectMeta {
            name: Some(owner.name.clone()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([(label::MIRROR.to_owned(), level.parent.clone())])),
            annotations: Some(own),
            ..ObjectMeta::default()
        },
        spec: Some(DaemonSetSpec {
            selector: LabelSelector { match_labels: Some(selector), match_expressions: None },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(spec),
            },
            ..DaemonSetSpec::default()
        }),
        status: None,
    }
}

/// Why a DaemonSet with this claim stays above.
pub fn no_claims(claim: &str) -> String {
    format!(
        "volume claim {claim:?}: claims of DaemonSets do not travel to child clusters, whose machines would share them"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_successor_gives_the_same_template() {
        let level =
            Level { parent: "root".into(), node: "site".into(), area: None, expose: mirror::Expose::Cluster };
        let made = |name: &str, uid: &str| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "n", "uid": uid,
                    "labels": {"app": "d", "controller-revision-hash": uid},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "set", "controller": true}]},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}))
            .expect("a pod");
            let owner = owner(&pod).expect("an owner").clone();
            daemon(&level, &pod, &owner, "n", &|_, name| name.to_owned())
        };
        assert_eq!(made("d-1", "u1"), made("d-2", "u2"));
        assert_eq!(made("d-1", "u1").metadata.name.as_deref(), Some("d"));
    }
}
