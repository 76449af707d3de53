//! Priorities: a pod keeps its class where this cluster has a PriorityClass of that name, with the value and the policy
//! that it has here. What matters more than what is this cluster's to say; where it has no such class, its default holds.

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::Api;

use crate::uplink::Shared;

/// Gives `spec` the class of `upper`, if this cluster has it. `resolved`: with what the class stands for, as the API would
/// fill it in.
pub async fn set(
    shared: &Shared,
    upper: &PodSpec,
    spec: &mut PodSpec,
    resolved: bool,
) -> Result<(), kube::Error> {
    let Some(name) = upper.priority_class_name.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(());
    };
    let api: Api<PriorityClass> = Api::all(shared.child.clone());
    if let Some(class) = api.get_opt(name).await? {
        spec.priority_class_name = Some(name.to_owned());
        if resolved {
            spec.priority = class.value;
            spec.preemption_policy = class.preemption_policy;
        }
    }
    Ok(())
}
