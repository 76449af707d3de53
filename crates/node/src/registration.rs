//! The Node object: made, kept current, made again if somebody deletes it; and the Lease, where the server does not
//! renew it from the tunnel.
//!
//! Writes happen on change and at a long interval only: an idle node is silent.

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_api::names::{annotation, reason, taint};
use dunlin_base::backoff::Backoff;
use dunlin_base::task::Task;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeSystemInfo, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::follow::{Seen, follow};

/// What this node says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// Labels to have; others on the object are left alone.
    pub labels: BTreeMap<String, String>,
    /// Annotations to have.
    pub annotations: BTreeMap<String, String>,
    /// Taints when it registers for the first time.
    pub taints: Vec<Taint>,
    /// The taints are those of a machine that the node shows, and follow it; what others have put on stays.
    pub follows_taints: bool,
    /// Type and address: `InternalIP`, `Hostname`.
    pub addresses: Vec<(String, String)>,
    /// Quantities by resource name.
    pub capacity: BTreeMap<String, String>,
    /// Quantities by resource name.
    pub allocatable: BTreeMap<String, String>,
    /// Handlers of RuntimeClasses that it runs; the empty one is that of pods without a class.
    pub runtime_handlers: Vec<String>,
    /// Kernel, architecture, versions.
    pub system: NodeSystemInfo,
    /// Port of a kubelet's HTTP server, for real Kubernetes; none with the tunnel.
    pub kubelet_port: Option<u16>,
    /// Whoever speaks for the node does not hear it: nothing about its state is known.
    pub unheard: bool,
    /// Why the node is not ready; `None` is ready.
    pub not_ready: Option<String>,
    /// Memory is short.
    pub memory_pressure: bool,
    /// Disk space is short.
    pub disk_pressure: bool,
    /// Process ids are short.
    pub pid_pressure: bool,
    /// Names and size of the images that are here.
    pub images: Vec<(Vec<String>, i64)>,
}

/// What the API assigned to the node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Assigned {
    /// The Node object's uid.
    pub uid: String,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<String>,
    /// All its labels, whoever has put them on.
    pub labels: BTreeMap<String, String>,
}

/// How often what is written.
#[derive(Debug, Clone)]
pub struct RegistrationOptions {
    /// Renew the Lease from here (real Kubernetes, or a node without a tunnel).
    pub renew_lease: bool,
    /// Time between renewals.
    pub renew_interval: Duration,
    /// The Lease's duration.
    pub lease_duration: Duration,
    /// The status is written again after this long without a change; `None` never.
    pub status_interval: Option<Duration>,
}

impl Default for RegistrationOptions {
    fn default() -> Self {
        Self {
            renew_lease: true,
            renew_interval: Duration::from_secs(10),
            lease_duration: Duration::from_secs(40),
            status_interval: Some(Duration::from_secs(300)),
        }
    }
}

/// A running registration.
pub struct Registration {
    /// What the API assigned, once it did.
    pub assigned: watch::Receiver<Option<Assigned>>,
    _tasks: Vec<Task>,
}

enum Happened {
    Info,
    Seen(Seen<Node>),
    Interval,
    Retry,
}

impl Registration {
    /// Registers the node and keeps it current.
    pub fn start(client: Client, info: watch::Receiver<NodeInfo>, options: RegistrationOptions) -> Self {
        let (assigned_tx, assigned) = watch::channel(None);
        let name = info.borrow().name.clone();
        // Only the newest state of the object matters: whoever is busy writing must not miss that one.
        let (seen_tx, seen_rx) = watch::channel(None);
        let nodes: Api<Node> = Api::all(client.clone());
        let watched = name.clone();
        let follower = Task::spawn("node-watch", async move {
            follow(nodes, &watched, |seen| {
                seen_tx.send_replace(Some(seen));
            })
            .await;
        });
        let mut tasks = vec![follower];
        let (uid_tx, uid_rx) = watch::channel(String::new());
        tasks.push(Task::spawn(
            "node-status",
            keep(client.clone(), info, seen_rx, assigned_tx, uid_tx, options.clone()),
        ));
        if options.renew_lease {
            tasks.push(Task::spawn("node-lease", renew(client, name, uid_rx, options)));
        }
        Self { assigned, _tasks: tasks }
    }
}

async fn keep(
    client: Client,
    mut info: watch::Receiver<NodeInfo>,
    mut seen: watch::Receiver<Option<Seen<Node>>>,
    assigned: watch::Sender<Option<Assigned>>,
    uid: watch::Sender<String>,
    options: RegistrationOptions,
) {
    let api: Api<Node> = Api::all(client);
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(15));
    let mut exists: Option<Node> = None;
    let mut written: Option<NodeInfo> = None;
    let mut transitions: Transitions = BTreeMap::new();
    let mut retry = true;
    let mut created = false;
    loop {
        let interval = async {
            match options.status_interval {
                Some(interval) => tokio::time::sleep(interval).await,
                None => std::future::pending().await,
            }
        };
        let delay = if retry && created { backoff.next_delay() } else { Duration::ZERO };
        let happened = tokio::select! {
            changed = info.changed() => if changed.is_err() { return } else { Happened::Info },
            changed = seen.changed() => match (changed, seen.borrow_and_update().clone()) {
                (Ok(()), Some(state)) => Happened::Seen(state),
                _ => return,
            },
            () = interval => Happened::Interval,
            () = tokio::time::sleep(delay), if retry => Happened::Retry,
        };
        let now = info.borrow_and_update().clone();
        match happened {
            Happened::Seen(Seen::Present(node)) => {
                let new_uid = node.metadata.uid.clone().unwrap_or_default();
                let cidrs = node.spec.as_ref().map(pod_cidrs).unwrap_or_default();
                let labels = node.metadata.labels.clone().unwrap_or_default();
                let value = Some(Assigned { uid: new_uid.clone(), pod_cidrs: cidrs, labels });
                assigned.send_if_modified(|a| (*a != value).then(|| *a = value).is_some());
                let fresh =
                    uid.send_if_modified(|u| (*u != new_uid).then(|| u.clone_from(&new_uid)).is_some());
                // While we were out of reach somebody else has said that nothing is known of us.
                if fresh || contradicted(&node, &now) {
                    written = None;
                }
                exists = Some(*node);
            }
            Happened::Seen(Seen::Absent) => {
                exists = None;
                written = None;
                created = false;
            }
            Happened::Seen(Seen::Unknown(error)) => {
                tracing::debug!(error, "the API cannot be asked about this node");
                continue;
            }
            Happened::Interval => written = None,
            Happened::Info | Happened::Retry => {}
        }
        retry = false;
        if exists.is_none() && !created {
            match create(&api, &now).await {
                Ok(()) => {
                    created = true;
                    backoff.reset();
                    tracing::info!(node = now.name, "registered");
                }
                Err(error) => {
                    tracing::warn!(error = dunlin_base::error::chain(&error), "registering the node failed");
                    tokio::time::sleep(backoff.next_delay()).await;
                    retry = true;
                    continue;
                }
            }
        }
        if written.as_ref() == Some(&now) {
            continue;
        }
        match write(&api, &now, exists.as_ref(), &mut transitions).await {
            Ok(()) => {
                backoff.reset();
                written = Some(now);
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                created = false;
                exists = None;
                retry = true;
            }
            Err(error) => {
                tracing::debug!(
                    error = dunlin_base::error::chain(&error),
                    "writing the node's status failed"
                );
                retry = true;
            }
        }
    }
}

/// Whether the object says of the node's readiness what the node itself does not.
fn contradicted(node: &Node, info: &NodeInfo) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ours = match &info.not_ready {
        _ if info.unheard => "Unknown",
        None => "True",
        Some(_) => "False",
    };
    conditions.filter(|c| c.type_ == "Ready").any(|c| c.status != ours)
}

fn pod_cidrs(spec: &k8s_openapi::api::core::v1::NodeSpec) -> Vec<String> {
    let mut cidrs = spec.pod_cidrs.clone().unwrap_or_default();
    if cidrs.is_empty() {
        cidrs.extend(spec.pod_cidr.clone().filter(|c| !c.is_empty()));
    }
    cidrs
}

async fn create(api: &Api<Node>, info: &NodeInfo) -> Result<(), kube::Error> {
    let mut annotations = info.annotations.clone();
    if info.follows_taints {
        annotations.insert(annotation::OWN_TAINTS.into(), own_taints(None, info));
    }
    let node = Node {
        metadata: ObjectMeta {
            name: Some(info.name.clone()),
            labels: Some(info.labels.clone()),
            annotations: Some(annotations).filter(|a| !a.is_empty()),
            ..ObjectMeta::default()
        },
        spec: Some(k8s_openapi::api::core::v1::NodeSpec {
            taints: Some(info.taints.clone()).filter(|t| !t.is_empty()),
            ..Default::default()
        }),
        status: None,
    };
    match api.create(&PostParams::default(), &node).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}

async fn write(
    api: &Api<Node>,
    info: &NodeInfo,
    known: Option<&Node>,
    transitions: &mut Transitions,
) -> Result<(), kube::Error> {
    let has = |have: &Option<BTreeMap<String, String>>, want: &BTreeMap<String, String>| {
        want.iter().all(|(k, v)| have.as_ref().and_then(|h| h.get(k)) == Some(v))
    };
    let stale = known.map(|node| stale_labels(node, info)).unwrap_or_default();
    let mut annotations = info.annotations.clone();
    annotations.insert(annotation::OWN_LABELS.into(), own_labels(info));
    let taints = known.filter(|_| info.follows_taints).and_then(|node| followed_taints(node, info));
    if info.follows_taints {
        annotations.insert(annotation::OWN_TAINTS.into(), own_taints(known, info));
    }
    let labelled = known
        .is_some_and(|n| has(&n.metadata.labels, &info.labels) && has(&n.metadata.annotations, &annotations));
    if !labelled || !stale.is_empty() || taints.is_some() {
        let mut labels: BTreeMap<String, Option<String>> =
            info.labels.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        labels.extend(stale.into_iter().map(|key| (key, None)));
        let mut patch = json!({"metadata": {"labels": labels, "annotations": annotations}});
        if let Some(taints) = taints {
            patch["spec"] = json!({"taints": taints});
            // Somebody else may put one on at the same time.
            patch["metadata"]["resourceVersion"] =
                json!(known.and_then(|node| node.metadata.resource_version.clone()));
        }
        api.patch(&info.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    if let Some(before) = known.and_then(|n| n.status.as_ref()).and_then(|s| s.conditions.as_ref()) {
        for condition in before {
            if let Some(since) = &condition.last_transition_time {
                transitions
                    .entry(condition.type_.clone())
                    .or_insert_with(|| (condition.status.clone(), since.0));
            }
        }
    }
    let patch = patch(info, Timestamp::now(), transitions);
    api.patch_status(&info.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    Ok(())
}

/// The keys of all labels that the node gives itself, as its annotation says them.
fn own_labels(info: &NodeInfo) -> String {
    info.labels.keys().cloned().collect::<Vec<_>>().join(",")
}

/// Labels that the node gave itself before and does not have any more; those of other people are not among them.
fn stale_labels(known: &Node, info: &NodeInfo) -> Vec<String> {
    let own = known.metadata.annotations.as_ref().and_then(|all| all.get(annotation::OWN_LABELS));
    let own = own.map(String::as_str).unwrap_or_default().split(',').filter(|key| !key.is_empty());
    let has = |key: &&str| known.metadata.labels.as_ref().is_some_and(|all| all.contains_key(*key));
    own.filter(|key| !info.labels.contains_key(*key)).filter(has).map(str::to_owned).collect()
}

/// A condition of a node that nobody hears.
fn unheard() -> (&'static str, String, String) {
    ("Unknown", reason::MACHINE_UNREACHABLE.to_owned(), "the cluster does not hear its machine".to_owned())
}

/// The taints that the node shall have, with those of others that it has; `None` if it has them.
fn followed_taints(known: &Node, info: &NodeInfo) -> Option<Vec<Taint>> {
    let text = |taint: &Taint| taint::text(&serde_json::to_value(taint).unwrap_or_default());
    let noted = known.metadata.annotations.as_ref().and_then(|all| all.get(annotation::OWN_TAINTS));
    let noted: Vec<&str> = noted.map(String::as_str).unwrap_or_default().split(',').collect();
    let present = known.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let wanted: Vec<String> = info.taints.iter().map(text).collect();
    let keeps = |taint: &Taint| {
        let taint = text(taint);
        !noted.contains(&taint.as_str()) || wanted.contains(&taint)
    };
    let mut all: Vec<Taint> = present.iter().filter(|taint| keeps(taint)).cloned().collect();
    let has: Vec<String> = all.iter().map(text).collect();
    all.extend(info.taints.iter().filter(|taint| !has.contains(&text(taint))).cloned());
    (all != present).then_some(all)
}

/// Of the taints that the node shall have, those that it brings itself, as its annotation notes them: what somebody else
/// had put on before is not among them.
fn own_taints(known: Option<&Node>, info: &NodeInfo) -> String {
    let text = |taint: &Taint| taint::text(&serde_json::to_value(taint).unwrap_or_default());
    let noted = known.and_then(|node| node.metadata.annotations.as_ref()?.get(annotation::OWN_TAINTS));
    let noted: Vec<&str> = noted.map(String::as_str).unwrap_or_default().split(',').collect();
    let present = known.and_then(|node| node.spec.as_ref()?.taints.as_ref());
    let present: Vec<String> = present.into_iter().flatten().map(text).collect();
    let own = info.taints.iter().map(text);
    own.filter(|taint| noted.contains(&taint.as_str()) || !present.contains(taint))
        .collect::<Vec<_>>()
        .join(",")
}

/// Type of a condition to its status and since when it is so.
pub type Transitions = BTreeMap<String, (String, Timestamp)>;

/// The strategic merge patch of the node's status; `transitions` is brought up to date.
pub fn patch(info: &NodeInfo, now: Timestamp, transitions: &mut Transitions) -> Value {
    json!({"status": status(info, now, transitions)})
}

fn status(info: &NodeInfo, now: Timestamp, transitions: &mut Transitions) -> Value {
    let pressure = |on: bool, kind: &str, good: &str, bad: &str| {
        let (status, reason, message) = if on {
            ("True", format!("KubeletHas{kind}"), bad.to_owned())
        } else {
            let good_kind = if kind == "DiskPressure" {
                "NoDiskPressure".to_owned()
            } else {
                format!("Sufficient{}", kind.trim_end_matches("Pressure").replace("Insufficient", ""))
            };
            ("False", format!("KubeletHas{good_kind}"), good.to_owned())
        };
        (status, reason, message)
    };
    let (memory, disk, pid) = (
        pressure(
            info.memory_pressure,
            "InsufficientMemory",
            "kubelet has sufficient memory available",
            "kubelet has insufficient memory available",
        ),
        pressure(
            info.disk_pressure,
            "DiskPressure",
            "kubelet has no disk pressure",
            "kubelet has disk pressure",
        ),
        pressure(
            info.pid_pressure,
            "InsufficientPID",
            "kubelet has sufficient PID available",
            "kubelet has insufficient PID available",
        ),
    );
    let ready = match &info.not_ready {
        None => ("True", "KubeletReady".to_owned(), "kubelet is posting ready status".to_owned()),
        Some(why) => ("False", "KubeletNotReady".to_owned(), why.clone()),
    };
    let conditions: Vec<Value> =
        [("MemoryPressure", memory), ("DiskPressure", disk), ("PIDPressure", pid), ("Ready", ready)]
            .into_iter()
            .map(|(kind, word)| (kind, if info.unheard { unheard() } else { word }))
            .map(|(kind, (status, reason, message))| {
                let entry = transitions.entry(kind.to_owned()).or_insert_with(|| (status.to_owned(), now));
                if entry.0 != status {
                    *entry = (status.to_owned(), now);
                }
                json!({"type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": Time(now), "lastTransitionTime": Time(entry.1)})
            })
            .collect();
    let addresses: Vec<Value> =
        info.addresses.iter().map(|(kind, address)| json!({"type": kind, "address": address})).collect();
    let images: Vec<Value> =
        info.images.iter().map(|(names, size)| json!({"names": names, "sizeBytes": size})).collect();
    let mut status = json!({
        "addresses": addresses, "capacity": info.capacity, "allocatable": info.allocatable,
        "nodeInfo": info.system, "conditions": conditions, "images": images,
    });
    if !info.runtime_handlers.is_empty() {
        let handlers: Vec<Value> = info.runtime_handlers.iter().map(|name| json!({"name": name})).collect();
        status["runtimeHandlers"] = json!(handlers);
    }
    if let Some(port) = info.kubelet_port {
        status["daemonEndpoints"] = json!({"kubeletEndpoint": {"Port": port}});
    }
    status
}

async fn renew(client: Client, name: String, mut uid: watch::Receiver<String>, options: RegistrationOptions) {
    let api: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let mut have = false;
    loop {
        let owner = uid.borrow_and_update().clone();
        let now = MicroTime(Timestamp::now());
        let result = if have {
            let patch = json!({"spec": {"renewTime": now}});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
        } else {
            ensure_lease(&api, &name, &owner, now, &options).await
        };
        let wait = match result {
            Ok(()) => {
                have = true;
                options.renew_interval
            }
            Err(error) => {
                tracing::debug!(
                    error = dunlin_base::error::chain(&error),
                    "renewing the node's lease failed"
                );
                have = false;
                options.renew_interval.min(Duration::from_secs(2))
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = uid.changed() => if changed.is_err() { return } else { have = false },
        }
    }
}

async fn ensure_lease(
    api: &Api<Lease>,
    name: &str,
    owner: &str,
    now: MicroTime,
    options: &RegistrationOptions,
) -> Result<(), kube::Error> {
    let owners = (!owner.is_empty()).then(|| {
        vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.to_owned(),
            uid: owner.to_owned(),
            ..OwnerReference::default()
        }]
    });
    let spec = LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: i32::try_from(options.lease_duration.as_secs()).ok(),
        renew_time: Some(now),
        ..LeaseSpec::default()
    };
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            owner_references: owners.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(spec.clone()),
    };
    match api.create(&PostParams::default(), &lease).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let patch = json!({"metadata": {"ownerReferences": owners}, "spec": spec});
            api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_object_that_says_unknown_contradicts_a_node_that_lives() {
        let node = |status: &str| -> Node {
            let ready = json!({"type": "Ready", "status": status, "reason": "", "message": ""});
            serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"conditions": [ready]}}))
                .expect("node")
        };
        let mut info = NodeInfo::default();
        assert!(contradicted(&node("Unknown"), &info) && !contradicted(&node("True"), &info));
        info.not_ready = Some("starting".to_owned());
        assert!(contradicted(&node("Unknown"), &info) && !contradicted(&node("False"), &info));
        assert!(!contradicted(&Node::default(), &info), "nothing was written yet");
    }

    #[test]
    fn a_node_takes_back_its_own_labels_and_no_others() {
        let known: Node = serde_json::from_value(json!({"metadata": {"name": "n",
            "labels": {"old": "1", "kept": "1", "theirs": "1"},
            "annotations": {"dunlin.io/own-labels": "kept,old,gone"}}}))
        .expect("a node");
        let labels = BTreeMap::from([("kept".to_owned(), "1".to_owned())]);
        let info = NodeInfo { name: "n".into(), labels, ..NodeInfo::default() };
        assert_eq!(stale_labels(&known, &info), ["old"]);
    }

    #[test]
    fn a_machines_taints_are_followed_and_those_of_others_stay() {
        let taint = |key: &str| Taint { key: key.into(), effect: "NoSchedule".into(), ..Taint::default() };
        let known = |taints: &[&str], own: &str| -> Node {
            let taints: Vec<Taint> = taints.iter().map(|key| taint(key)).collect();
            serde_json::from_value(
                json!({"metadata": {"name": "n", "annotations": {"dunlin.io/own-taints": own}},
                "spec": {"taints": taints}}),
            )
            .expect("a node")
        };
        let info = |taints: &[&str]| NodeInfo {
            taints: taints.iter().map(|key| taint(key)).collect(),
            follows_taints: true,
            ..NodeInfo::default()
        };
        let keys = |known: &Node, info: &NodeInfo| {
            followed_taints(known, info).map(|all| all.into_iter().map(|t| t.key).collect::<Vec<_>>())
        };
        let both = known(&["theirs", "old"], "old:NoSchedule");
        assert_eq!(keys(&both, &info(&["new"])), Some(vec!["theirs".to_owned(), "new".to_owned()]));
        assert_eq!(keys(&both, &info(&["old"])), None);
        assert_eq!(own_taints(Some(&both), &info(&["new", "theirs"])), "new:NoSchedule");
    }

    #[test]
    fn a_machine_that_is_not_heard_is_unknown() {
        let info = NodeInfo { name: "n".into(), unheard: true, ..NodeInfo::default() };
        let told = status(&info, Timestamp::UNIX_EPOCH, &mut BTreeMap::new());
        let all = told["conditions"].as_array().expect("list");
        assert!(
            all.iter().all(|c| c["status"] == "Unknown" && c["reason"] == "MachineUnreachable"),
            "{all:?}"
        );
    }

    #[test]
    fn conditions_in_kubelet_words() {
        let mut transitions = BTreeMap::new();
        let mut info = NodeInfo { name: "n".into(), ..NodeInfo::default() };
        let first = status(&info, Timestamp::UNIX_EPOCH, &mut transitions);
        let reasons: Vec<&str> = first["conditions"]
            .as_array()
            .expect("list")
            .iter()
            .filter_map(|c| c["reason"].as_str())
            .collect();
        assert_eq!(
            reasons,
            [
                "KubeletHasSufficientMemory",
                "KubeletHasNoDiskPressure",
                "KubeletHasSufficientPID",
                "KubeletReady"
            ]
        );
        info.disk_pressure = true;
        let later = Timestamp::UNIX_EPOCH + Duration::from_secs(5);
        let second = status(&info, later, &mut transitions);
        assert_eq!(second["conditions"][1]["reason"], "KubeletHasDiskPressure");
        assert_eq!(second["conditions"][1]["lastTransitionTime"], "1970-01-01T00:00:05Z");
        assert_eq!(second["conditions"][3]["lastTransitionTime"], "1970-01-01T00:00:00Z");
    }
}
