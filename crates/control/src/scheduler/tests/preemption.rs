//! Who makes way for whom.

use super::*;

fn ranked(name: &str, cpu: &str, priority: i32, started: &str) -> Arc<Pod> {
    pod(name, cpu, json!({"spec": {"priority": priority}, "status": {"startTime": started}}))
}

const EARLY: &str = "2026-01-01T00:00:00Z";
const LATE: &str = "2026-01-02T00:00:00Z";

fn filled(placed: &[(&str, Arc<Pod>)]) -> Snapshot {
    let mut snapshot = cluster(["a", "b"].map(|name| node(name, "2", json!({}))));
    for (node, pod) in placed {
        snapshot.assume(pod, &Arc::from(*node));
    }
    snapshot
}

/// Node and victims, as in `a: p q`.
fn check(snapshot: &Snapshot, pod: &Pod, want: &str) {
    let before = format!("{snapshot:?}");
    let got = preempt(snapshot, pod, &[], 1).map(|found| {
        let victims: Vec<&str> = found.victims.iter().map(|victim| &*victim.metadata.name).collect();
        format!("{}: {}", found.node, victims.join(" "))
    });
    assert_eq!(got.unwrap_or_default(), want);
    assert_eq!(format!("{snapshot:?}"), before);
}

#[test]
fn the_least_important_and_the_fewest_make_way() {
    let vip = ranked("vip", "2", 100, EARLY);
    let snapshot = filled(&[
        ("a", ranked("p5", "2", 5, EARLY)),
        ("b", ranked("p3", "1", 3, EARLY)),
        ("b", ranked("q3", "1", 3, EARLY)),
    ]);
    check(&snapshot, &vip, "b: p3 q3");
    let snapshot = filled(&[
        ("a", ranked("p3", "2", 3, EARLY)),
        ("b", ranked("q3", "1", 3, EARLY)),
        ("b", ranked("r3", "1", 3, EARLY)),
    ]);
    check(&snapshot, &vip, "a: p3");
    let snapshot = filled(&[("a", ranked("old", "2", 3, EARLY)), ("b", ranked("young", "2", 3, LATE))]);
    check(&snapshot, &vip, "b: young");
}

#[test]
fn only_as_many_go_as_must() {
    let vip = ranked("vip", "1", 100, EARLY);
    let full = [
        ("a", ranked("p1", "1", 1, EARLY)),
        ("a", ranked("p2", "1", 2, EARLY)),
        ("b", ranked("p9", "2", 200, EARLY)),
    ];
    check(&filled(&full), &vip, "a: p1");
}

#[test]
fn equals_stay_and_some_never_take_a_place() {
    let full = [("a", ranked("p", "2", 100, EARLY)), ("b", ranked("q", "2", 100, EARLY))];
    check(&filled(&full), &ranked("vip", "1", 100, EARLY), "");
    let polite = pod("vip", "1", json!({"spec": {"priority": 200, "preemptionPolicy": "Never"}}));
    check(&filled(&full), &polite, "");
    check(&filled(&full), &ranked("vip", "3", 200, EARLY), "");
}

#[test]
fn room_that_was_made_is_waited_for_and_kept() {
    let dying = json!({"metadata": {"deletionTimestamp": LATE}, "spec": {"priority": 1}});
    let mut snapshot = filled(&[("a", pod("dying", "2", dying)), ("b", ranked("q", "2", 1, EARLY))]);
    let vip = pod("vip", "2", json!({"spec": {"priority": 100}, "status": {"nominatedNodeName": "a"}}));
    check(&snapshot, &vip, "");
    snapshot.set_pod(&vip);
    assert!(snapshot.remove_pod("dying"));
    let kept = "0/2 nodes are available: 1 Insufficient cpu, \
                1 node(s) had room only for pods that evicted others there.";
    super::check(&snapshot, &ranked("small", "1", 1, EARLY), kept);
    super::check(&snapshot, &ranked("higher", "1", 101, EARLY), "a");
    super::check(&snapshot, &vip, "a");
    snapshot.remove_pod("vip");
    super::check(&snapshot, &ranked("small", "1", 1, EARLY), "a");
}

#[test]
fn the_nomination_goes_with_the_condition_and_victims_get_their_grace() {
    let snapshot = filled(&[("a", ranked("p", "2", 1, EARLY)), ("b", ranked("q", "2", 300, EARLY))]);
    let vip = ranked("vip", "2", 100, EARLY);
    let why = place(&snapshot, &vip, Policy::Balanced, 1).expect_err("all full");
    let found = preempt(&snapshot, &vip, &[], 1).expect("p is lower");
    let actions = found.writes(&vip, unschedulable(&vip, &why, 0), 0);
    let Action::Patch { patch, .. } = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(patch["status"]["nominatedNodeName"], "a");
    assert_eq!(patch["status"]["conditions"][0]["reason"], "Unschedulable");
    let ends: Vec<_> = actions.iter().filter(|a| matches!(a, Action::Delete { grace: None, .. })).collect();
    assert_eq!(ends.len(), 1);
    let told = |a: &&Action| matches!(a, Action::Event { reason, target, .. } if &**reason == "Preempted" && &*target.name == "p");
    assert_eq!(actions.iter().filter(told).count(), 1);
}

#[test]
fn those_whose_budget_is_spent_are_spared_if_others_do() {
    let budget = |allowed: i32| -> Vec<Arc<crate::model::PodDisruptionBudget>> {
        let budget = json!({"metadata": {"namespace": "default", "name": "b"}, "spec": {"selector": {"matchLabels": {"kept": "yes"}}},
            "status": {"disruptionsAllowed": allowed}});
        vec![Arc::new(serde_json::from_value(budget).expect("a budget"))]
    };
    let kept = |name: &str, cpu: &str, priority: i32| {
        pod(
            name,
            cpu,
            json!({"metadata": {"namespace": "default", "labels": {"kept": "yes"}}, "spec": {"priority": priority}}),
        )
    };
    let vip = ranked("vip", "1", 100, EARLY);
    let names = |snapshot: &Snapshot, allowed: i32| -> Vec<String> {
        let found = preempt(snapshot, &vip, &budget(allowed), 1).expect("all are lower");
        found.victims.iter().map(|victim| victim.metadata.name.to_string()).collect()
    };
    // On one node: the less important pod is spared while its budget allows nothing.
    let one = filled(&[
        ("a", kept("kept", "1", 1)),
        ("a", ranked("plain", "1", 5, EARLY)),
        ("b", ranked("top", "2", 200, EARLY)),
    ]);
    assert_eq!(names(&one, 0), ["plain"]);
    assert_eq!(names(&one, 1), ["kept"]);
    // Between nodes likewise.
    let two = filled(&[("a", kept("kept", "2", 1)), ("b", ranked("plain", "2", 5, EARLY))]);
    assert_eq!(names(&two, 0), ["plain"]);
    assert_eq!(names(&two, 1), ["kept"]);
    // With no other choice the budget gives way.
    let none = filled(&[("a", kept("kept", "2", 1)), ("b", ranked("top", "2", 200, EARLY))]);
    assert_eq!(names(&none, 0), ["kept"]);
}
