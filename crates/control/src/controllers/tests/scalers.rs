//! What autoscalers make of what pods use.

use super::*;
use crate::model::{HorizontalPodAutoscaler, PodMetrics, Time};

fn key() -> Key {
    Key::new("horizontalpodautoscalers.autoscaling", "n", "h")
}

fn scaler(more: Value) -> HorizontalPodAutoscaler {
    let mut scaler = json!({"metadata": {"name": "h", "namespace": "n", "uid": "h"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"}, "minReplicas": 1, "maxReplicas": 10,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
    json_patch_merge(&mut scaler, more);
    serde_json::from_value(scaler).expect("an autoscaler")
}

/// Pods that each request 100m and use so many m; `!` is not ready, `?` not measured, `.` pending.
fn world(used: &str, more: Value) -> View {
    let mut view = View::default();
    let words: Vec<&str> = used.split_whitespace().collect();
    view.replica_sets.upsert(set(words.len() as i32));
    view.autoscalers.upsert(scaler(more));
    for (n, word) in words.iter().enumerate() {
        let name = format!("p{n}");
        let amount = word.trim_matches(['!', '?', '.']);
        let mut more = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
            "status": {"startTime": "2026-01-01T00:00:00Z"}});
        if word.contains('!') {
            more["status"]["startTime"] = json!(Time(NOW - 60).to_string());
        }
        if word.contains('.') {
            more["status"]["phase"] = json!("Pending");
        }
        view.pods.upsert(pod(&name, !word.contains('!'), more));
        if !word.contains(['?', '.']) {
            let metrics = json!({"metadata": {"name": name, "namespace": "n"}, "timestamp": Time(NOW).to_string(),
                "containers": [{"name": "c", "usage": {"cpu": format!("{amount}000000n"), "memory": "10Ki"}}]});
            view.pod_metrics.upsert(serde_json::from_value::<PodMetrics>(metrics).expect("metrics"));
        }
    }
    view
}

/// The size that is asked for, if another, and the conditions that are not as usual.
fn look(view: &View, now: i64) -> (crate::plan::Plan, String) {
    let (plan, _) = autoscaler::plan(view, &key(), now, 0);
    let mut text = Vec::new();
    for action in &plan.actions {
        match action {
            Action::Patch { subresource: Some("scale"), patch, .. } => {
                text.push(patch["spec"]["replicas"].to_string())
            }
            Action::Patch { subresource: Some("status"), patch, .. } => {
                for condition in patch["status"]["conditions"].as_array().into_iter().flatten() {
                    let reason = condition["reason"].as_str().unwrap_or_default();
                    let usual = [
                        "SucceededGetScale",
                        "ValidMetricFound",
                        "DesiredWithinRange",
                        "ReadyForNewScale",
                        "SucceededRescale",
                    ];
                    if !usual.contains(&reason) {
                        text.push(reason.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    let text = text.join(" ");
    (plan, text)
}

#[test]
fn sizes_follow_use_and_unknown_pods_hold_them_still() {
    let average = json!({"spec": {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "20m"}}}]}});
    let container = |name: &str| {
        json!({"spec": {"metrics": [{"type": "ContainerResource",
        "containerResource": {"name": "cpu", "container": name, "target": {"type": "Utilization", "averageUtilization": 50}}}]}})
    };
    for (used, more, want) in [
        ("50 50", json!({}), ""),
        ("54 54", json!({}), ""),
        ("56 56", json!({}), "3"),
        ("75 75", json!({}), "3"),
        ("100 100 100", json!({}), "6"),
        ("400 400 400", json!({}), "6 ScaleUpLimit"),
        ("99 99", json!({"spec": {"maxReplicas": 3}}), "3 TooManyReplicas"),
        ("5 5 5 5", json!({}), "ScaleDownStabilized"),
        ("50 50 50", json!({"spec": {"maxReplicas": 2}}), "2"),
        ("50", json!({"spec": {"minReplicas": 3}}), "3"),
        ("", json!({}), "ScalingDisabled"),
        // Growing, an unready or unknown pod counts for nothing; shrinking, an unknown one for all.
        ("100 100 0!", json!({}), "4"),
        ("60 60 0.", json!({}), ""),
        ("80 80 0.", json!({}), ""),
        ("100 100 ?", json!({}), "4"),
        ("60 60 ?", json!({}), ""),
        ("? ?", json!({}), "FailedGetResourceMetric"),
        ("0! 0!", json!({}), "FailedGetResourceMetric"),
        ("40 40", average, "4"),
        ("100 100", container("c"), "4"),
        ("100 100", container("d"), "FailedGetContainerResourceMetric"),
        ("60 60", json!({"spec": {"behavior": {"scaleUp": {"tolerance": "0.3"}}}}), ""),
        (
            "100",
            json!({"spec": {"metrics": [{"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"averageValue": "1"}}}]}}),
            "FailedGetPodsMetric",
        ),
        ("100", json!({"spec": {"metrics": [{"type": "Moon"}]}}), "InvalidMetricSourceType"),
        ("100", json!({"spec": {"scaleTargetRef": {"kind": "DaemonSet"}}}), "FailedGetScale"),
        ("100", json!({"spec": {"scaleTargetRef": {"name": "other"}}}), "FailedGetScale"),
    ] {
        let view = world(used, more.clone());
        assert_eq!(look(&view, NOW).1, want, "{used:?} {more}");
    }
    // Without a request there is nothing to measure by.
    let mut view = world("100", json!({}));
    view.pods.upsert(pod(
        "p0",
        true,
        json!({"spec": {"containers": [{"name": "c"}]}, "status": {"startTime": "2026-01-01T00:00:00Z"}}),
    ));
    let (plan, text) = look(&view, NOW);
    assert_eq!(text, "FailedGetResourceMetric");
    let told = |action: &Action| {
        matches!(action, Action::Event { message, warning: true, .. }
        if message == "failed to get cpu utilization: missing request for cpu in container c of Pod p0")
    };
    assert!(plan.actions.iter().any(told), "{plan:?}");
}

/// Plans at each `(seconds, use of each pod)` in turn, carrying sizes and memory on; gives the sizes.
fn follow(more: Value, steps: &[(i64, i64)]) -> Vec<i32> {
    let mut size: i32 = 2;
    let mut history = None;
    let mut sizes = Vec::new();
    for (seconds, used) in steps {
        let words = vec![used.to_string(); size as usize].join(" ");
        let mut view = world(&words, more.clone());
        view.histories.extend(std::mem::take(&mut history).map(|history| (key(), history)));
        let (plan, text) = look(&view, NOW + seconds);
        size = text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(size);
        history = plan.history;
        sizes.push(size);
    }
    sizes
}

#[test]
fn behavior_decides_how_fast_it_goes() {
    // Down only when five minutes have said so.
    assert_eq!(follow(json!({}), &[(0, 100), (15, 10), (299, 10), (316, 10)]), [4, 4, 4, 1]);
    let rules = |direction: &str, rules: Value| json!({"spec": {"behavior": {direction: rules}}});
    // One pod a minute.
    let slow = rules(
        "scaleUp",
        json!({"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}], "selectPolicy": "Max"}),
    );
    assert_eq!(follow(slow, &[(0, 100), (15, 100), (60, 100), (75, 100)]), [3, 3, 4, 4]);
    // The slower of two.
    let both = rules(
        "scaleUp",
        json!({"selectPolicy": "Min", "policies": [
        {"type": "Pods", "value": 3, "periodSeconds": 15}, {"type": "Percent", "value": 50, "periodSeconds": 15}]}),
    );
    assert_eq!(follow(both, &[(0, 500), (15, 500)]), [3, 5]);
    let never = rules("scaleDown", json!({"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}));
    assert_eq!(follow(never, &[(0, 1), (900, 1)]), [2, 2]);
    let quick = rules(
        "scaleDown",
        json!({"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}),
    );
    assert_eq!(follow(quick, &[(0, 1)]), [1]);
    // Up only when a minute has said so.
    let patient = rules(
        "scaleUp",
        json!({"stabilizationWindowSeconds": 60, "policies": [{"type": "Pods", "value": 9, "periodSeconds": 15}]}),
    );
    assert_eq!(follow(patient, &[(0, 100), (30, 100), (61, 100)]), [2, 2, 4]);
}

#[test]
fn the_status_says_what_is_used() {
    let (plan, _) = look(&world("100 60", json!({})), NOW);
    let status = plan.actions.iter().find_map(|action| match action {
        Action::Patch { subresource: Some("status"), patch, .. } => Some(patch["status"].clone()),
        _ => None,
    });
    let status = status.expect("a status");
    assert_eq!(
        status["currentMetrics"],
        json!([{"type": "Resource", "resource": {"name": "cpu",
        "current": {"averageUtilization": 80, "averageValue": "80m"}}}])
    );
    assert_eq!(
        (&status["desiredReplicas"], &status["lastScaleTime"]),
        (&json!(4), &json!(Time(NOW).to_string()))
    );
    assert_eq!(plan.again_at, Some(NOW + 15));
}

/// What extension servers tell is asked for by its path and followed like everything else.
#[test]
fn metrics_of_extension_servers_are_followed() {
    use crate::controllers::autoscaler::custom::Measure;
    let name = json!({"name": "rps", "selector": {"matchLabels": {"verb": "GET"}}});
    let pods = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/n/pods/*/rps\
        ?labelSelector=app%3Dweb&metricLabelSelector=verb%3DGET";
    let object = |kind: &str| json!({"apiVersion": "v1", "kind": kind, "name": "it"});
    let pods_metric = json!({"type": "Pods", "pods": {"metric": name, "target": {"averageValue": "500m"}}});
    let of = |kind: &str, target: Value| json!({"type": "Object", "object": {"metric": {"name": "depth"}, "describedObject": object(kind), "target": target}});
    let outside = |target: Value| json!({"type": "External", "external": {"metric": name, "target": target}});
    let service = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/n/services/it/depth";
    let queue = "/apis/external.metrics.k8s.io/v1beta1/namespaces/n/rps?labelSelector=verb%3DGET";
    for (metric, path, told, want, current) in [
        // Of two pods: 0.5 each is wanted, 1 and 0.5 are there.
        (&pods_metric, pods, &[("p0", 1000), ("p1", 500)][..], "3", json!({"averageValue": "750m"})),
        (&pods_metric, pods, &[("p0", 500), ("p1", 520)], "", json!({"averageValue": "510m"})),
        (&pods_metric, pods, &[("p0", 1000)], "", json!({"averageValue": "1"})),
        (&of("Service", json!({"value": "10"})), service, &[("it", 20_000)], "4", json!({"value": "20"})),
        (
            &of("Service", json!({"averageValue": "10"})),
            service,
            &[("it", 45_000)],
            "4 ScaleUpLimit",
            json!({"averageValue": "22500m"}),
        ),
        (
            &of("Node", json!({"value": "10"})),
            "/apis/custom.metrics.k8s.io/v1beta2/nodes/it/depth",
            &[("it", 10_500)],
            "",
            json!({"value": "10500m"}),
        ),
        (
            &of("Namespace", json!({"value": "10"})),
            "/apis/custom.metrics.k8s.io/v1beta2/namespaces/it/metrics/depth",
            &[("it", 20_000)],
            "4",
            json!({"value": "20"}),
        ),
        (&outside(json!({"value": "10"})), queue, &[("", 10_000), ("", 5_000)], "3", json!({"value": "15"})),
        (
            &outside(json!({"averageValue": "5"})),
            queue,
            &[("", 15_000)],
            "3",
            json!({"averageValue": "7500m"}),
        ),
    ] {
        let mut view = world("50 50", json!({"spec": {"metrics": [metric]}}));
        let scaler = view.autoscalers.by_key(&key()).expect("an autoscaler").clone();
        assert_eq!(autoscaler::paths(&view, &scaler), [path.into()]);
        let reason = format!("FailedGet{}Metric", metric["type"].as_str().unwrap_or_default());
        assert_eq!(look(&view, NOW).1, reason, "not yet told: {metric}");
        let measures = told.iter().map(|(of, value)| Measure { of: (*of).into(), value: *value }).collect();
        view.measured.insert(path.into(), Ok(measures));
        let (plan, text) = look(&view, NOW);
        assert_eq!(text, want, "{metric} {told:?}");
        let status = plan.actions.iter().find_map(|action| match action {
            Action::Patch { subresource: Some("status"), patch, .. } => {
                Some(&patch["status"]["currentMetrics"][0])
            }
            _ => None,
        });
        let source = metric["type"].as_str().unwrap_or_default().to_lowercase();
        assert_eq!(status.expect("a status")[&source]["current"], current, "{metric}");
        view.measured.insert(path.into(), Err("it is away".into()));
        assert_eq!(look(&view, NOW).1, reason, "not told: {metric}");
    }
    // An object of a kind that nobody knows.
    let mut view = world("50 50", json!({"spec": {"metrics": [of("Moon", json!({"value": "1"}))]}}));
    assert_eq!(look(&view, NOW).1, "FailedGetObjectMetric");
    view.autoscalers.upsert(scaler(json!({})));
    let scaler = view.autoscalers.by_key(&key()).expect("an autoscaler").clone();
    assert!(autoscaler::paths(&view, &scaler).is_empty());
}
