//! A claim of the parent as it is made below, and by what it is found again.
//!
//! It asks for the same, of the class that has the same name here, else of the default one; where its volume is, the
//! child decides, unless the parent has bound the pod to one of its machines. It carries the uid of the claim above: a later claim of that name is another one.

use std::collections::BTreeMap;

use dunlin_api::names::{annotation, label};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::mirror::{Level, home};
use super::references::Kind;

/// What the annotation of a claim below begins with if it was made for this claim above.
pub fn mark(above: &str, name: &str) -> String {
    format!("{}/{above}/{name}/", Kind::Claim.word())
}

/// The whole annotation, with the uid of the claim above.
pub fn mark_of(upper: &ObjectMeta) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}{}", mark(&text(&upper.namespace), &text(&upper.name)), text(&upper.uid))
}

/// The claim below `upper`, to be made in `namespace` under `name`. `class`: the storage class here, none for the
/// default one. `machine`: where the parent has bound the first pod that uses it, if it sees machines.
pub fn claim(
    level: &Level,
    upper: &PersistentVolumeClaim,
    namespace: &str,
    name: &str,
    class: Option<String>,
    machine: Option<&str>,
) -> PersistentVolumeClaim {
    let meta = &upper.metadata;
    let mut annotations: BTreeMap<String, String> = home(&level.node, meta);
    // How far the claim above is bound, and by whom.
    annotations.retain(|key, _| {
        let domain = key.split('/').next().unwrap_or_default();
        !matches!(domain, "pv.kubernetes.io" | "volume.kubernetes.io" | "volume.beta.kubernetes.io")
    });
    annotations.insert(annotation::MIRROR_OF.into(), mark_of(meta));
    annotations.extend(machine.map(|machine| (annotation::SELECTED_NODE.into(), machine.to_owned())));
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.insert(label::MIRROR.into(), level.parent.clone());
    let wanted = upper.spec.clone().unwrap_or_default();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: wanted.access_modes,
            resources: wanted.resources,
            volume_mode: wanted.volume_mode,
            storage_class_name: class,
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::mirror::Expose;
    use super::*;
    use serde_json::json;

    #[test]
    fn it_asks_for_the_same_and_knows_for_whom() {
        let level = Level { parent: "root".into(), node: "site".into(), area: None, expose: Expose::Cluster };
        let upper: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": {"name": "data", "namespace": "shop", "uid": "u1", "labels": {"app": "db"}, "finalizers": ["f"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "x"}],
                "annotations": {"volume.kubernetes.io/selected-node": "site", "pv.kubernetes.io/bind-completed": "yes", "team": "x"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "fast",
                "volumeName": "pvc-u1", "volumeMode": "Filesystem"},
        }))
        .expect("a claim");
        let below = claim(&level, &upper, "shop--root", "data", None, None);
        let below = serde_json::to_value(below).expect("json");
        assert_eq!(
            below["metadata"]["annotations"],
            json!({
                "team": "x", "dunlin.io/home-uid": "u1", "dunlin.io/home-namespace": "shop", "dunlin.io/home-node": "site",
                "dunlin.io/mirror-of": "persistentvolumeclaims/shop/data/u1",
            })
        );
        assert_eq!(below["metadata"]["labels"], json!({"app": "db", "dunlin.io/mirror": "root"}));
        assert_eq!(
            below["spec"],
            json!({"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": "1Gi"}}})
        );
        let on_machine = claim(&level, &upper, "shop--root", "data", Some("fast".into()), Some("board"));
        assert_eq!(
            on_machine.metadata.annotations.unwrap_or_default()["volume.kubernetes.io/selected-node"],
            "board"
        );
        assert_eq!(on_machine.spec.and_then(|spec| spec.storage_class_name).as_deref(), Some("fast"));
        for gone in ["finalizers", "ownerReferences", "uid"] {
            assert!(below["metadata"].get(gone).is_none(), "{gone}");
        }
    }
}
