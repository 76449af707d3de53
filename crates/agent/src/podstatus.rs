//! A pod's status as a kubelet reports it: pure, from the pod, what is known of it, and the time.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::model::{ContainerRecord, Record, Sandbox, State, Terminated, full_name, inits, sidecar, spec};
use crate::plan::{Delays, crash_delay, finished, restarts};

/// The condition of a pod with containers that share a process with those of other pods.
const SHARED_PROCESS: &str = "runtime.dunlin.io/SharedProcess";
/// How long an error is shown as such before its back-off is.
pub const ERROR_SHOWN: Duration = Duration::from_secs(2);

/// The status now; `record.transitions` is brought up to date.
pub fn status(pod: &Pod, record: &mut Record, host_ip: &str, delays: &Delays, now: Timestamp) -> PodStatus {
    let done = finished(pod, record);
    let init_statuses: Vec<ContainerStatus> =
        inits(pod).iter().map(|c| container_status(pod, c, record, delays, now)).collect();
    let statuses: Vec<ContainerStatus> =
        spec(pod).containers.iter().map(|c| container_status(pod, c, record, delays, now)).collect();
    let phase = phase(pod, record, done);
    let conditions = conditions(pod, record, &statuses, phase, now);
    let ip = record.ip.clone();
    PodStatus {
        phase: Some(phase.into()),
        reason: record.failed.as_ref().map(|(r, _)| r.clone()),
        message: record.failed.as_ref().map(|(_, m)| m.clone()).filter(|m| !m.is_empty()),
        conditions: Some(conditions),
        container_statuses: Some(statuses),
        init_container_statuses: Some(init_statuses).filter(|s| !s.is_empty()),
        host_ip: Some(host_ip.to_owned()).filter(|i| !i.is_empty()),
        host_ips: Some(vec![HostIP { ip: host_ip.to_owned() }]).filter(|_| !host_ip.is_empty()),
        pod_ips: ip.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip: ip,
        start_time: record.start_time.map(Time),
        qos_class: Some(qos(pod).into()),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// The phase.
pub fn phase(pod: &Pod, record: &Record, done: bool) -> &'static str {
    if record.failed.is_some() {
        return "Failed";
    }
    let mains = &spec(pod).containers;
    let all_ended = mains.iter().all(|c| record.container(&c.name).exited().is_some());
    if done || (record.ending && record.initialized && !mains.is_empty() && all_ended) {
        let ok = record.initialized
            && mains.iter().all(|c| record.container(&c.name).exited().is_some_and(|t| t.exit_code == 0));
        return if ok { "Succeeded" } else { "Failed" };
    }
    let begun = |c: &Container| {
        let known = record.container(&c.name);
        !matches!(known.state, State::Waiting) || known.last.is_some()
    };
    if record.initialized && mains.iter().all(begun) { "Running" } else { "Pending" }
}

fn conditions(
    pod: &Pod,
    record: &mut Record,
    statuses: &[ContainerStatus],
    phase: &str,
    now: Timestamp,
) -> Vec<PodCondition> {
    let terminal = matches!(phase, "Succeeded" | "Failed");
    let unready: Vec<&str> = statuses.iter().filter(|s| !s.ready).map(|s| s.name.as_str()).collect();
    let unready_sidecars: Vec<String> = inits(pod)
        .iter()
        .filter(|c| sidecar(pod, c) && !record.container(&c.name).ready)
        .map(|c| c.name.clone())
        .collect();
    let uninitialized: Vec<&str> = inits(pod)
        .iter()
        .filter(|c| {
            let known = record.container(&c.name);
            if sidecar(pod, c) { !known.started } else { known.exited().is_none_or(|t| t.exit_code != 0) }
        })
        .map(|c| c.name.as_str())
        .collect();
    let initialized = if record.initialized || uninitialized.is_empty() {
        ("True", if phase == "Succeeded" { Some("PodCompleted") } else { None }, None)
    } else {
        (
            "False",
            Some("ContainersNotInitialized"),
            Some(format!("containers with incomplete status: [{}]", uninitialized.join(" "))),
        )
    };
    let containers_ready = if phase == "Succeeded" {
        ("False", Some("PodCompleted"), None)
    } else if terminal {
        ("False", Some("PodFailed"), None)
    } else if unready.is_empty() && unready_sidecars.is_empty() && !statuses.is_empty() {
        ("True", None, None)
    } else {
        let mut names: Vec<&str> = unready_sidecars.iter().map(String::as_str).collect();
        names.extend(&unready);
        (
            "False",
            Some("ContainersNotReady"),
            Some(format!("containers with unready status: [{}]", names.join(" "))),
        )
    };
    let mut ready = containers_ready.clone();
    if ready.0 == "True" {
        let have = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let closed: Vec<&str> = spec(pod)
            .readiness_gates
            .iter()
            .flatten()
            .filter(|g| !have.iter().any(|c| c.type_ == g.condition_type && c.status == "True"))
            .map(|g| g.condition_type.as_str())
            .collect();
        if let Some(first) = closed.first() {
            let why = format!("the status of pod readiness gate \"{first}\" is not \"True\", but False");
            ready = ("False", Some("ReadinessGatesNotReady"), Some(why));
        }
    }
    let remarks = remarks(pod, record);
    let sandbox =
        (if record.sandbox == Sandbox::Ready && record.ip.is_some() { "True" } else { "False" }, None, None);
    [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
    ]
    .into_iter()
    .map(|(kind, (status, reason, message))| {
        let entry = record.transitions.entry(kind.to_owned()).or_insert_with(|| (status.to_owned(), now));
        if entry.0 != status {
            *entry = (status.to_owned(), now);
        }
        PodCondition {
            type_: kind.into(),
            status: status.into(),
            reason: reason.map(str::to_owned),
            message,
            last_transition_time: Some(Time(entry.1)),
            observed_generation: pod.metadata.generation,
            ..PodCondition::default()
        }
    })
    .chain(scheduled(pod))
    .chain(remarks)
    .collect()
}

/// What people should know of how the pod's containers run.
fn remarks(pod: &Pod, record: &Record) -> Option<PodCondition> {
    let said = inits(pod).iter().chain(&spec(pod).containers).filter_map(|container| {
        let known = record.container(&container.name);
        let remark = known.remark.clone().filter(|_| known.running())?;
        Some(format!("container {} {remark}", container.name))
    });
    let message = said.collect::<Vec<_>>().join("; ");
    (!message.is_empty()).then(|| PodCondition {
        type_: SHARED_PROCESS.into(),
        status: "True".into(),
        reason: Some("ServesWasiHTTP".into()),
        message: Some(message),
        last_transition_time: record.start_time.map(Time),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    })
}

/// The scheduler's condition is kept; a pod bound without a scheduler gets one.
fn scheduled(pod: &Pod) -> Option<PodCondition> {
    let have = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    match have.iter().find(|c| c.type_ == "PodScheduled") {
        Some(_) => None,
        None => Some(PodCondition {
            type_: "PodScheduled".into(),
            status: "True".into(),
            last_transition_time: pod.metadata.creation_timestamp.clone(),
            observed_generation: pod.metadata.generation,
            ..PodCondition::default()
        }),
    }
}

fn container_status(
    pod: &Pod,
    container: &Container,
    record: &Record,
    delays: &Delays,
    now: Timestamp,
) -> ContainerStatus {
    let known = record.container(&container.name);
    let (state, last) = states(pod, container, record, &known, delays, now);
    let id = match &known.state {
        State::Running { .. } => Some(container_id(pod, &container.name, known.launches)),
        State::Exited(t) => Some(t.container_id.clone()),
        State::Waiting => known.last.as_ref().map(|t| t.container_id.clone()),
    };
    let init = inits(pod).iter().any(|c| c.name == container.name);
    let completed_init = init && !sidecar(pod, container) && known.exited().is_some_and(|t| t.exit_code == 0);
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        image_id: known.image_id.clone(),
        container_id: id.filter(|i| !i.is_empty()),
        ready: (known.running() && known.ready) || completed_init,
        started: Some(known.running() && known.started),
        restart_count: i32::try_from(known.launches.saturating_sub(1)).unwrap_or(i32::MAX),
        state: Some(state),
        last_state: Some(last),
        resources: container.resources.clone().filter(|r| r.limits.is_some() || r.requests.is_some()),
        ..ContainerStatus::default()
    }
}

/// The id under which a container is known in statuses.
pub fn container_id(pod: &Pod, name: &str, launches: u32) -> String {
    format!("dunlin://{}/{name}-{}", pod.metadata.uid.as_deref().unwrap_or(""), launches.saturating_sub(1))
}

fn states(
    pod: &Pod,
    container: &Container,
    record: &Record,
    known: &ContainerRecord,
    delays: &Delays,
    now: Timestamp,
) -> (ContainerState, ContainerState) {
    let last = known.last.as_ref().map(terminated).unwrap_or_default();
    match &known.state {
        State::Running { since } => {
            let running = ContainerStateRunning { started_at: Some(Time(*since)) };
            (ContainerState { running: Some(running), ..ContainerState::default() }, last)
        }
        State::Exited(ended) => {
            let again =
                restarts(pod, container, ended.exit_code) && !record.ending && record.failed.is_none();
            let delay = crash_delay(known, delays);
            let until = delay.and_then(|d| ended.finished.checked_add(d).ok()).filter(|at| *at > now);
            match (again, delay, until) {
                (true, Some(delay), Some(_)) => {
                    let message = format!(
                        "back-off {} restarting failed container={} pod={}",
                        go_duration(delay),
                        container.name,
                        full_name(pod)
                    );
                    (waiting("CrashLoopBackOff", Some(message)), terminated(ended))
                }
                _ => (terminated(ended), last),
            }
        }
        State::Waiting => {
            let state = match &known.trouble {
                Some(trouble) => {
                    let shown = trouble.at.checked_add(ERROR_SHOWN).is_ok_and(|until| now < until);
                    if matches!(trouble.reason.as_str(), "ErrImagePull" | "RegistryUnavailable") && !shown {
                        let image = container.image.as_deref().unwrap_or("");
                        let message = format!(
                            "Back-off pulling image \"{image}\": {}: {}",
                            trouble.reason, trouble.message
                        );
                        waiting("ImagePullBackOff", Some(message))
                    } else {
                        waiting(&trouble.reason, Some(trouble.message.clone()))
                    }
                }
                None if !inits(pod).is_empty() && !record.initialized => waiting("PodInitializing", None),
                None => waiting("ContainerCreating", None),
            };
            (state, last)
        }
    }
}

/// `10s`, `2m40s`, as Go prints durations.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return format!("{}ms", duration.as_millis());
    }
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn terminated(ended: &Terminated) -> ContainerState {
    let terminated = ContainerStateTerminated {
        exit_code: ended.exit_code,
        signal: None,
        reason: Some(ended.reason.clone()),
        message: ended.message.clone(),
        started_at: ended.started.map(Time),
        finished_at: Some(Time(ended.finished)),
        container_id: Some(ended.container_id.clone()).filter(|i| !i.is_empty()),
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// The class by which the kernel and evictions choose victims: the API server's word, or worked out here.
pub fn qos(pod: &Pod) -> &'static str {
    match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        Some("Guaranteed") => return "Guaranteed",
        Some("Burstable") => return "Burstable",
        Some("BestEffort") => return "BestEffort",
        _ => {}
    }
    let mut any = false;
    let mut all = true;
    for container in inits(pod).iter().chain(&spec(pod).containers) {
        let resources = container.resources.clone().unwrap_or_default();
        let (requests, limits) =
            (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default());
        for name in ["cpu", "memory"] {
            any |= requests.contains_key(name) || limits.contains_key(name);
            let guaranteed = limits.get(name).is_some_and(|l| {
                requests
                    .get(name)
                    .is_none_or(|r| dunlin_node::admit::milli(r) == dunlin_node::admit::milli(l))
            });
            all &= guaranteed;
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DELAYS: Delays = Delays { first: Duration::from_secs(10), most: Duration::from_secs(300) };

    fn pod() -> Pod {
        serde_json::from_value(json!({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"n","uid":"u"},
            "spec":{"containers":[{"name":"a","image":"x"}],"readinessGates":[{"conditionType":"example.com/open"}]}}))
        .expect("pod")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("time")
    }

    fn condition(status: &PodStatus, kind: &str) -> (String, Option<String>) {
        let c = status.conditions.iter().flatten().find(|c| c.type_ == kind).expect("condition");
        (c.status.clone(), c.reason.clone())
    }

    #[test]
    fn creating_running_crashing() {
        let mut record = Record { initialized: true, ..Record::default() };
        let first = status(&pod(), &mut record, "192.0.2.1", &DELAYS, at(1));
        assert_eq!(first.phase.as_deref(), Some("Pending"));
        let state = first.container_statuses.as_ref().expect("list")[0].state.clone().expect("state");
        assert_eq!(state.waiting.expect("waiting").reason.as_deref(), Some("ContainerCreating"));

        let known = record.containers.entry("a".into()).or_default();
        *known = ContainerRecord {
            state: State::Running { since: at(2) },
            launches: 3,
            started: true,
            ready: true,
            ..Default::default()
        };
        let running = status(&pod(), &mut record, "192.0.2.1", &DELAYS, at(3));
        assert_eq!(running.phase.as_deref(), Some("Running"));
        assert_eq!(condition(&running, "ContainersReady").0, "True");
        assert_eq!(condition(&running, "Ready"), ("False".into(), Some("ReadinessGatesNotReady".into())));
        assert_eq!(running.container_statuses.as_ref().expect("list")[0].restart_count, 2);

        let ended = Terminated {
            exit_code: 1,
            signal: None,
            reason: "Error".into(),
            message: None,
            started: None,
            finished: at(4),
            container_id: "dunlin://u/a-2".into(),
        };
        let known = record.containers.get_mut("a").expect("a");
        known.state = State::Exited(ended);
        known.crashes = 3;
        let crashing = status(&pod(), &mut record, "192.0.2.1", &DELAYS, at(5));
        assert_eq!(crashing.phase.as_deref(), Some("Running"));
        let state = crashing.container_statuses.as_ref().expect("list")[0].state.clone().expect("state");
        let waiting = state.waiting.expect("waiting");
        assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
        assert_eq!(waiting.message.as_deref(), Some("back-off 20s restarting failed container=a pod=p_n(u)"));
    }

    #[test]
    fn pull_errors_turn_into_back_offs() {
        let mut record = Record { initialized: true, ..Record::default() };
        let known = record.containers.entry("a".into()).or_default();
        known.trouble =
            Some(crate::model::Trouble { reason: "ErrImagePull".into(), message: "no".into(), at: at(10) });
        let reason = |record: &mut Record, now| {
            let status = status(&pod(), record, "", &DELAYS, at(now));
            status.container_statuses.expect("list")[0]
                .state
                .clone()
                .expect("state")
                .waiting
                .expect("waiting")
                .reason
        };
        assert_eq!(reason(&mut record, 11).as_deref(), Some("ErrImagePull"));
        assert_eq!(reason(&mut record, 13).as_deref(), Some("ImagePullBackOff"));
    }

    #[test]
    fn classes() {
        assert_eq!(qos(&pod()), "BestEffort");
        let mut pod = pod();
        let c = &mut pod.spec.as_mut().expect("spec").containers[0];
        c.resources =
            serde_json::from_value(json!({"limits":{"cpu":"1","memory":"1Gi"}})).expect("resources");
        assert_eq!(qos(&pod), "Guaranteed");
    }
}
