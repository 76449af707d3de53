//! The pods that are asked for: as their home's API has them, and as each cluster below does.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_api::defaults;
use dunlin_api::gvk::GroupVersionKind;
use dunlin_api::names::{annotation, label};
use dunlin_control::model as projected;
use dunlin_control::model::Quantities;
use dunlin_uplink::plan::{mirror, place};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::cluster::{Cluster, ClusterId};
use crate::random::Random;
use crate::world::{Near, Workload, World};

/// A pod by its place in [`crate::run::Simulation::pods`].
pub type PodId = usize;

pub const NAMESPACE: &str = "simulated";

/// One pod and where it is.
pub struct Simulated {
    pub group: usize,
    pub name: Arc<str>,
    /// The cluster whose machines it is tied to, where a flat scheduler would not know that it is made there.
    pub only: Option<Arc<str>>,
    /// Thousandths of a core, bytes.
    pub requests: (i64, i64),
    pub near: Option<String>,
    /// Milliseconds.
    pub life: Option<u64>,
    pub made_at: u64,
    /// The clusters in whose APIs it is, its home first.
    pub route: Vec<ClusterId>,
    /// The cluster and the machine where it is.
    pub machine: Option<(ClusterId, Arc<str>)>,
    /// When it was placed there for the first time.
    pub placed_at: Option<u64>,
    pub finished: bool,
    /// Lost its place below and was replaced by another.
    pub lost: bool,
    /// Why it waits.
    pub why: Option<String>,
}

/// The pods of each workload as a controller makes them.
pub struct Templates(Vec<Pod>);

impl Templates {
    pub fn new(world: &World) -> Self {
        Self(world.workload.iter().enumerate().map(|(n, group)| template(n, group)).collect())
    }

    /// The pod as its home has it.
    pub fn home(&self, id: PodId, pod: &Simulated) -> Pod {
        let mut made = self.0[pod.group].clone();
        let meta = &mut made.metadata;
        meta.name = Some(pod.name.to_string());
        meta.uid = Some(uid(pod.route[0], id));
        meta.creation_timestamp = Some(Time(timestamp(pod.made_at)));
        if let Some(near) = &pod.near {
            meta.annotations.get_or_insert_default().insert(annotation::NEAR.into(), near.clone());
        }
        if let (Some(only), Some(spec)) = (&pod.only, &mut made.spec) {
            spec.node_selector.get_or_insert_default().insert(label::CLUSTER.into(), only.to_string());
        }
        let mut amounts = Quantities::default();
        amounts.set("cpu", pod.requests.0);
        amounts.set("memory", pod.requests.1);
        let requests: BTreeMap<String, Quantity> = serde_json::to_value(&amounts)
            .ok()
            .and_then(|value| serde_json::from_value(value).ok())
            .unwrap_or_default();
        for container in made.spec.iter_mut().flat_map(|spec| &mut spec.containers) {
            container.resources.get_or_insert_default().requests = Some(requests.clone());
        }
        made
    }

    /// The pod as the cluster at `step` of its route has it: mirrored once for each step.
    pub fn at(&self, clusters: &[Cluster], id: PodId, pod: &Simulated, step: usize) -> Pod {
        let mut made = self.home(id, pod);
        for cluster in &pod.route[1..=step] {
            if let Some(level) = &clusters[*cluster].uplink {
                made = mirror::mirror(level, &made, NAMESPACE, &|kind, name| place::name(kind, name));
                made.metadata.uid = Some(uid(*cluster, id));
                made.metadata.creation_timestamp = Some(Time(timestamp(pod.made_at)));
            }
        }
        made
    }
}

/// What decisions read of a pod.
pub fn project(pod: &Pod) -> Arc<projected::Pod> {
    let value = serde_json::to_value(pod).unwrap_or_default();
    Arc::new(serde_json::from_value(value).unwrap_or_default())
}

/// As long as a real one, and unique to the pod and the API that it is in.
pub fn uid(cluster: ClusterId, id: PodId) -> String {
    format!("{cluster:08x}-0000-4000-8000-{id:012x}")
}

/// A moment of the simulation, which begins with the year 2026.
pub fn timestamp(millis: u64) -> Timestamp {
    const BEGIN: i64 = 1_767_225_600_000;
    let millis = i64::try_from(millis).unwrap_or(0);
    Timestamp::from_millisecond(BEGIN.saturating_add(millis)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A pod with all defaults, as the API server would keep it; without the volume of a token and managed fields.
fn template(n: usize, group: &Workload) -> Pod {
    let (kind, version, restart) = match group.life {
        Some(_) => ("Job", "batch/v1", "Never"),
        None => ("ReplicaSet", "apps/v1", "Always"),
    };
    let selector: serde_json::Map<String, Value> =
        group.selector.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": NAMESPACE, "labels": {"app": group.name}, "annotations": {},
            "generateName": format!("{}-", group.name),
            "ownerReferences": [{"apiVersion": version, "kind": kind, "name": group.name, "uid": format!("ffffffff-0000-4000-8000-{n:012x}"),
                "controller": true, "blockOwnerDeletion": true}]},
        "spec": {"restartPolicy": restart, "nodeSelector": selector, "containers": [{"name": "main",
            "image": format!("registry.example/{}:1", group.name)}]},
        "status": {},
    });
    if let Some(policy) = &group.policy {
        pod["metadata"]["annotations"][annotation::SCHEDULER_POLICY] = policy.as_str().into();
    }
    if let Some(spread) = &group.spread {
        pod["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": spread.skew, "topologyKey": spread.over,
            "whenUnsatisfiable": if spread.required { "DoNotSchedule" } else { "ScheduleAnyway" },
            "labelSelector": {"matchLabels": {"app": group.name}}}]);
    }
    defaults::apply(&GroupVersionKind::new("", "v1", "Pod"), &mut pod);
    serde_json::from_value(pod).unwrap_or_default()
}

/// A cluster in which pods are made, and to whose machines these are tied.
pub type Home = (ClusterId, Option<Arc<str>>);

/// All pods of the world. `homes` are the clusters of each level.
pub fn make(world: &World, homes: &[Vec<Home>]) -> Vec<Simulated> {
    let mut all = Vec::new();
    for (n, group) in world.workload.iter().enumerate() {
        let mut random = Random::new(world.seed, 1_000 + n as u64);
        let homes = &homes[group.home];
        for count in 0..group.count {
            for (h, (home, only)) in homes.iter().enumerate() {
                let made_at = match group.rate {
                    None => group.start,
                    // In the middle of its share of time, and up to half of that earlier or later.
                    Some(rate) => {
                        let gap = 1_000_000 / rate.max(1);
                        group.start
                            + count.saturating_mul(1_000_000) / rate.max(1)
                            + random.next() % (gap + 1)
                    }
                };
                let mut draw = |range| random.within(range);
                let requests = (draw(group.cpu), draw(group.memory) / 1024 * 1024);
                let life = group.life.map(|life| draw(life).unsigned_abs());
                let near = group.near.as_ref().map(|near| match near {
                    Near::Place(place) => place.clone(),
                    Near::Anywhere(area) => degrees((draw(area.latitude), draw(area.longitude))),
                });
                let name: Arc<str> = match homes.len() {
                    1 => format!("{}-{count:06}", group.name).into(),
                    _ => format!("{}-{count:06}-{h:04}", group.name).into(),
                };
                all.push(Simulated {
                    group: n,
                    name,
                    only: only.clone(),
                    requests,
                    near,
                    life,
                    made_at,
                    route: vec![*home],
                    machine: None,
                    placed_at: None,
                    finished: false,
                    lost: false,
                    why: None,
                });
            }
        }
    }
    all
}

/// `LAT,LON` out of thousandths.
pub fn degrees((latitude, longitude): (i64, i64)) -> String {
    let one = |thousandths: i64| {
        let sign = if thousandths < 0 { "-" } else { "" };
        format!("{sign}{}.{:03}", thousandths.abs() / 1000, thousandths.abs() % 1000)
    };
    format!("{},{}", one(latitude), one(longitude))
}
