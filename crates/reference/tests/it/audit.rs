//! The audit log: the same policy and the same calls on both sides, and what each side has noted of them.
//!
//! `audit/calls.http` has the format of the corpus; a call's answer is here the list of its events.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dunlin_reference::call::{Outcome, enter};
use dunlin_reference::compare::{covers, differences};
use dunlin_reference::corpus::{self, Call};
use dunlin_reference::kubernetes::Kubernetes;
use dunlin_reference::side::{Answer, Side};
use dunlin_testkit::cluster::Dunlin;
use dunlin_testkit::internet::Internet;
use serde_json::{Value, json};

use crate::corpus::report;

/// The namespace of all calls.
const NAMESPACE: &str = "audited";
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the calls on both sides and compares the events.
pub fn run() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("audit");
    let calls = corpus::parse(&std::fs::read_to_string(folder.join("calls.http"))?)?;
    let logs = tempfile::tempdir()?;
    let (theirs, ours) = (logs.path().join("kubernetes.log"), logs.path().join("dunlin.log"));
    let flags = |log: &Path| {
        let policy = folder.join("policy.yaml");
        [format!("--audit-policy-file={}", policy.display()), format!("--audit-log-path={}", log.display())]
    };
    let internet = Internet::new()?;
    let kubernetes = Kubernetes::start_with(&internet, &flags(&theirs), &[])?;
    let own = flags(&ours);
    let dunlin = Dunlin::server(&internet, &["--no-agent", &own[0], &own[1]])?;
    let kubeconfigs = [kubernetes.kubeconfig(), dunlin.data.path().join("kubeconfig.yaml")];
    // On a thread of its own, which it puts on another network.
    let outcome = std::thread::scope(|scope| {
        let work = scope.spawn(|| -> Result<Outcome> {
            kubernetes.host.namespace().enter()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let expected = noted("Kubernetes", &kubeconfigs[0], &theirs, &calls).await?;
                let got = noted("Dunlin", &kubeconfigs[1], &ours, &calls).await?;
                Ok(compare(&calls, &expected, &got))
            })
        });
        work.join().expect("it does not panic")
    })?;
    ensure!(report("audit", &outcome), "the events differ");
    Ok(())
}

/// Makes the calls and gives the events of each.
async fn noted(name: &'static str, kubeconfig: &Path, log: &Path, calls: &[Call]) -> Result<Vec<Answer>> {
    let side = Side::new(name, kubeconfig).await?;
    enter(&side, NAMESPACE).await?;
    for call in calls {
        let mut headers = call.headers.clone();
        headers.push(("audit-id".to_owned(), id(call)));
        let (path, body) = (fill(&call.path), fill(&call.body));
        side.send(&call.method, &path, &headers, body).await.with_context(|| call.title.clone())?;
    }
    // The last call's last event follows its answer.
    let last = calls.last().map(id).unwrap_or_default();
    let end = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(log)?;
        let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if events.iter().any(|e| e["auditID"] == *last && e["stage"] == "ResponseComplete") {
            let of = |call: &Call| {
                events.iter().filter(|e| e["auditID"] == *id(call)).cloned().map(masked).collect()
            };
            return Ok(calls.iter().map(|call| answer(of(call))).collect());
        }
        ensure!(Instant::now() < end, "{name} has not noted the last call:\n{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn id(call: &Call) -> String {
    format!("call-{}", call.line)
}

fn fill(text: &str) -> String {
    text.replace("{ns}", NAMESPACE)
}

fn answer(events: Vec<Value>) -> Answer {
    Answer { code: 200, media_type: String::new(), warnings: Vec::new(), body: Value::Array(events) }
}

/// An event without what the two cannot agree on: what their administrators are called, how they sign, and how long
/// something took.
fn masked(mut event: Value) -> Value {
    if event["user"]["groups"].as_array().is_some_and(|groups| groups.contains(&json!("system:masters"))) {
        event["user"]["username"] = json!("ADMINISTRATOR");
    }
    // Each side signs with a key of its own.
    if let Some(token) = event.pointer_mut("/responseObject/status/token") {
        *token = json!("TOKEN");
    }
    if let Some(notes) = event["annotations"].as_object_mut() {
        notes.retain(|name, _| !name.starts_with("apiserver.latency.k8s.io/"));
    }
    event
}

fn compare(calls: &[Call], expected: &[Answer], got: &[Answer]) -> Outcome {
    let mut outcome = Outcome::default();
    for ((call, expected), got) in calls.iter().zip(expected).zip(got) {
        outcome.calls += 1;
        let found = differences(expected, got);
        for (path, _) in &call.differs {
            if found.iter().any(|difference| covers(path, &difference.path)) {
                outcome.listed += 1;
            } else {
                outcome.stale.push((call.line, call.title.clone(), path.clone()));
            }
        }
        let listed = |path: &str| call.differs.iter().chain(&call.perhaps).any(|(p, _)| covers(p, path));
        let unlisted = found.into_iter().filter(|d| !listed(&d.path));
        outcome.unlisted.extend(unlisted.map(|d| (call.line, call.title.clone(), d)));
    }
    outcome
}
