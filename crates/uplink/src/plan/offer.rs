//! An offered pod as it would be made here.

use k8s_openapi::api::core::v1::Pod;

use super::mirror::{self, Expose, Level};
use super::{daemon, place};

/// The mirror that the pod would be; its namespace is not made for a mere offer.
pub fn as_mirror(level: &Level, pod: &Pod) -> Pod {
    if daemon::owner(pod).is_some() && level.expose == Expose::Cluster {
        // Every machine judges for itself; the pod that stands for all takes no room of its own.
        let mut light = pod.clone();
        for container in light.spec.iter_mut().flat_map(|spec| &mut spec.containers) {
            container.resources = None;
        }
        return mirrored(level, &light);
    }
    mirrored(level, pod)
}

fn mirrored(level: &Level, pod: &Pod) -> Pod {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    mirror::mirror(level, pod, &namespace, &|kind, name| place::name(kind, name))
}
