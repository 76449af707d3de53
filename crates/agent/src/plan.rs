//! What to do next with one pod: pure, from the pod, what is known of it, and the time.
//!
//! The plan names only actions that can start now; the driver carries them out, notes what came of them, and asks again.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::model::{ContainerRecord, Record, Sandbox, State, inits, sidecar, spec};

/// Delays of the crash loop.
#[derive(Debug, Clone, Copy)]
pub struct Delays {
    pub first: Duration,
    pub most: Duration,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    CreateSandbox,
    RemoveSandbox,
    Start(String),
    /// End a container within so many seconds, because of this.
    Stop(String, i64, String),
    /// The pod has failed for good: reason and message.
    Fail(String, String),
    /// Nothing of the pod is left; the API may forget it.
    Gone,
}

/// What to do, and when to ask again at the latest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub wake: Option<Timestamp>,
}

impl Plan {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }
}

/// Whether a container that ended like this runs again.
pub fn restarts(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    let policy = container
        .restart_policy
        .as_deref()
        .unwrap_or_else(|| spec(pod).restart_policy.as_deref().unwrap_or("Always"));
    let init = inits(pod).iter().any(|c| c.name == container.name);
    match policy {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ if init && !sidecar(pod, container) => exit_code != 0,
        _ => true,
    }
}

/// When a container that has ended may start again: `None` is at once.
pub fn crash_delay(record: &ContainerRecord, delays: &Delays) -> Option<Duration> {
    (record.crashes > 1).then(|| dunlin_base::backoff::step(delays.first, delays.most, record.crashes - 2))
}

/// When the back-off of an ended container is over.
pub fn backoff_end(record: &ContainerRecord, delays: &Delays) -> Option<Timestamp> {
    let ended = record.exited()?.finished;
    crash_delay(record, delays).map(|d| after(ended, d))
}

fn after(at: Timestamp, delay: Duration) -> Timestamp {
    at.checked_add(delay).unwrap_or(Timestamp::MAX)
}

/// All main containers have ended and none runs again.
pub fn finished(pod: &Pod, record: &Record) -> bool {
    record.failed.is_some()
        || init_failed(pod, record)
        || (record.initialized
            && !spec(pod).containers.is_empty()
            && spec(pod)
                .containers
                .iter()
                .all(|c| record.container(&c.name).exited().is_some_and(|t| !restarts(pod, c, t.exit_code))))
}

/// An init container failed for good.
pub fn init_failed(pod: &Pod, record: &Record) -> bool {
    !record.initialized
        && inits(pod).iter().any(|c| {
            record
                .container(&c.name)
                .exited()
                .is_some_and(|t| t.exit_code != 0 && !restarts(pod, c, t.exit_code))
        })
}

/// What to do now.
pub fn plan(pod: &Pod, record: &Record, delays: &Delays, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if record.ending || finished(pod, record) {
        end(pod, record, &mut plan);
        return plan;
    }
    if let (Some(seconds), Some(start)) = (spec(pod).active_deadline_seconds, record.start_time) {
        let deadline = after(start, Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        if now >= deadline {
            let message = "Pod was active on the node longer than the specified deadline";
            plan.actions.push(Action::Fail("DeadlineExceeded".into(), message.into()));
            return plan;
        }
        plan.wake_at(deadline);
    }
    match record.sandbox {
        Sandbox::None => {
            match record.sandbox_retry.filter(|at| *at > now) {
                Some(at) => plan.wake_at(at),
                None => plan.actions.push(Action::CreateSandbox),
            }
            return plan;
        }
        Sandbox::Lost => {
            plan.actions.push(Action::RemoveSandbox);
            return plan;
        }
        Sandbox::Creating | Sandbox::Removing => return plan,
        Sandbox::Ready => {}
    }
    if !record.volumes_ready {
        return plan;
    }
    if !record.initialized {
        if !initialize(pod, record, delays, now, &mut plan) {
            return plan;
        }
    } else {
        for container in inits(pod).iter().filter(|c| sidecar(pod, c)) {
            run(pod, record, container, delays, now, &mut plan);
        }
    }
    if record.initialized {
        for container in &spec(pod).containers {
            run(pod, record, container, delays, now, &mut plan);
        }
    }
    plan
}

/// Whether the init containers let the main containers start (the driver then sets `initialized`).
pub fn inits_done(pod: &Pod, record: &Record) -> bool {
    inits(pod).iter().all(|c| {
        let known = record.container(&c.name);
        if sidecar(pod, c) {
            known.running() && known.started
        } else {
            known.exited().is_some_and(|t| t.exit_code == 0)
        }
    })
}

fn initialize(pod: &Pod, record: &Record, delays: &Delays, now: Timestamp, plan: &mut Plan) -> bool {
    for container in inits(pod) {
        let known = record.container(&container.name);
        if sidecar(pod, container) {
            run(pod, record, container, delays, now, plan);
            if !(known.running() && known.started) {
                return false;
            }
        } else if known.exited().is_none_or(|t| t.exit_code != 0) {
            run(pod, record, container, delays, now, plan);
            return false;
        }
    }
    true
}

fn run(pod: &Pod, record: &Record, container: &Container, delays: &Delays, now: Timestamp, plan: &mut Plan) {
    let known = record.container(&container.name);
    if known.starting || known.stopping {
        return;
    }
    if let Some(at) = known.retry_at.filter(|at| *at > now) {
        plan.wake_at(at);
        // The error turns into its back-off shortly after it happened.
        if let Some(trouble) = &known.trouble {
            let shown = after(trouble.at, crate::podstatus::ERROR_SHOWN);
            if shown > now {
                plan.wake_at(shown);
            }
        }
        return;
    }
    match &known.state {
        State::Waiting => plan.actions.push(Action::Start(container.name.clone())),
        State::Running { .. } => {
            if let Some(why) = &known.unhealthy {
                plan.actions.push(Action::Stop(container.name.clone(), grace(pod), why.clone()));
            }
        }
        State::Exited(ended) => {
            if restarts(pod, container, ended.exit_code) {
                match backoff_end(&known, delays).filter(|at| *at > now) {
                    Some(at) => plan.wake_at(at),
                    None => plan.actions.push(Action::Start(container.name.clone())),
                }
            }
        }
    }
}

/// Seconds that a container of this pod has to end.
pub fn grace(pod: &Pod) -> i64 {
    pod.metadata
        .deletion_grace_period_seconds
        .or(spec(pod).termination_grace_period_seconds)
        .unwrap_or(30)
        .max(0)
}

/// Ends what runs: main containers first, then sidecars from the last to the first, then the sandbox.
fn end(pod: &Pod, record: &Record, plan: &mut Plan) {
    let seconds = if record.ending { record.grace } else { grace(pod) };
    let busy = |c: &Container| {
        let known = record.container(&c.name);
        known.running() || known.starting
    };
    let mut stop = |container: &Container| {
        let known = record.container(&container.name);
        if known.running() && !known.stopping {
            plan.actions.push(Action::Stop(container.name.clone(), seconds, "Stopping container".into()));
        }
    };
    let ordinary = || inits(pod).iter().filter(|c| !sidecar(pod, c)).chain(&spec(pod).containers);
    if ordinary().any(busy) {
        ordinary().for_each(&mut stop);
        return;
    }
    if let Some(last) = inits(pod).iter().rev().find(|c| busy(c)) {
        stop(last);
        return;
    }
    match record.sandbox {
        Sandbox::None if record.ending => plan.actions.push(Action::Gone),
        Sandbox::None | Sandbox::Creating | Sandbox::Removing => {}
        Sandbox::Ready | Sandbox::Lost => plan.actions.push(Action::RemoveSandbox),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Terminated;
    use serde_json::json;

    const DELAYS: Delays = Delays { first: Duration::from_secs(10), most: Duration::from_secs(300) };

    fn pod(policy: &str) -> Pod {
        serde_json::from_value(json!({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"n","uid":"u"},
            "spec":{"restartPolicy":policy,"initContainers":[{"name":"i"},{"name":"s","restartPolicy":"Always"}],
            "containers":[{"name":"a"},{"name":"b"}]}}))
        .expect("pod")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("time")
    }

    fn exited(code: i32, finished: i64) -> State {
        State::Exited(Terminated {
            exit_code: code,
            signal: None,
            reason: "Error".into(),
            message: None,
            started: None,
            finished: at(finished),
            container_id: String::new(),
        })
    }

    fn ready() -> Record {
        Record { sandbox: Sandbox::Ready, volumes_ready: true, ..Record::default() }
    }

    fn set(record: &mut Record, name: &str, state: State) {
        record
            .containers
            .insert(name.into(), ContainerRecord { state, started: true, launches: 1, ..Default::default() });
    }

    fn words(plan: &Plan) -> Vec<String> {
        plan.actions
            .iter()
            .map(|a| match a {
                Action::CreateSandbox => "sandbox".into(),
                Action::RemoveSandbox => "remove".into(),
                Action::Start(n) => format!("start {n}"),
                Action::Stop(n, g, _) => format!("stop {n} {g}"),
                Action::Fail(r, _) => format!("fail {r}"),
                Action::Gone => "gone".into(),
            })
            .collect()
    }

    #[test]
    fn init_containers_then_sidecars_then_all() {
        let pod = pod("Always");
        let mut record = Record::default();
        assert_eq!(words(&plan(&pod, &record, &DELAYS, at(0))), ["sandbox"]);
        record = ready();
        assert_eq!(words(&plan(&pod, &record, &DELAYS, at(0))), ["start i"]);
        set(&mut record, "i", exited(0, 0));
        assert_eq!(words(&plan(&pod, &record, &DELAYS, at(0))), ["start s"]);
        set(&mut record, "s", State::Running { since: at(0) });
        assert!(inits_done(&pod, &record));
        record.initialized = true;
        assert_eq!(words(&plan(&pod, &record, &DELAYS, at(0))), ["start a", "start b"]);
    }

    #[test]
    fn crashes_back_off() {
        let pod = pod("Always");
        let mut record = ready();
        record.initialized = true;
        set(&mut record, "s", State::Running { since: at(0) });
        set(&mut record, "b", State::Running { since: at(0) });
        set(&mut record, "a", exited(1, 100));
        for (crashes, wake) in [(1, None), (2, Some(110)), (3, Some(120)), (9, Some(400))] {
            record.containers.get_mut("a").expect("a").crashes = crashes;
            let plan = plan(&pod, &record, &DELAYS, at(101));
            assert_eq!(plan.wake, wake.map(at), "{crashes}");
            assert_eq!(plan.actions.is_empty(), wake.is_some());
        }
    }

    #[test]
    fn ends_main_containers_before_sidecars() {
        let pod = pod("Always");
        let mut record = ready();
        record.initialized = true;
        record.ending = true;
        record.grace = 5;
        for name in ["s", "a", "b"] {
            set(&mut record, name, State::Running { since: at(0) });
        }
        assert_eq!(words(&plan(&pod, &record, &DELAYS, at(1))), ["stop a 5", "stop b 5"]);
        set(&mut record, "a", exited(0, 1));
        set(&mut record, "b", exited(137, 1));
        assert_eq!(words(&plan(&pod, &record, &DELAYS, at(1))), ["stop s 5"]);
        set(&mut record, "s", exited(0, 1));
        assert_eq!(words(&plan(&pod, &record, &DELAYS, at(1))), ["remove"]);
        record.sandbox = Sandbox::None;
        assert_eq!(words(&plan(&pod, &record, &DELAYS, at(1))), ["gone"]);
    }

    #[test]
    fn a_finished_job_stops_its_sidecars_and_a_failed_init_container_ends_the_pod() {
        let pod = pod("Never");
        let mut record = ready();
        record.initialized = true;
        set(&mut record, "s", State::Running { since: at(0) });
        set(&mut record, "a", exited(0, 1));
        set(&mut record, "b", exited(1, 1));
        assert_eq!(words(&plan(&pod, &record, &DELAYS, at(1))), ["stop s 30"]);
        let mut record = ready();
        set(&mut record, "i", exited(3, 1));
        assert!(finished(&pod, &record));
        assert_eq!(words(&plan(&pod, &record, &DELAYS, at(1))), ["remove"]);
    }

    #[test]
    fn deadlines_and_unhealthy_containers() {
        let mut pod = pod("Always");
        pod.spec.as_mut().expect("spec").active_deadline_seconds = Some(10);
        let mut record = ready();
        record.start_time = Some(at(0));
        assert_eq!(words(&plan(&pod, &record, &DELAYS, at(10))), ["fail DeadlineExceeded"]);
        assert_eq!(plan(&pod, &record, &DELAYS, at(9)).wake, Some(at(10)));
        record.initialized = true;
        for name in ["s", "a", "b"] {
            set(&mut record, name, State::Running { since: at(0) });
        }
        record.containers.get_mut("a").expect("a").unhealthy = Some("failed liveness probe".into());
        assert_eq!(words(&plan(&pod, &record, &DELAYS, at(1))), ["stop a 30"]);
    }
}
