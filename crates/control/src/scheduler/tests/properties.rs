//! What must hold for all clusters, all pods and all policies.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::view::Table;

const ALONE: [Policy; 5] =
    [Policy::Balanced, Policy::FirstFit, Policy::BinPack, Policy::Nearest, Policy::Auction];

/// CPUs, places for pods, and site.
type NodeSeed = (i64, i64, u8);
/// Milli-CPU, near which site, priority.
type PodSeed = (i64, u8, i32);

fn nodes() -> impl Strategy<Value = Vec<NodeSeed>> {
    prop::collection::vec((1i64..8, 1i64..6, 0u8..3), 1..6)
}

fn pods() -> impl Strategy<Value = Vec<PodSeed>> {
    prop::collection::vec((0i64..4000, 0u8..4, 0i32..3), 0..30)
}

fn build(nodes: &[NodeSeed]) -> Snapshot {
    cluster(nodes.iter().enumerate().map(|(n, (cpu, pods, site))| {
        let extra = json!({
            "metadata": {"labels": {"dunlin.io/area": format!("s{site}")}, "annotations": {"dunlin.io/position": format!("{site},{n}")}},
            "status": {"allocatable": {"pods": pods}},
        });
        node(&format!("n{n}"), &cpu.to_string(), extra)
    }))
}

fn make(n: usize, (cpu, near, priority): &PodSeed) -> Arc<Pod> {
    let near = if *near == 3 { "1.5,2.5".to_owned() } else { format!("s{near}") };
    let extra =
        json!({"metadata": {"annotations": {"dunlin.io/near": near}}, "spec": {"priority": priority}});
    pod(&format!("p{n}"), &format!("{cpu}m"), extra)
}

fn overcommitted(snapshot: &Snapshot) -> bool {
    snapshot.hosts().any(|host| {
        let has = &host.node().status.allocatable;
        host.used().get("cpu") > has.get("cpu") || host.count() > has.get("pods")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn single_pods(nodes in nodes(), pods in pods(), seed in any::<u64>(), which in 0..ALONE.len()) {
        let policy = ALONE[which];
        let mut snapshot = build(&nodes);
        for (n, pod) in pods.iter().enumerate() {
            let pod = make(n, pod);
            let chosen = place(&snapshot, &pod, policy, seed);
            prop_assert_eq!(&chosen, &place(&snapshot.clone(), &pod, policy, seed), "the same seed, another node");

            let (explained, why) = explain(&snapshot, &pod, policy, seed);
            prop_assert_eq!(explained.as_ref(), chosen.as_ref().ok(), "explained is another decision");
            let all: BTreeSet<_> = snapshot.hosts().map(|host| host.name().clone()).collect();
            prop_assert_eq!(why.by_node.keys().cloned().collect::<BTreeSet<_>>(), all, "a node without a word");
            prop_assert!(why.by_node.values().all(|word| !word.is_empty()));

            match &chosen {
                Ok(node) => {
                    snapshot.assume(&pod, node);
                    let once = format!("{snapshot:?}");
                    snapshot.assume(&pod, node);
                    prop_assert_eq!(once, format!("{snapshot:?}"), "assumed twice is not assumed once");
                    let uid = pod.metadata.uid.clone();
                    let mut back = snapshot.clone();
                    prop_assert!(back.forget(&uid));
                    prop_assert_eq!(&place(&back, &pod, policy, seed), &chosen, "taken back is not as before");
                }
                Err(why) => prop_assert_eq!(why.reasons.values().filter(|n| **n > 0).count() > 0, why.nodes > 0),
            }
            prop_assert!(!overcommitted(&snapshot));
        }
    }

    #[test]
    fn groups(nodes in nodes(), pods in pods(), size in 1usize..6, seed in any::<u64>()) {
        let mut snapshot = build(&nodes);
        for (g, seeds) in pods.chunks(size).enumerate() {
            let mut table = Table::default();
            for (n, pod) in seeds.iter().enumerate() {
                let mut pod = Pod::clone(&make(g * size + n, pod));
                let mut meta = crate::model::Meta::clone(&pod.metadata);
                meta.labels.insert("dunlin.io/group".into(), format!("g{g}").into());
                meta.annotations.insert("dunlin.io/group-size".into(), size.to_string().into());
                pod.metadata = Arc::new(meta);
                table.upsert(pod);
            }
            let first = table.all()[0].clone();
            let group = group::members(&table, &snapshot, &first).expect("the size is one");
            let before = format!("{snapshot:?}");
            let placed = place_group(&snapshot, &group, seed);
            prop_assert_eq!(&placed, &place_group(&snapshot.clone(), &group, seed));
            prop_assert_eq!(before, format!("{snapshot:?}"));
            match placed {
                Ok(placed) => {
                    prop_assert_eq!(placed.len(), seeds.len());
                    let areas: BTreeSet<_> = placed.iter().map(|(_, node)| snapshot.host_named(node).expect("it is there").label("dunlin.io/area").cloned()).collect();
                    prop_assert_eq!(areas.len(), 1, "a group in two areas");
                    for (pod, node) in placed {
                        snapshot.assume(&pod, &node);
                    }
                }
                Err(why) => prop_assert!(!why.to_string().is_empty()),
            }
            prop_assert!(!overcommitted(&snapshot));
        }
    }

    #[test]
    fn external_answers(nodes in nodes(), pods in pods(), scores in prop::collection::vec(-5i64..15, 6), seed in any::<u64>()) {
        let mut snapshot = build(&nodes);
        for (n, pod) in pods.iter().enumerate() {
            let pod = make(n, pod);
            let Ok(offered) = external::candidates(&snapshot, &pod, seed) else { continue };
            let said = |at: usize| (offered[at].clone(), scores[at % scores.len()]);
            let priorities: std::collections::BTreeMap<_, _> = (0..offered.len()).map(said).collect();
            let answers = external::Answers { filter: None, priorities: Some(priorities.clone()) };
            let node = external::choose(&snapshot, &pod, &offered, &answers, seed).expect("one was offered");
            prop_assert_eq!(priorities.get(&node), priorities.values().max(), "not the highest score");
            snapshot.assume(&pod, &node);
            prop_assert!(!overcommitted(&snapshot));
        }
    }

    #[test]
    fn preemption(nodes in nodes(), pods in pods(), seed in any::<u64>()) {
        let mut snapshot = build(&nodes);
        for (n, pod) in pods.iter().enumerate() {
            let pod = make(n, pod);
            let node = match place(&snapshot, &pod, Policy::Balanced, seed) {
                Ok(node) => node,
                Err(_) => {
                    let found = preempt(&snapshot, &pod, &[], seed);
                    prop_assert_eq!(&found, &preempt(&snapshot.clone(), &pod, &[], seed));
                    let Some(found) = found else { continue };
                    for victim in &found.victims {
                        prop_assert!(victim.spec.priority < pod.spec.priority);
                        prop_assert!(snapshot.remove_pod(&victim.metadata.uid));
                    }
                    // All are needed: with one of them back the pod does not fit there.
                    for victim in &found.victims {
                        let mut without = snapshot.clone();
                        without.assume(victim, &found.node);
                        without.assume(&pod, &found.node);
                        prop_assert!(overcommitted(&without), "{} did not have to go", victim.metadata.name);
                    }
                    found.node
                }
            };
            snapshot.assume(&pod, &node);
            prop_assert!(!overcommitted(&snapshot));
        }
    }
}
