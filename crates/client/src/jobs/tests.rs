//! States as a table: what the server holds in, the state out.

use serde_json::{Value, json};

use super::*;

const T0: &str = "2026-01-01T00:00:00Z";
const T1: &str = "2026-01-01T00:01:00Z";

fn deployment(replicas: i64) -> Value {
    json!({"kind": "Deployment", "metadata": {"name": "web", "namespace": "n", "uid": "web", "creationTimestamp": T0},
        "spec": {"replicas": replicas}})
}

fn set() -> Value {
    json!({"kind": "ReplicaSet", "metadata": {"name": "web-1", "namespace": "n", "uid": "set",
        "ownerReferences": [{"uid": "web", "controller": true}]}})
}

fn pod(name: &str, node: &str, phase: &str, conditions: &[(&str, &str)]) -> Value {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|(kind, message)| json!({"type": kind, "status": "True", "message": message, "lastTransitionTime": T1}))
        .collect();
    json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "creationTimestamp": T0,
            "ownerReferences": [{"uid": "set", "controller": true}]},
        "spec": {"nodeName": node}, "status": {"phase": phase, "conditions": conditions},
    })
}

fn running(name: &str) -> Value {
    pod(name, "board", "Running", &[("Ready", "")])
}

fn nodes() -> Vec<Value> {
    vec![
        json!({"metadata": {"name": "board"}}),
        json!({"metadata": {"name": "garching", "labels": {"dunlin.io/virtual-node": "cluster"}}}),
    ]
}

fn job(replicas: i64, pods: Vec<Value>, migrations: Vec<Value>) -> Job {
    let world = World { controllers: vec![deployment(replicas), set()], pods, migrations, nodes: nodes() };
    let mut jobs = derive(&world, "root");
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    jobs.remove(0)
}

#[test]
fn a_pod_goes_through_the_states_with_its_path() {
    let waiting = |reason: &str| {
        let mut pod = pod("p", "board", "Pending", &[]);
        pod["status"]["containerStatuses"] =
            json!([{"state": {"waiting": {"reason": reason, "message": "m"}}}]);
        pod
    };
    let mut unschedulable = pod("p", "", "Pending", &[]);
    unschedulable["status"]["conditions"] =
        json!([{"type": "PodScheduled", "status": "False", "message": "no room"}]);
    let mut deleted = running("p");
    deleted["metadata"]["deletionTimestamp"] = json!(T1);
    let placed = ("dunlin.io/Placed", "site/e580");
    for (pod, state, path, reason) in [
        (pod("p", "", "Pending", &[]), State::Requested, "root", ""),
        (unschedulable, State::Requested, "root", "no room"),
        (pod("p", "garching", "Pending", &[]), State::ScheduledCluster, "root/garching", ""),
        (pod("p", "garching", "Pending", &[placed]), State::ScheduledNode, "root/garching/site/e580", ""),
        (pod("p", "board", "Pending", &[]), State::ScheduledNode, "root/board", ""),
        (pod("p", "board", "Running", &[]), State::ScheduledNode, "root/board", ""),
        (running("p"), State::Running, "root/board", ""),
        (
            pod("p", "garching", "Running", &[placed, ("Ready", "")]),
            State::Running,
            "root/garching/site/e580",
            "",
        ),
        (waiting("ContainerCreating"), State::ScheduledNode, "root/board", ""),
        (waiting("CrashLoopBackOff"), State::Failed, "root/board", "CrashLoopBackOff m"),
        (pod("p", "board", "Failed", &[]), State::Failed, "root/board", ""),
        (
            pod("p", "board", "Running", &[("Ready", ""), ("dunlin.io/Dangling", "")]),
            State::Failed,
            "root/board",
            "its machine is out of reach; it may still run there",
        ),
        (pod("p", "board", "Succeeded", &[]), State::Terminated, "root/board", ""),
        (deleted, State::Terminated, "root/board", ""),
    ] {
        let job = job(1, vec![pod.clone()], vec![]);
        let instance = &job.instances[0];
        assert_eq!(
            (instance.state, instance.path.as_str(), instance.reason.as_str()),
            (state, path, reason),
            "{pod}"
        );
    }
}

#[test]
fn a_job_sums_its_pods_up() {
    let fresh = |name: &str| pod(name, "", "Pending", &[]);
    let failed = |name: &str| pod(name, "board", "Failed", &[]);
    let ending = |name: &str| {
        let mut pod = running(name);
        pod["metadata"]["deletionTimestamp"] = json!(T1);
        pod
    };
    for (replicas, pods, state) in [
        (2, vec![], State::Requested),
        (2, vec![fresh("a"), fresh("b")], State::Requested),
        (
            2,
            vec![pod("a", "garching", "Pending", &[]), pod("b", "board", "Pending", &[])],
            State::ScheduledCluster,
        ),
        (2, vec![pod("a", "board", "Pending", &[])], State::Requested),
        (2, vec![running("a"), fresh("b")], State::Scaling),
        (2, vec![running("a"), running("b")], State::Running),
        (1, vec![running("a"), ending("b")], State::Scaling),
        (1, vec![running("a"), running("b")], State::Scaling),
        (1, vec![running("a"), failed("b")], State::Running),
        (1, vec![failed("a")], State::Failed),
        (0, vec![ending("a")], State::Terminated),
        (0, vec![], State::Terminated),
    ] {
        let job = job(replicas, pods.clone(), vec![]);
        assert_eq!(job.state, state, "{replicas} of {pods:?}");
    }
    let job = job(2, vec![running("a"), running("b")], vec![]);
    assert_eq!((job.running, job.desired, job.since.as_str(), job.requested.as_str()), (2, 2, T1, T0));
}

#[test]
fn a_job_whose_template_changed_is_not_there_yet() {
    let with = |generation: i64, seen: i64, updated: i64| {
        let mut deployment = deployment(1);
        deployment["metadata"]["generation"] = json!(generation);
        deployment["status"] = json!({"observedGeneration": seen, "updatedReplicas": updated});
        let world = World {
            controllers: vec![deployment, set()],
            pods: vec![running("a")],
            nodes: nodes(),
            ..World::default()
        };
        derive(&world, "root").remove(0).state
    };
    assert_eq!(with(2, 2, 1), State::Running);
    assert_eq!(with(2, 1, 1), State::Scaling, "the controller has not looked yet");
    assert_eq!(with(2, 2, 0), State::Scaling, "what runs is the old template");
}

#[test]
fn a_pod_is_terminated_since_it_was_deleted() {
    let mut pod = running("a");
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:01:30Z");
    pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    assert_eq!(job(1, vec![pod], vec![]).instances[0].since, T1);
}

#[test]
fn a_job_migrates_until_the_migration_is_finished() {
    let migration = |phase: &str| {
        json!({"metadata": {"name": "m", "namespace": "n", "creationTimestamp": T0}, "spec": {"pod": "a"},
            "status": {"phase": phase, "replacement": "b", "startTime": T1}})
    };
    let mut successor = pod("b", "garching", "Pending", &[]);
    successor["metadata"]["annotations"] = json!({"dunlin.io/replaces": "a"});
    let moving = job(1, vec![running("a"), successor.clone()], vec![migration("Migrating")]);
    assert_eq!((moving.state, moving.running), (State::Migrating, 1));
    assert_eq!(moving.since, T1);
    assert_eq!(job(1, vec![running("a")], vec![migration("")]).state, State::Migrating);
    assert_eq!(job(1, vec![running("b")], vec![migration("Succeeded")]).state, State::Running);
}

#[test]
fn pods_without_a_controller_are_jobs_by_label_or_name() {
    let alone = |name: &str, labels: Value| json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": labels}, "spec": {}, "status": {"phase": "Pending"}});
    let left = json!({"dunlin.io/job": "web"});
    let pods = vec![alone("a", left.clone()), alone("b", left), alone("c", Value::Null)];
    let jobs = derive(&World { pods, ..World::default() }, "root");
    let shown: Vec<_> =
        jobs.iter().map(|job| (job.name.as_str(), job.kind.as_str(), job.instances.len())).collect();
    assert_eq!(shown, [("c", "Pod", 1), ("web", "Pod", 2)]);
    assert_eq!(find(&jobs, "pod/c").len(), 1);
    assert_eq!(find(&jobs, "deployment/c").len(), 0);
}

#[test]
fn work_that_ends_is_terminated_or_failed() {
    let with = |condition: &str| {
        let batch = json!({"kind": "Job", "metadata": {"name": "once", "namespace": "n", "uid": "once"},
            "spec": {"completions": 1, "parallelism": 1},
            "status": {"conditions": [{"type": condition, "status": "True", "message": "too often"}]}});
        derive(&World { controllers: vec![batch], ..World::default() }, "root").remove(0)
    };
    let done = with("Complete");
    assert!(done.state == State::Terminated && done.is_settled());
    let failed = with("Failed");
    assert_eq!((failed.state, failed.reason.as_str()), (State::Failed, "too often"));
}
