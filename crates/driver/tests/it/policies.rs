//! What policies do to a cluster: groups that are bound whole, pods that make way, and words for those that wait.

use serde_json::{Value, json};

use crate::scheduling::{PODS, bound};
use crate::support::{Cluster, pod, until};

/// The message of the condition that says why a pod waits, once `right` is content with it.
pub async fn waits(cluster: &Cluster, name: &str, right: impl Fn(&str) -> bool) -> String {
    let path = format!("{PODS}/{name}");
    until("the condition", || async {
        let pod = cluster.get(&path).await?;
        let first = &pod["status"]["conditions"][0];
        let message =
            first["message"].as_str().filter(|text| first["reason"] == "Unschedulable" && right(text));
        message.map(str::to_owned)
    })
    .await
}

fn member(name: &str, size: &str) -> Value {
    let mut pod = pod(name, "1");
    pod["metadata"]["labels"] = json!({"dunlin.io/group": "g"});
    pod["metadata"]["annotations"] =
        json!({"dunlin.io/group-size": size, "dunlin.io/scheduler-policy": "group"});
    pod
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_bound_whole_or_waits_whole() {
    let cluster = Cluster::start().await;
    cluster.node("n1", "2").await;
    for name in ["g1", "g2"] {
        cluster.create(PODS, member(name, "3")).await;
    }
    waits(&cluster, "g2", |text| text == "group \"g\" waits for 1 of its 3 pods").await;
    cluster.create(PODS, member("g3", "3")).await;
    let text = waits(&cluster, "g3", |text| text.contains("fits nowhere whole")).await;
    assert!(text.contains("has places for 2 of 3 pods"), "{text}");
    for name in ["g1", "g2", "g3"] {
        let pod = cluster.get(&format!("{PODS}/{name}")).await.expect("it is there");
        assert!(pod["spec"]["nodeName"].is_null(), "{name} was bound alone");
    }
    cluster.node("n2", "3").await;
    for name in ["g1", "g2", "g3"] {
        assert_eq!(bound(&cluster, name).await, "n2", "one node takes all");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_higher_priority_gets_the_place_of_a_lower_one() {
    let cluster = Cluster::start().await;
    cluster.node("n1", "2").await;
    for (name, priority) in [("low", 10), ("high", 1000)] {
        let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": priority});
        cluster.create("/apis/scheduling.k8s.io/v1/priorityclasses", class).await;
    }
    let ranked = |name: &str, class: &str| {
        let mut pod = pod(name, "2");
        pod["spec"]["priorityClassName"] = json!(class);
        pod
    };
    cluster.create(PODS, ranked("victim", "low")).await;
    bound(&cluster, "victim").await;
    cluster.run_pod(&format!("{PODS}/victim"), "10.0.0.1").await;

    cluster.create(PODS, ranked("vip", "high")).await;
    until("the nomination", || async {
        let vip = cluster.get(&format!("{PODS}/vip")).await?;
        (vip["status"]["nominatedNodeName"] == "n1").then_some(())
    })
    .await;
    // Its node would end it within its grace; until then it is there, and marked.
    let victim = until("the eviction", || async {
        let victim = cluster.get(&format!("{PODS}/victim")).await?;
        victim["metadata"]["deletionTimestamp"].is_string().then_some(victim)
    })
    .await;
    assert_eq!(victim["metadata"]["deletionGracePeriodSeconds"], 30);
    until("an event", || async {
        let events = cluster.items("/api/v1/namespaces/default/events").await;
        events.into_iter().find(|e| e["reason"] == "Preempted" && e["involvedObject"]["name"] == "victim")
    })
    .await;
    let options = json!({"gracePeriodSeconds": 0});
    cluster.send("DELETE", &format!("{PODS}/victim"), options).await.expect("deleted");
    assert_eq!(bound(&cluster, "vip").await, "n1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_may_ask_for_a_policy_and_is_told_of_a_wrong_one() {
    let cluster = Cluster::with_scheduler("first-fit").await;
    for name in ["n1", "n2", "n3"] {
        cluster.node(name, "4").await;
    }
    let asks = |name: &str, policy: &str| {
        let mut pod = pod(name, "1");
        pod["metadata"]["annotations"] = json!({"dunlin.io/scheduler-policy": policy});
        pod
    };
    cluster.create(PODS, pod("plain", "1")).await;
    assert_eq!(bound(&cluster, "plain").await, "n1");
    cluster.create(PODS, asks("spread", "balanced")).await;
    assert_ne!(bound(&cluster, "spread").await, "n1", "balanced goes where less is in use");
    cluster.create(PODS, asks("wrong", "best")).await;
    let text = waits(&cluster, "wrong", |_| true).await;
    assert!(text.contains("unknown scheduler policy \"best\"; there are first-fit, balanced"), "{text}");
    cluster.create(PODS, asks("lonely", "external")).await;
    let text = waits(&cluster, "lonely", |_| true).await;
    assert!(text.contains("--scheduler external=URL"), "{text}");
}
