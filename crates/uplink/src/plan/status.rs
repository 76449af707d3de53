//! What the parent is told of a pod: its mirror's status, and where the mirror is.

use dunlin_api::names::condition;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateWaiting, ContainerStatus, Pod, PodCondition,
    PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::mirror::Expose;

/// The status of the pod above whose mirror is `mirror`; `None` while the mirror says nothing worth telling.
///
/// Where the parent sees machines, it knows by the node that it has bound the pod to where it is; only a machine that is
/// a cluster in turn has more to say.
pub fn of_mirror(mirror: &Pod, expose: Expose, now: Timestamp) -> Option<PodStatus> {
    let mut status = mirror.status.clone()?;
    let mut conditions = status.conditions.take().unwrap_or_default();
    status.nominated_node_name = None;
    let since = |kind: &str, conditions: &[PodCondition]| {
        conditions.iter().find(|c| c.type_ == kind).and_then(|c| c.last_transition_time.clone())
    };
    let scheduled = since("PodScheduled", &conditions).unwrap_or(Time(now));
    if expose == Expose::Cluster {
        conditions.retain(|c| c.type_ != condition::PLACED);
    }
    let place = |on: bool, reason: &str, message: String| PodCondition {
        type_: condition::PLACED.into(),
        status: if on { "True" } else { "False" }.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(scheduled.clone()),
        ..PodCondition::default()
    };
    let path = path(mirror);
    if let (Expose::Cluster, Some(path)) = (expose, &path) {
        conditions.push(place(true, "Machine", path.clone()));
    } else if path.is_none() {
        // Bound above is scheduled above; that the child still looks for a machine is told by a condition of its own.
        let waiting = conditions.iter().find(|c| c.type_ == "PodScheduled").and_then(|c| c.message.clone());
        conditions.retain(|c| c.type_ != "PodScheduled");
        let waiting = waiting.unwrap_or_else(|| "the cluster is looking for a machine".into());
        conditions.push(place(false, "Waiting", waiting));
    }
    // Conditions merge by type, so one that is gone below has to be taken back by name.
    if !conditions.iter().any(|c| c.type_ == condition::DANGLING) {
        conditions.push(PodCondition {
            type_: condition::DANGLING.into(),
            status: "False".into(),
            last_transition_time: since("Ready", &conditions),
            ..PodCondition::default()
        });
    }
    status.conditions = Some(conditions);
    Some(status)
}

/// The machine by its path below this cluster.
pub fn path(mirror: &Pod) -> Option<String> {
    let node = mirror.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())?;
    let conditions = mirror.status.as_ref().and_then(|status| status.conditions.as_ref());
    let deeper =
        conditions.into_iter().flatten().find(|c| c.type_ == condition::PLACED && c.status == "True");
    Some(match deeper.and_then(|c| c.message.as_deref()) {
        Some(rest) => format!("{node}/{rest}"),
        None => node.to_owned(),
    })
}

/// The last status of a pod that has no place here.
pub fn refused(upper: &Pod, reason: &str, message: String) -> PodStatus {
    let mut status = upper.status.clone().unwrap_or_default();
    status.phase = Some("Failed".into());
    status.reason = Some(reason.into());
    status.message = Some(message);
    for condition in status.conditions.iter_mut().flatten().filter(|c| c.type_.ends_with("Ready")) {
        condition.status = "False".into();
    }
    status
}

/// Since when the child's scheduler has found no machine for the mirror, and why, if it has not.
pub fn unplaced_since(mirror: &Pod) -> Option<(Timestamp, String)> {
    let conditions = mirror.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    if scheduled.reason.as_deref() != Some("Unschedulable") {
        return None;
    }
    let since = scheduled.last_transition_time.as_ref()?.0;
    Some((since, scheduled.message.clone().unwrap_or_default()))
}

/// The status of the pod that stands for all pods of a DaemonSet below.
pub fn of_daemon(upper: &Pod, below: &DaemonSet, now: Timestamp) -> PodStatus {
    let status = below.status.clone().unwrap_or_default();
    let (desired, ready) = (status.desired_number_scheduled, status.number_ready);
    let current = status.observed_generation == below.metadata.generation
        && status.updated_number_scheduled.unwrap_or(0) >= desired;
    let all = current && ready >= desired;
    let message = format!("{ready} of {desired} machines run it");
    let old = upper.status.as_ref();
    let condition = |kind: &str, on: bool, text: Option<&str>| {
        let status = if on { "True" } else { "False" };
        let before = old.and_then(|s| s.conditions.as_ref()).into_iter().flatten().find(|c| c.type_ == kind);
        let since = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
        PodCondition {
            type_: kind.into(),
            status: status.into(),
            reason: text.map(|_| "Machines".into()),
            message: text.map(str::to_owned),
            last_transition_time: Some(since.unwrap_or(Time(now))),
            ..PodCondition::default()
        }
    };
    let started = old.and_then(|s| s.start_time.clone()).unwrap_or(Time(now));
    let state = if all {
        let running = ContainerStateRunning { started_at: Some(started.clone()) };
        ContainerState { running: Some(running), ..ContainerState::default() }
    } else {
        let waiting =
            ContainerStateWaiting { reason: Some("MachinesNotReady".into()), message: Some(message.clone()) };
        ContainerState { waiting: Some(waiting), ..ContainerState::default() }
    };
    let containers = upper.spec.iter().flat_map(|spec| &spec.containers);
    let containers = containers.map(|c| ContainerStatus {
        name: c.name.clone(),
        image: c.image.clone().unwrap_or_default(),
        ready: all,
        started: Some(all),
        state: Some(state.clone()),
        ..ContainerStatus::default()
    });
    PodStatus {
        phase: Some(if all { "Running" } else { "Pending" }.into()),
        start_time: Some(started.clone()),
        conditions: Some(vec![
            condition("Initialized", true, None),
            condition("ContainersReady", all, Some(&message)),
            condition("Ready", all, Some(&message)),
            condition(condition::PLACED, true, Some(&message)),
        ]),
        container_statuses: Some(containers.collect()),
        ..PodStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_path_grows_with_each_level() {
        let mirror: Pod = serde_json::from_value(json!({"spec": {"nodeName": "site", "containers": []},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "dunlin.io/Placed", "status": "True", "message": "row/board"}]}}))
        .expect("a pod");
        let status = of_mirror(&mirror, Expose::Cluster, Timestamp::UNIX_EPOCH).expect("a status");
        let conditions = status.conditions.expect("conditions");
        let placed = conditions.iter().find(|c| c.type_ == condition::PLACED).expect("placed");
        assert_eq!(placed.message.as_deref(), Some("site/row/board"));
        let machine = of_mirror(&mirror, Expose::Nodes, Timestamp::UNIX_EPOCH).expect("a status");
        let placed = machine.conditions.into_iter().flatten().find(|c| c.type_ == condition::PLACED);
        assert_eq!(placed.and_then(|c| c.message).as_deref(), Some("row/board"), "the node is known above");
        let dangling = conditions.iter().find(|c| c.type_ == condition::DANGLING).expect("told");
        assert_eq!(dangling.status, "False");
    }

    #[test]
    fn a_daemon_pod_is_ready_when_all_machines_are() {
        let upper: Pod =
            serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}))
                .expect("a pod");
        let set = |ready: i32, observed: i64| -> DaemonSet {
            serde_json::from_value(
                json!({"metadata": {"generation": 2}, "status": {"observedGeneration": observed,
                "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberMisscheduled": 0,
                "numberReady": ready, "updatedNumberScheduled": 3}}),
            )
            .expect("a set")
        };
        let phase = |ready, observed| of_daemon(&upper, &set(ready, observed), Timestamp::UNIX_EPOCH).phase;
        assert_eq!(phase(3, 2).as_deref(), Some("Running"));
        assert_eq!(phase(2, 2).as_deref(), Some("Pending"));
        assert_eq!(phase(3, 1).as_deref(), Some("Pending"), "the new template has not been looked at yet");
    }
}
