//! Groups: whole or not at all, close together, and words for why not.

use super::*;
use crate::view::Table;

fn member(name: &str, cpu: &str, size: &str) -> Arc<Pod> {
    let extra = json!({"metadata": {"labels": {"dunlin.io/group": "g"}, "annotations": {"dunlin.io/group-size": size}}});
    pod(name, cpu, extra)
}

fn zoned(name: &str, cpu: &str, zone: &str) -> Arc<Node> {
    node(name, cpu, json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}))
}

/// The nodes of all that wait in `pods`, by pod name; or why not.
fn placed(snapshot: &Snapshot, pods: &[Arc<Pod>]) -> Result<Vec<String>, String> {
    let mut table = Table::default();
    for pod in pods {
        table.upsert(pod.clone());
    }
    let group = group::members(&table, snapshot, &pods[0]).map_err(|why| why.to_string())?;
    let mut placed = place_group(snapshot, &group, 1).map_err(|why| why.to_string())?;
    placed.sort_by_key(|(pod, _)| pod.metadata.name.clone());
    Ok(placed.into_iter().map(|(_, node)| node.to_string()).collect())
}

#[test]
fn a_group_waits_for_its_pods_and_then_shares_a_node() {
    let snapshot = cluster([node("a", "2", json!({})), node("b", "8", json!({})), node("c", "4", json!({}))]);
    let pods: Vec<_> = ["p0", "p1", "p2"].map(|name| member(name, "1", "3")).into();
    assert_eq!(placed(&snapshot, &pods[..2]), Err("group \"g\" waits for 1 of its 3 pods".to_owned()));
    assert_eq!(placed(&snapshot, &pods), Ok(vec!["c".to_owned(); 3]), "the fullest node that takes all");
    let wrong = "annotation dunlin.io/group-size: \"many\" is no whole number from 1 to 1000";
    assert_eq!(placed(&snapshot, &[member("p", "1", "many")]), Err(wrong.to_owned()));
}

#[test]
fn a_group_too_large_for_a_node_stays_in_one_zone_or_waits_whole() {
    let nodes =
        || [zoned("a1", "2", "a"), zoned("a2", "2", "a"), zoned("b1", "2", "b"), zoned("b2", "1", "b")];
    let snapshot = cluster(nodes());
    let pods: Vec<_> = ["p0", "p1", "p2", "p3"].map(|name| member(name, "1", "4")).into();
    let nodes_used = placed(&snapshot, &pods).map(sorted);
    assert_eq!(nodes_used, Ok(["a1", "a1", "a2", "a2"].map(String::from).into()));

    let mut fuller = cluster(nodes());
    fuller.assume(&pod("other", "1", json!({})), &"a1".into());
    let before = format!("{fuller:?}");
    assert_eq!(
        placed(&fuller, &pods),
        Err("group \"g\" fits nowhere whole: zone a has places for 3 of 4 pods: \
             0/2 nodes are available: 2 Insufficient cpu."
            .to_owned()),
    );
    assert_eq!(format!("{fuller:?}"), before, "nothing is reserved");
}

fn sorted(mut nodes: Vec<String>) -> Vec<String> {
    nodes.sort();
    nodes
}

#[test]
fn who_comes_later_goes_to_the_others() {
    let mut snapshot = cluster([zoned("a1", "2", "a"), zoned("b1", "2", "b"), zoned("b2", "2", "b")]);
    let pods: Vec<_> = ["p0", "p1"].map(|name| member(name, "1", "2")).into();
    snapshot.assume(&pods[0], &"b1".into());
    assert_eq!(placed(&snapshot, &pods), Ok(vec!["b1".to_owned()]));
    snapshot.assume(&pod("other", "1", json!({})), &"b1".into());
    assert_eq!(placed(&snapshot, &pods), Ok(vec!["b2".to_owned()]));
    snapshot.assume(&pod("more", "2", json!({})), &"b2".into());
    let why = placed(&snapshot, &pods).expect_err("zone b is full");
    assert!(
        why.starts_with("group \"g\" fits nowhere whole: zone b, where 1 are already, has places for 0 of 1"),
        "{why}"
    );
}

#[test]
fn a_pod_of_a_group_is_not_placed_alone() {
    let snapshot = cluster([node("a", "2", json!({}))]);
    let why = place(&snapshot, &member("p", "1", "2"), Policy::Group, 1).expect_err("others are missing");
    assert_eq!(why.to_string(), "a pod of a group is placed together with the others");
    assert_eq!(place(&snapshot, &pod("p", "1", json!({})), Policy::Group, 1), Ok("a".into()));
}

#[test]
fn a_node_with_some_of_the_group_goes_before_a_fuller_one() {
    let mut snapshot = cluster([zoned("b1", "4", "b"), zoned("b2", "4", "b")]);
    let pods: Vec<_> = ["p0", "p1", "p2", "p3", "p4"].map(|name| member(name, "1", "5")).into();
    snapshot.assume(&pods[0], &"b1".into());
    snapshot.assume(&pod("other", "3", json!({})), &"b2".into());
    assert_eq!(placed(&snapshot, &pods), Ok(["b1", "b1", "b1", "b2"].map(String::from).into()));
}
