//! What each policy prefers, and what it says about it.

use super::*;

/// The node that `policy` chooses, or why none.
fn chosen(snapshot: &Snapshot, pod: &Pod, policy: Policy) -> String {
    place(snapshot, pod, policy, 1).map_or_else(|why| why.to_string(), |node| node.to_string())
}

fn annotated(name: &str, value: &str) -> Value {
    let mut annotations = json!({});
    annotations[name] = json!(value);
    json!({"metadata": {"annotations": annotations}})
}

#[test]
fn names_are_read_and_wrong_ones_list_them() {
    assert_eq!("bin-pack".parse(), Ok(Policy::BinPack));
    let all = "first-fit, balanced, bin-pack, nearest, auction, group, external";
    assert_eq!("best".parse::<Policy>(), Err(format!("unknown scheduler policy \"best\"; there are {all}")));

    let plain = pod("p", "1", json!({}));
    assert_eq!(Policy::of(&plain, Policy::Auction), Ok(Policy::Auction));
    let asks = pod("p", "1", annotated("dunlin.io/scheduler-policy", "nearest"));
    assert_eq!(Policy::of(&asks, Policy::Auction), Ok(Policy::Nearest));
    let wrong = pod("p", "1", annotated("dunlin.io/scheduler-policy", "best"));
    let why = Policy::of(&wrong, Policy::Auction).expect_err("there is no such policy");
    let want =
        format!("annotation dunlin.io/scheduler-policy: unknown scheduler policy \"best\"; there are {all}");
    assert_eq!(why.to_string(), want);
}

#[test]
fn bin_pack_fills_the_fullest_and_opens_a_node_only_when_it_must() {
    let mut snapshot = cluster(["a", "b", "c"].map(|name| node(name, "4", json!({}))));
    snapshot.assume(&pod("other", "1", json!({})), &"b".into());
    let mut nodes = Vec::new();
    for n in 0..4 {
        let pod = pod(&format!("p{n}"), "1500m", json!({}));
        let node = place(&snapshot, &pod, Policy::BinPack, 1).expect("room");
        snapshot.assume(&pod, &node);
        nodes.push(node);
    }
    assert_eq!(&*nodes[0], "b");
    assert_eq!(&*nodes[1], "b");
    assert_ne!(&*nodes[2], "b", "b is full");
    assert_eq!(nodes[2], nodes[3], "one more node is enough");
}

#[test]
fn bin_pack_leaves_a_node_that_keeps_pods_off() {
    let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    let mut snapshot = cluster([node("a", "4", soft), node("b", "4", json!({}))]);
    snapshot.assume(&pod("other", "1", json!({})), &"a".into());
    snapshot.assume(&pod("small", "100m", json!({})), &"b".into());
    assert_eq!(chosen(&snapshot, &pod("p", "1", json!({})), Policy::BinPack), "b");
}

#[test]
fn nearest_goes_to_the_area_then_by_latency_then_by_distance() {
    let site = |area: &str, position: &str, latency: &str| {
        let mut node = json!({"metadata": {"annotations": {}}});
        if !area.is_empty() {
            node["metadata"]["labels"]["dunlin.io/area"] = json!(area);
        }
        if !position.is_empty() {
            node["metadata"]["annotations"]["dunlin.io/position"] = json!(position);
        }
        if !latency.is_empty() {
            node["metadata"]["annotations"]["dunlin.io/latency"] = json!(latency);
        }
        node
    };
    let near = |place: &str| pod("p", "1", annotated("dunlin.io/near", place));
    let mut nodes = vec![
        node("ghent", "1", site("flanders", "51.05,3.72", "")),
        node("munich", "1", site("bavaria", "48.14,11.58", "")),
        node("paris", "1", site("france", "48.86,2.35", "")),
        node("nowhere", "1", site("", "", "")),
    ];
    let snapshot = cluster(nodes.clone());
    assert_eq!(chosen(&snapshot, &near("bavaria"), Policy::Nearest), "munich");
    assert_eq!(chosen(&snapshot, &near("51.2,4.4"), Policy::Nearest), "ghent");
    assert_eq!(chosen(&snapshot, &near("48.8,2.1"), Policy::Nearest), "paris");

    let mut full = cluster(nodes.clone());
    full.assume(&pod("other", "1", json!({})), &"ghent".into());
    assert_eq!(chosen(&full, &near("flanders"), Policy::Nearest), "paris", "250 km is less than 650");
    // What was measured counts more than what the map says.
    nodes.push(node("wired", "1", site("south", "48.2,11.6", "flanders=1.5")));
    let mut full = cluster(nodes);
    full.assume(&pod("other", "1", json!({})), &"ghent".into());
    assert_eq!(chosen(&full, &near("flanders"), Policy::Nearest), "wired");

    let (_, why) = explain(&full, &near("flanders"), Policy::Nearest, 1);
    assert_eq!(why.by_node["wired"], "1.5 ms away, measured");
    assert_eq!(why.by_node["paris"], "262 km away");
    assert_eq!(why.by_node["nowhere"], "at an unknown distance");
    assert_eq!(why.by_node["ghent"], "Insufficient cpu");
    assert_eq!(
        chosen(&full, &near("95,10"), Policy::Nearest),
        "annotation dunlin.io/near: \"95,10\" is neither the name of an area nor LAT,LON in degrees, as in 51.05,3.72",
    );
}

#[test]
fn the_lowest_bid_wins_and_bids_are_told() {
    let image = json!({"status": {"images": [{"names": ["i"], "sizeBytes": 1_048_576_000}]}});
    let mut snapshot =
        cluster([node("idle", "4", json!({})), node("stocked", "4", image), node("busy", "4", json!({}))]);
    snapshot.assume(&pod("other", "2", json!({})), &"busy".into());
    let pod = pod("p", "1", json!({}));
    assert_eq!(chosen(&snapshot, &pod, Policy::Auction), "stocked", "nothing is to be pulled there");
    let (node, why) = explain(&snapshot, &pod, Policy::Auction, 1);
    assert_eq!(node.as_deref(), Some("stocked"));
    let bid = |name: &str| why.by_node[name].strip_prefix("bid ").and_then(|b| b.parse::<i64>().ok());
    let bids = ["stocked", "idle", "busy"].map(|name| bid(name).expect("a bid"));
    assert!(bids.is_sorted(), "{bids:?}");
    assert_eq!(bids[1] - bids[0], 300, "the pull");
}

#[test]
fn preferences_count_in_every_scoring_policy() {
    let labelled = || json!({"metadata": {"labels": {"disk": "ssd"}}});
    let likes = json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]}}}});
    let term =
        json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"});
    let avoids = json!({"spec": {"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "podAffinityTerm": term}]}}}});
    let spreads = json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
    for policy in [Policy::Balanced, Policy::BinPack, Policy::Nearest, Policy::Auction] {
        for seed in 0..20 {
            let all =
                cluster([node("a", "8", json!({})), node("b", "8", labelled()), node("c", "8", json!({}))]);
            let got = place(&all, &pod("p", "1", likes.clone()), policy, seed).expect("room");
            assert_eq!(&*got, "b", "{policy:?}");

            let tainted = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
            let all = cluster([
                node("a", "8", tainted.clone()),
                node("b", "8", json!({})),
                node("c", "8", tainted),
            ]);
            let got = place(&all, &pod("p", "1", json!({})), policy, seed).expect("room");
            assert_eq!(&*got, "b", "{policy:?}");

            // As full as each other, so that only what the pod wants tells them apart.
            let mut all = cluster([node("a", "8", json!({})), node("b", "8", json!({}))]);
            all.assume(&pod("web", "1", json!({})), &"a".into());
            all.assume(&pod("db", "1", json!({"metadata": {"labels": {"app": "db"}}})), &"b".into());
            for wish in [&avoids, &spreads] {
                let got = place(&all, &pod("p", "1", wish.clone()), policy, seed).expect("room");
                assert_eq!(&*got, "b", "{policy:?} {wish}");
            }

            let image = json!({"status": {"images": [{"names": ["i"], "sizeBytes": 1_048_576_000}]}});
            let all = cluster([node("a", "8", json!({})), node("b", "8", image)]);
            let got = place(&all, &pod("p", "1", json!({})), policy, seed).expect("room");
            assert_eq!(&*got, "b", "{policy:?}");
        }
    }
}

#[test]
fn a_large_cluster_is_sampled_and_first_fit_still_takes_the_first() {
    let snapshot = cluster((0..400).map(|n| node(&format!("n{n:03}"), "4", json!({}))));
    let pod = pod("p", "1", json!({}));
    assert_eq!(chosen(&snapshot, &pod, Policy::FirstFit), "n000");
    let (node, why) = explain(&snapshot, &pod, Policy::Balanced, 1);
    assert_eq!(node, place(&snapshot, &pod, Policy::Balanced, 1).ok());
    let looked_at = why.by_node.values().filter(|word| word.starts_with("scored")).count();
    assert_eq!((looked_at, why.by_node.len()), (100, 400));
    assert!(why.by_node.values().any(|word| word == "not looked at: 100 that fit are enough"));
}

#[test]
fn a_pod_that_names_its_node_gets_it_or_nothing() {
    let snapshot = cluster((0..400).map(|n| node(&format!("n{n:03}"), "4", json!({}))));
    let named = |name: &str, cpu: &str| {
        let field = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        let required =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [field]}});
        pod("p", cpu, json!({"spec": {"affinity": {"nodeAffinity": required}}}))
    };
    for policy in [Policy::Balanced, Policy::FirstFit, Policy::BinPack, Policy::Nearest, Policy::Auction] {
        assert_eq!(chosen(&snapshot, &named("n333", "1"), policy), "n333");
    }
    let full = "0/400 nodes are available: 1 Insufficient cpu, 399 node(s) didn't match Pod's node affinity/selector.";
    assert_eq!(chosen(&snapshot, &named("n333", "5"), Policy::Balanced), full);
}
