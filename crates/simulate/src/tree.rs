//! The clusters of a world and its machines, dealt out to those of the lowest level.

use std::sync::Arc;

use dunlin_agent::machine;
use dunlin_api::names::{annotation, label};
use dunlin_control::model::{Condition, Labels, Meta, Node, NodeStatus, Quantities};
use dunlin_control::scheduler::Snapshot;
use dunlin_uplink::Level;
use dunlin_uplink::plan::mirror::Expose;

use crate::cluster::Cluster;
use crate::pods::degrees;
use crate::random::Random;
use crate::world::World;

/// How far machines lie from the middle of their cluster at most, in thousandths of a degree: some 10 km.
const SCATTER: u64 = 100;

/// All clusters, level by level, each with its machines.
pub fn grow(world: &World) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut above: Vec<usize> = Vec::new();
    let mut random = Random::new(world.seed, 1);
    for (depth, level) in world.levels.iter().enumerate() {
        let parents: Vec<Option<usize>> = match depth {
            0 => vec![None],
            _ => above.iter().flat_map(|parent| (0..level.count).map(|_| Some(*parent))).collect(),
        };
        let first = clusters.len();
        for (n, parent) in parents.into_iter().enumerate() {
            let name: Arc<str> = match depth {
                0 => level.name.as_str().into(),
                _ => format!("{}-{n:04}", level.name).into(),
            };
            let position =
                level.area.map(|area| (random.within(area.latitude), random.within(area.longitude)));
            let uplink = parent.map(|parent| Level {
                parent: clusters[parent].name.to_string(),
                node: name.to_string(),
                area: position.map(degrees),
                expose: Expose::Cluster,
            });
            if let Some(parent) = parent {
                let id = clusters.len();
                clusters[parent].children.insert(name.clone(), id);
            }
            let policy = level.policy;
            clusters.push(Cluster { name, depth, parent, uplink, position, policy, ..Cluster::default() });
        }
        above = (first..clusters.len()).collect();
    }
    deal(world, &mut clusters, &above);
    clusters
}

/// Gives every lowest cluster its share of each kind of machine.
fn deal(world: &World, clusters: &mut [Cluster], lowest: &[usize]) {
    let sizes = world.levels[world.levels.len() - 1].sizes;
    let mut random = Random::new(world.seed, 2);
    let weights: Vec<u64> = lowest.iter().map(|_| random.within(sizes).unsigned_abs()).collect();
    for (n, group) in world.machines.iter().enumerate() {
        let mut random = Random::new(world.seed, 100 + n as u64);
        let mut number = 0;
        for (cluster, share) in lowest.iter().zip(shares(group.count, &weights)) {
            let cluster = &mut clusters[*cluster];
            for _ in 0..share {
                let mut allocatable = Quantities::default();
                allocatable.set("cpu", random.within(group.cpu));
                allocatable.set("memory", random.within(group.memory) / 1024 * 1024);
                allocatable.set("pods", random.within(group.pods));
                let scatter = (random.next(), random.next());
                let name = format!("{}-{number:06}", group.name);
                number += 1;
                let mut labels: Labels = machine::labels(&name, &group.arch, &["oci"])
                    .into_iter()
                    .chain(group.labels.iter().cloned())
                    .map(|(key, value)| (key.into(), value.into()))
                    .collect();
                labels.insert(label::CLUSTER.into(), cluster.name.clone());
                let mut annotations = Labels::new();
                if let Some((latitude, longitude)) = cluster.position {
                    let near = |middle: i64, by: u64, most: i64| {
                        (middle + (by % (2 * SCATTER + 1)) as i64 - SCATTER as i64).clamp(-most, most)
                    };
                    let own = (near(latitude, scatter.0, 90_000), near(longitude, scatter.1, 180_000));
                    annotations.insert(annotation::POSITION.into(), degrees(own).into());
                }
                let ready = Condition { kind: "Ready".into(), status: "True".into(), ..Condition::default() };
                cluster.snapshot.set_node(Arc::new(Node {
                    metadata: Arc::new(Meta { name: name.into(), labels, annotations, ..Meta::default() }),
                    status: NodeStatus { allocatable, conditions: vec![ready], ..NodeStatus::default() },
                    ..Node::default()
                }));
            }
        }
    }
}

/// `count` in whole parts that are in proportion to the weights as well as they can be.
fn shares(count: u64, weights: &[u64]) -> Vec<u64> {
    let all: u128 = weights.iter().map(|weight| u128::from(*weight)).sum::<u128>().max(1);
    let (mut seen, mut given) = (0u128, 0u64);
    let part = |weight: &u64| {
        seen += u128::from(*weight);
        let until = u64::try_from(u128::from(count) * seen / all).unwrap_or(count);
        let share = until - given;
        given = until;
        share
    };
    weights.iter().map(part).collect()
}

/// One snapshot with the machines of all clusters of a grown tree.
pub fn flatten(clusters: Vec<Cluster>) -> Snapshot {
    let mut flat = Snapshot::default();
    for cluster in &clusters {
        for host in cluster.snapshot.hosts() {
            flat.set_node(Arc::new(host.node().clone()));
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_dealt_out_in_proportion() {
        assert_eq!(shares(10, &[1, 1, 1]), [3, 3, 4]);
        assert_eq!(shares(10, &[1, 4]), [2, 8]);
        assert_eq!(shares(2, &[1, 1, 1]).iter().sum::<u64>(), 2);
    }
}
