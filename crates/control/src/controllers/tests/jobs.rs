//! Jobs in a small world that carries out their plans: pods run, end and are deleted as a script says.

use std::collections::BTreeMap;

use super::*;
use crate::model::{Job, Time};

/// A job, its pods as JSON, and a clock.
struct World {
    job: Value,
    pods: BTreeMap<String, Value>,
    now: i64,
    told: Vec<String>,
    seed: u64,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut job = json!({
            "metadata": {"name": "j", "namespace": "n", "uid": "job"},
            "spec": {"completionMode": "NonIndexed", "podReplacementPolicy": "TerminatingOrFailed", "template": {"metadata": {}, "spec": {"containers": [{"name": "c"}]}}},
            "status": {},
        });
        json_patch_merge(&mut job, json!({"spec": spec}));
        let mut world = Self { job, pods: BTreeMap::new(), now: NOW, told: Vec::new(), seed: 0 };
        world.settle();
        world
    }

    fn plan(&mut self) -> crate::plan::Plan {
        self.seed += 1000;
        let mut view = View::default();
        view.jobs.upsert(serde_json::from_value::<Job>(self.job.clone()).expect("a Job"));
        for pod in self.pods.values() {
            view.pods.upsert(serde_json::from_value::<Pod>(pod.clone()).expect("a Pod"));
        }
        job::plan(&view, &Key::new("jobs.batch", "n", "j"), self.now, self.seed).0
    }

    /// Carries out plans until there is nothing more to do.
    fn settle(&mut self) {
        for _ in 0..20 {
            let actions = self.plan().actions;
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Create { mut object, .. } => {
                        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
                        object["metadata"]["uid"] = json!(name);
                        object["metadata"]["creationTimestamp"] = json!(Time(self.now).to_string());
                        object["status"] = json!({"phase": "Running"});
                        assert!(self.pods.insert(name, object).is_none(), "one name twice");
                    }
                    Action::Patch { target, patch, .. } if &*target.resource == "pods" => {
                        let pod = self.pods.get_mut(&*target.name).expect("a pod");
                        json_patch_merge(pod, patch);
                    }
                    Action::Patch { patch, .. } => json_patch_merge(&mut self.job, patch),
                    Action::Delete { target, .. } if &*target.resource == "pods" => self.delete(&target.name),
                    Action::Delete { .. } => self.told.push("job deleted".to_owned()),
                    Action::Event { reason, .. } => self.told.push(reason.to_string()),
                    _ => {}
                }
            }
            self.pods.retain(|_, pod| {
                let gone = pod["metadata"]["deletionTimestamp"].is_string() && pod["status"]["ended"] == true;
                !(gone && pod["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty))
            });
        }
        panic!("the plans do not come to rest");
    }

    fn delete(&mut self, name: &str) {
        if let Some(pod) = self.pods.get_mut(name) {
            pod["metadata"]["deletionTimestamp"] = json!(Time(self.now).to_string());
            if pod["status"]["phase"] != "Running" {
                pod["status"]["ended"] = json!(true);
            }
        }
    }

    /// Names of running pods in the order of their indexes, or of their names.
    fn running(&self) -> Vec<String> {
        let index = |pod: &Value| {
            pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
                .as_str()
                .map(str::to_owned)
        };
        let runs = |pod: &&Value| {
            pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let mut all: Vec<&Value> = self.pods.values().filter(runs).collect();
        all.sort_by_key(|pod| index(pod));
        all.iter().map(|pod| pod["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// `ok N`, `fail N [CODE]`, `delete N`, `lose N` (ended and gone at once), `end` (deleted pods end), `wait S`, `set JSON`.
    /// `N` counts the running pods.
    fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.splitn(2, ' ').collect();
        let rest = words.get(1).copied().unwrap_or_default();
        let numbers: Vec<i64> = rest.split(' ').filter_map(|n| n.parse().ok()).collect();
        let chosen = || self.running()[numbers[0] as usize].clone();
        let at = json!(Time(self.now).to_string());
        match words[0] {
            "ok" | "fail" | "lose" => {
                let name = chosen();
                let code = if words[0] == "ok" { 0 } else { numbers.get(1).copied().unwrap_or(1) };
                let pod = self.pods.get_mut(&name).expect("a pod");
                pod["status"] = json!({"phase": if code == 0 { "Succeeded" } else { "Failed" },
                    "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": at}}}]});
                if words[0] == "lose" {
                    self.delete(&name);
                }
            }
            "delete" => {
                let name = chosen();
                self.delete(&name);
            }
            "end" => {
                for pod in
                    self.pods.values_mut().filter(|pod| pod["metadata"]["deletionTimestamp"].is_string())
                {
                    pod["status"]["phase"] = json!("Failed");
                    pod["status"]["ended"] = json!(true);
                }
            }
            "wait" => self.now += numbers[0],
            "set" => json_patch_merge(
                &mut self.job,
                json!({"spec": serde_json::from_str::<Value>(rest).expect("JSON")}),
            ),
            other => panic!("what is {other}?"),
        }
        self.settle();
    }

    /// `active/succeeded/failed`, terminating if any, indexes, and conditions with their reasons.
    fn state(&self) -> String {
        let status = &self.job["status"];
        let n = |name: &str| status[name].as_i64().unwrap_or(0);
        let mut text = format!("{}/{}/{}", n("active"), n("succeeded"), n("failed"));
        if n("terminating") > 0 {
            text.push_str(&format!(" ~{}", n("terminating")));
        }
        for (name, mark) in [("completedIndexes", "+"), ("failedIndexes", "-")] {
            if let Some(indexes) = status[name].as_str().filter(|s| !s.is_empty()) {
                text.push_str(&format!(" {mark}{indexes}"));
            }
        }
        for condition in
            status["conditions"].as_array().into_iter().flatten().filter(|c| c["status"] == "True")
        {
            text.push_str(&format!(
                " {}:{}",
                condition["type"].as_str().expect("a type"),
                condition["reason"].as_str().expect("a reason")
            ));
        }
        text
    }
}

/// Runs the script and compares the state after each step that is followed by `=> state`.
fn check(spec: Value, script: &[&str]) -> World {
    let mut world = World::new(spec.clone());
    for line in script {
        let (steps, want) = line.split_once(" => ").expect("steps => state");
        steps.split("; ").filter(|step| !step.is_empty()).for_each(|step| world.step(step));
        assert_eq!(world.state(), want, "after {line:?} of {spec}");
    }
    world
}

const DONE: &str = "SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached";

#[test]
fn pods_are_counted_once_however_they_go() {
    let three = json!({"completions": 3, "parallelism": 2});
    let world = check(
        three.clone(),
        &[" => 2/0/0", "ok 0 => 2/1/0", "lose 0 0 => 1/2/0", &format!("ok 0 => 0/3/0 {DONE}")],
    );
    assert_eq!(world.told.iter().filter(|reason| *reason == "Completed").count(), 1);
    assert!(world.job["status"]["completionTime"].is_string());
    assert!(world.pods.values().all(|pod| pod["metadata"]["finalizers"] == json!([])), "none is held back");
    // Deleted pods count as failures and are replaced at once, or when they have ended.
    check(three.clone(), &["delete 0 => 2/0/1 ~1", "end => 2/0/1"]);
    let later = json!({"completions": 3, "parallelism": 2, "podReplacementPolicy": "Failed"});
    check(later, &["delete 0 => 1/0/0 ~1", "wait 60 => 1/0/0 ~1", "end => 2/0/1"]);
    // A work queue ends with its pods.
    check(json!({"parallelism": 2}), &["ok 0 => 1/1/0", &format!("ok 0 => 0/2/0 {DONE}")]);
    // Fewer at once, and none while suspended; neither counts as failure.
    check(
        three,
        &[
            r#"set {"parallelism":1} => 1/0/0 ~1"#,
            "end => 1/0/0",
            r#"set {"suspend":true} => 0/0/0 ~1 Suspended:JobSuspended"#,
            "end => 0/0/0 Suspended:JobSuspended",
            r#"set {"suspend":false,"parallelism":3} => 3/0/0"#,
        ],
    );
}

#[test]
fn jobs_fail_for_a_reason_and_end_with_their_last_pod() {
    let one = json!({"completions": 1, "parallelism": 1, "backoffLimit": 1});
    check(
        one.clone(),
        &[
            "fail 0 => 0/0/1",
            "wait 9 => 0/0/1",
            "wait 1 => 1/0/1",
            "fail 0 => 0/0/2 FailureTarget:BackoffLimitExceeded Failed:BackoffLimitExceeded",
        ],
    );
    check(
        json!({"completions": 2, "parallelism": 2, "activeDeadlineSeconds": 100}),
        &[
            "wait 99 => 2/0/0",
            "wait 1 => 0/0/2 ~2 FailureTarget:DeadlineExceeded",
            "end => 0/0/2 FailureTarget:DeadlineExceeded Failed:DeadlineExceeded",
        ],
    );
    let rule = |rule: Value| json!({"completions": 2, "parallelism": 1, "podReplacementPolicy": "Failed", "podFailurePolicy": {"rules": [rule]}});
    let code = |action: &str| json!({"action": action, "onExitCodes": {"operator": "In", "values": [42]}});
    let world = check(
        rule(code("FailJob")),
        &[
            "fail 0 1 => 0/0/1",
            "wait 10; fail 0 42 => 0/0/2 FailureTarget:PodFailurePolicy Failed:PodFailurePolicy",
        ],
    );
    let message = world.job["status"]["conditions"][0]["message"].as_str().expect("a message");
    assert!(message.ends_with("failed with exit code 42 matching FailJob rule at index 0"), "{message}");
    assert!(message.starts_with("Container c for pod n/j-"), "{message}");
    check(rule(code("Ignore")), &["fail 0 42 => 1/0/0", "fail 0 1 => 0/0/1"]);
    let disrupted =
        json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
    check(rule(disrupted), &["fail 0 1 => 0/0/1"]);
    // Finished jobs go when their time is over.
    let mut world =
        check(json!({"completions": 1, "ttlSecondsAfterFinished": 50}), &[&format!("ok 0 => 0/1/0 {DONE}")]);
    assert_eq!(world.plan().again_at, Some(NOW + 50));
    world.now += 50;
    assert!(matches!(world.plan().actions.as_slice(), [Action::Delete { .. }]));
}

#[test]
fn indexes_are_done_each_or_fail_each() {
    let indexed = |more: Value| {
        let mut spec = json!({"completionMode": "Indexed", "completions": 4, "parallelism": 2});
        json_patch_merge(&mut spec, more);
        spec
    };
    let world = check(
        indexed(json!({})),
        &[
            "ok 1 => 2/1/0 +1",
            "ok 1 => 2/2/0 +1,2",
            "fail 0 => 1/2/1 +1,2",
            "wait 10 => 2/2/1 +1,2",
            &format!("ok 0; ok 0 => 0/4/1 +0-3 {DONE}"),
        ],
    );
    let pod = world.pods.values().find(|pod| pod["spec"]["hostname"] == "j-3").expect("the pod of index 3");
    assert!(pod["metadata"]["name"].as_str().expect("a name").starts_with("j-3-"));
    assert_eq!(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"], "3");
    assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
    // Each index has its own limit.
    let each = indexed(json!({"completions": 2, "backoffLimitPerIndex": 1, "backoffLimit": 100}));
    check(
        each.clone(),
        &[
            "fail 0 => 1/0/0",
            "wait 10 => 2/0/1",
            "fail 0 => 1/0/2 -0",
            "wait 100 => 1/0/2 -0",
            "ok 0 => 0/1/2 +1 -0 FailureTarget:FailedIndexes Failed:FailedIndexes",
        ],
    );
    let mut most = each;
    json_patch_merge(&mut most, json!({"completions": 4, "maxFailedIndexes": 0, "backoffLimitPerIndex": 0}));
    check(
        most.clone(),
        &[
            "fail 0 => 0/0/2 ~1 -0 FailureTarget:MaxFailedIndexesExceeded",
            "end => 0/0/2 -0 FailureTarget:MaxFailedIndexesExceeded Failed:MaxFailedIndexesExceeded",
        ],
    );
    json_patch_merge(
        &mut most,
        json!({"maxFailedIndexes": null, "backoffLimitPerIndex": 5, "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [3]}}]}}),
    );
    check(most, &["fail 0 3 => 2/0/0", "fail 0 4 => 2/0/1 -1"]);
    // Some successes may be enough.
    let leader = indexed(
        json!({"successPolicy": {"rules": [{"succeededIndexes": "3"}, {"succeededIndexes": "0-1", "succeededCount": 1}]}}),
    );
    check(
        leader,
        &[
            "ok 1 => 0/1/0 ~1 +1 SuccessCriteriaMet:SuccessPolicy",
            "end => 0/1/0 +1 SuccessCriteriaMet:SuccessPolicy Complete:SuccessPolicy",
        ],
    );
}

#[test]
fn nobody_holds_back_a_pod_whose_job_is_gone() {
    let mut view = View::default();
    let held = json!({"metadata": {"finalizers": ["batch.kubernetes.io/job-tracking", "other"],
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job", "controller": true}]}});
    view.nodes.upsert(serde_json::from_value::<Node>(json!({"metadata": {"name": "a"}})).expect("a Node"));
    view.pods.upsert(pod("p", true, held));
    let job = json!({"metadata": {"name": "j", "namespace": "n", "uid": "job"}});
    view.jobs.upsert(serde_json::from_value::<Job>(job).expect("a Job"));
    let plan = |view: &View| podgc::plan(view, &Key::new("pods", "", ""), NOW, 0).0.actions;
    assert!(plan(&view).is_empty());
    view.jobs.remove("n", "j");
    let patch = plan(&view).pop().expect("a patch");
    assert!(
        matches!(patch, Action::Patch { patch, .. } if patch["metadata"]["finalizers"] == json!(["other"]))
    );
}
