//! What a pod names of its namespace: the ConfigMaps and Secrets that must travel with it, and its tokens.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Container, PersistentVolumeClaimVolumeSource, Pod, PodSpec, ServiceAccountTokenProjection,
};

/// The CA of the home API; every namespace below has one of that name already, of its own API.
pub const ROOT_CA: &str = "kube-root-ca.crt";

/// What kind of object travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    ConfigMap,
    Secret,
    /// A PersistentVolumeClaim. It does not travel like the others: see `claims.rs`.
    Claim,
}

impl Kind {
    /// Its plural name.
    pub fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
            Self::Claim => "persistentvolumeclaims",
        }
    }
}

/// Something that a pod names.
pub type Reference = (Kind, String);

/// All that `spec` names and that is copied, whether it must exist or not: a missing one is missing below, too, and the
/// machine says so.
pub fn references(spec: &PodSpec) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    let mut spec = spec.clone();
    rename(&mut spec, &mut |kind, name| {
        if kind != Kind::Claim {
            found.insert((kind, name.clone()));
        }
    });
    found
}

/// The claims that a pod uses, by name, those of its ephemeral volumes among them.
pub fn claims(pod: &Pod) -> BTreeSet<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let mut spec = pod.spec.clone().unwrap_or_default();
    settle(&mut spec, name);
    let mut found = BTreeSet::new();
    rename(&mut spec, &mut |kind, name| {
        if kind == Kind::Claim {
            found.insert(name.clone());
        }
    });
    found
}

/// Lets ephemeral volumes of the pod `name` name their claims, which its home has made: none is made below for them.
pub fn settle(spec: &mut PodSpec, name: &str) {
    for volume in spec.volumes.iter_mut().flatten().filter(|volume| volume.ephemeral.is_some()) {
        volume.ephemeral = None;
        let claim_name = format!("{name}-{}", volume.name);
        volume.persistent_volume_claim =
            Some(PersistentVolumeClaimVolumeSource { claim_name, read_only: None });
    }
}

/// Lets `change` see, and change, the name of everything that `spec` names.
pub fn rename(spec: &mut PodSpec, change: &mut dyn FnMut(Kind, &mut String)) {
    for secret in spec.image_pull_secrets.iter_mut().flatten() {
        change(Kind::Secret, &mut secret.name);
    }
    let init = spec.init_containers.iter_mut().flatten();
    for container in spec.containers.iter_mut().chain(init) {
        environment(container, change);
    }
    for volume in spec.volumes.iter_mut().flatten() {
        if let Some(config) = &mut volume.config_map {
            change(Kind::ConfigMap, &mut config.name);
        }
        if let Some(name) = volume.secret.as_mut().and_then(|secret| secret.secret_name.as_mut()) {
            change(Kind::Secret, name);
        }
        if let Some(claim) = &mut volume.persistent_volume_claim {
            change(Kind::Claim, &mut claim.claim_name);
        }
        for source in volume.projected.iter_mut().flat_map(|p| p.sources.iter_mut().flatten()) {
            if let Some(config) = &mut source.config_map {
                change(Kind::ConfigMap, &mut config.name);
            }
            if let Some(secret) = &mut source.secret {
                change(Kind::Secret, &mut secret.name);
            }
        }
    }
}

fn environment(container: &mut Container, change: &mut dyn FnMut(Kind, &mut String)) {
    for source in container.env_from.iter_mut().flatten() {
        if let Some(config) = &mut source.config_map_ref {
            change(Kind::ConfigMap, &mut config.name);
        }
        if let Some(secret) = &mut source.secret_ref {
            change(Kind::Secret, &mut secret.name);
        }
    }
    for from in container.env.iter_mut().flatten().filter_map(|variable| variable.value_from.as_mut()) {
        if let Some(config) = &mut from.config_map_key_ref {
            change(Kind::ConfigMap, &mut config.name);
        }
        if let Some(secret) = &mut from.secret_key_ref {
            change(Kind::Secret, &mut secret.name);
        }
    }
}

/// The projected tokens of a pod, in order; their keys in the Secret that takes their place are `token-<position>`.
pub fn tokens(spec: &PodSpec) -> Vec<ServiceAccountTokenProjection> {
    let volumes = spec.volumes.iter().flatten();
    let sources = volumes.flat_map(|v| v.projected.iter().flat_map(|p| p.sources.iter().flatten()));
    sources.filter_map(|source| source.service_account_token.clone()).collect()
}
