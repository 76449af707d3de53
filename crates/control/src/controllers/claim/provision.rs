//! Makes volumes of the class `local-path`: a directory on the node that the scheduler chose, or a claim in the cluster
//! behind it. Claims of other provisioners are marked for them.
//!
//! Only the object is made here. The node makes the directory when a pod needs it, and removes it before the object
//! goes: until then the finalizer [`storage::LOCAL_PATH`] keeps the object, so that nothing leaks while a node is away.

use dunlin_api::names::{annotation, finalizer, label, storage};
use serde_json::{Value, json};

use super::{COMPONENT, Step, warn};
use crate::controllers::common;
use crate::model::{Claim, Node, StorageClass};
use crate::plan::{Action, Precondition};

/// Plans an unbound claim for which there is no volume; it has a node if its class waits for one.
pub fn plan(step: &mut Step<'_>, class: &StorageClass) {
    let claim = step.claim;
    if &*class.provisioner == storage::NO_PROVISIONER {
        return step.report.waits("a volume of its class");
    }
    let marked = claim.metadata.annotations.get(annotation::STORAGE_PROVISIONER);
    if marked != Some(&class.provisioner) {
        return annotate(step, annotation::STORAGE_PROVISIONER, json!(class.provisioner));
    }
    if &*class.provisioner != storage::LOCAL_PATH {
        step.report.waits(format!("provisioner {}", class.provisioner));
        let text = format!(
            "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system \
             administrator. If volume creation is delayed, please verify that the provisioner is running and \
             correctly registered.",
            class.provisioner
        );
        return step.plan.push(common::event(
            step.key,
            &claim.metadata,
            COMPONENT,
            "ExternalProvisioning",
            text,
        ));
    }
    let name = format!("pvc-{}", claim.metadata.uid);
    if step.view.volumes.get("", &name).is_some() {
        return step.report.waits("its volume, which is being deleted or does not fit");
    }
    match place(step) {
        Ok((node, source)) => {
            let object = volume(&name, claim, class, &node, source);
            let resource = "persistentvolumes".into();
            step.plan.push(Action::Create { resource, namespace: "".into(), object });
            let text = format!("Successfully provisioned volume {name}");
            step.plan.push(common::event(
                step.key,
                &claim.metadata,
                COMPONENT,
                "ProvisioningSucceeded",
                text,
            ));
        }
        Err(why) => {
            let text =
                format!("failed to provision volume with StorageClass {:?}: {why}", class.metadata.name);
            step.report.waits(text.clone());
            warn(step.plan, claim, "ProvisioningFailed", text);
        }
    }
}

fn annotate(step: &mut Step<'_>, name: &str, value: Value) {
    step.plan.push(Action::Patch {
        target: step.key.clone(),
        subresource: None,
        patch: json!({"metadata": {"annotations": {name: value}}}),
        only_if: Precondition::unchanged(&step.claim.metadata),
    });
}

/// The node, and the volume's source there.
fn place(step: &mut Step<'_>) -> Result<(std::sync::Arc<Node>, Value), String> {
    let claim = step.claim;
    refuse(claim)?;
    let Some(name) = claim.selected_node() else {
        return Err(
            "a directory is on one node, so the class must have volumeBindingMode WaitForFirstConsumer"
                .into(),
        );
    };
    let Some(node) = step.view.nodes.get("", name).cloned() else {
        annotate(step, annotation::SELECTED_NODE, Value::Null);
        return Err(format!("node {name} does not exist any more, another one is looked for"));
    };
    if node.is_below() {
        let handle = format!("{name}/{}", claim.metadata.uid);
        return Ok((node, json!({"csi": {"driver": storage::CLUSTER_DRIVER, "volumeHandle": handle}})));
    }
    let Some(folder) = node.metadata.annotations.get(annotation::VOLUMES).cloned() else {
        annotate(step, annotation::SELECTED_NODE, Value::Null);
        return Err(format!("node {name} makes no volumes, another one is looked for"));
    };
    let path = format!("{}/pvc-{}", folder.trim_end_matches('/'), claim.metadata.uid);
    Ok((node, json!({"local": {"path": path}})))
}

/// What a directory on one node cannot be.
fn refuse(claim: &Claim) -> Result<(), String> {
    let spec = &claim.spec;
    if let Some(mode) =
        spec.access_modes.iter().find(|m| !matches!(&***m, "ReadWriteOnce" | "ReadWriteOncePod"))
    {
        return Err(format!(
            "access mode {mode} needs storage that several nodes share; this is a directory on one node"
        ));
    }
    if claim.is_block() {
        return Err("volumeMode Block is not offered, only Filesystem".into());
    }
    if spec.selector.is_some() {
        return Err("a selector chooses among volumes that there are, so none is made for it".into());
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return Err("a new directory is empty: dataSource is not supported".into());
    }
    Ok(())
}

fn volume(name: &str, claim: &Claim, class: &StorageClass, node: &Node, source: Value) -> Value {
    let hostname = node.metadata.labels.get(label::HOSTNAME).unwrap_or(&node.metadata.name);
    let policy = if class.reclaim_policy.is_empty() { "Delete" } else { &class.reclaim_policy };
    let meta = &claim.metadata;
    let mut spec = json!({
        "capacity": {"storage": claim.spec.resources.requests["storage"]},
        "accessModes": claim.spec.access_modes,
        "volumeMode": "Filesystem",
        "persistentVolumeReclaimPolicy": policy,
        "storageClassName": class.metadata.name,
        "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta.namespace,
            "name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": label::HOSTNAME, "operator": "In", "values": [hostname]}]}]}},
    });
    for (kind, value) in source.as_object().into_iter().flatten() {
        spec[kind] = value.clone();
    }
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": name,
            "labels": {label::VOLUME_NODE: storage::node_label(&node.metadata.name)},
            "annotations": {annotation::PROVISIONED_BY: storage::LOCAL_PATH, annotation::VOLUME_NODE: node.metadata.name},
            "finalizers": [finalizer::PV_PROTECTION, storage::LOCAL_PATH],
        },
        "spec": spec,
    })
}
