//! Rolling updates of DaemonSets.

use super::*;
use crate::model::{ControllerRevision, DaemonSet};

/// Nodes `a`, `b` and `c`; `pods` are `NODE[*][!]`: old with `*`, not ready with `!`.
fn world(rolling: Value, pods: &str) -> View {
    let mut view = View::default();
    let set: DaemonSet = serde_json::from_value(json!({
        "metadata": {"name": "d", "namespace": "n", "uid": "set"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}},
    }))
    .expect("a DaemonSet");
    view.daemon_sets.upsert(set);
    let revision: ControllerRevision = serde_json::from_value(json!({
        "metadata": {"name": "d-new", "namespace": "n", "uid": "r", "labels": {"app": "web", "controller-revision-hash": "new"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "set", "controller": true}]},
        "data": {"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"app": "web"}}, "spec": {}}}}, "revision": 1,
    }))
    .expect("a ControllerRevision");
    view.controller_revisions.upsert(revision);
    for name in ["a", "b", "c"] {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": name, "uid": name}})).expect("a Node");
        view.nodes.upsert(node);
    }
    for word in pods.split_whitespace() {
        let hash = if word.contains('*') { "old" } else { "new" };
        let more = json!({"metadata": {"labels": {"controller-revision-hash": hash}}, "spec": {"nodeName": &word[..1]}});
        view.pods.upsert(pod(&format!("{}-{hash}", &word[..1]), !word.contains('!'), more));
    }
    view
}

#[test]
fn surges_put_the_new_pod_beside_the_old_one() {
    let surge = |n: Value| json!({"maxSurge": n, "maxUnavailable": 0});
    for (rolling, pods, want) in [
        (json!({"maxUnavailable": 1}), "a* b* c*", "-a-old"),
        (json!({"maxUnavailable": 1}), "a b! c*", ""),
        (json!({"maxUnavailable": 1}), "a b! c*!", "-c-old"),
        (json!({"maxUnavailable": 2}), "a* b* c*", "-a-old -b-old"),
        (surge(json!(1)), "a* b* c*", "+a"),
        (surge(json!(1)), "a* a! b* c*", ""),
        (surge(json!(1)), "a* a b* c*", "-a-old +b"),
        (surge(json!(1)), "a* a! b*! c*", "+b"),
        (surge(json!("50%")), "a* b* c*", "+a +b"),
        (surge(json!(1)), "a b c", ""),
        (surge(json!(1)), "a b", "+c"),
    ] {
        let view = world(rolling.clone(), pods);
        let (plan, _) = daemonset::plan(&view, &Key::new("daemonsets.apps", "n", "d"), NOW, 0);
        let moves = plan.actions.iter().filter_map(|action| match action {
            Action::Create { object, .. } => {
                let affinity = &object["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
                let node = affinity["nodeSelectorTerms"][0]["matchFields"][0]["values"][0].as_str();
                Some(format!("+{}", node.unwrap_or_default()))
            }
            Action::Delete { target, .. } => Some(format!("-{}", target.name)),
            _ => None,
        });
        assert_eq!(moves.collect::<Vec<_>>().join(" "), want, "{rolling} {pods}");
    }
}
