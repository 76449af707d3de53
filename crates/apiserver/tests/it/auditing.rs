//! What requests leave in the audit log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_apiserver::{Audit, AuditSettings, User};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::support::{Cluster, PODS, cluster_of, pod};

const JSON: &str = "application/json";

/// A cluster with a policy of these rules, and the file of its log.
struct Audited {
    cluster: Cluster,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

async fn audited(rules: &str, change: impl FnOnce(&mut AuditSettings)) -> Audited {
    let folder = tempfile::tempdir().unwrap();
    let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    std::fs::write(&policy, format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}")).unwrap();
    let mut settings = AuditSettings {
        policy,
        log: log.clone(),
        max_size: 1 << 20,
        max_backup: 0,
        max_age: 0,
        // So that a test need not wait for the thread that writes.
        blocking: true,
        max_event: 0,
    };
    change(&mut settings);
    let audit = Audit::open(settings).unwrap();
    let cluster = cluster_of(|config| config.audit = Some(audit)).await;
    Audited { cluster, log, _folder: folder }
}

fn read(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    // The end may be a line that is just being written.
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events that `wanted` accepts, once there are so many. The last of a request may be written after its answer.
async fn noted(log: &Path, count: usize, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let found: Vec<Value> = read(log).into_iter().filter(&wanted).collect();
        if found.len() >= count || std::time::Instant::now() > end {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

impl Audited {
    /// The events of jane, in their order. Those of an answer that goes on are written after it has ended.
    fn of_jane(&self) -> Vec<Value> {
        read(&self.log).into_iter().filter(|e| e["user"]["username"] == "jane").collect()
    }

    async fn jane(&self, method: &str, path: &str, body: Value) -> u16 {
        let jane = User::new("jane", &["system:masters"]);
        self.cluster.ask_as(Some(jane), method, path, body, JSON).await.0
    }
}

fn stages(events: &[Value]) -> Vec<&str> {
    events.iter().map(|e| e["stage"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_level_notes_more() {
    let rules = "rules:
- {level: None, verbs: [list]}
- {level: Metadata, resources: [{group: '', resources: [secrets]}]}
- {level: Request, resources: [{group: '', resources: [configmaps]}], omitStages: [RequestReceived]}
- {level: RequestResponse, users: [jane], omitManagedFields: true}
";
    let a = audited(rules, |_| {}).await;
    let made = json!({"metadata": {"name": "a", "namespace": "default"}});
    assert_eq!(a.jane("GET", PODS, Value::Null).await, 200);
    assert_eq!(a.jane("POST", "/api/v1/namespaces/default/secrets", made.clone()).await, 201);
    assert_eq!(a.jane("POST", "/api/v1/namespaces/default/configmaps", made).await, 201);
    assert_eq!(a.jane("POST", PODS, pod("p")).await, 201);
    let events = a.of_jane();
    let (received, complete) = ("RequestReceived", "ResponseComplete");
    assert_eq!(stages(&events), [received, complete, complete, received, complete]);
    let [before, secret, map, _, pod] = events.as_slice() else { unreachable!() };
    assert_eq!(before["objectRef"]["name"], Value::Null, "its name is not known yet");
    assert_eq!(secret["objectRef"]["name"], "a");
    assert_eq!(secret["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(secret["annotations"]["authorization.k8s.io/decision"], "allow");
    assert!(secret["requestObject"].is_null() && secret["responseObject"].is_null());
    assert_eq!(map["requestObject"]["metadata"]["name"], "a");
    assert!(map["responseObject"].is_null());
    assert_eq!(pod["requestObject"]["spec"]["restartPolicy"], "Always", "as it is read, defaults and all");
    assert_eq!(pod["responseObject"]["metadata"]["name"], "p");
    assert!(pod["responseObject"]["metadata"]["managedFields"].is_null());
    assert_eq!(before["auditID"], secret["auditID"]);
    assert_ne!(map["auditID"], secret["auditID"]);
}

#[tokio::test]
async fn refusals_say_by_whom_and_why() {
    let a = audited("rules: [{level: Metadata}]\n", |_| {}).await;
    let joe = || Some(User::new("joe", &[]));
    assert_eq!(a.cluster.ask_as(joe(), "GET", &format!("{PODS}/x"), Value::Null, JSON).await.0, 403);
    assert_eq!(a.jane("GET", &format!("{PODS}/x"), Value::Null).await, 404);
    let request = http::Request::get(PODS).header("audit-id", "mine").body(Full::default()).unwrap();
    let reply = a.cluster.send(request).await;
    assert_eq!((reply.status().as_u16(), reply.headers()["audit-id"].to_str().unwrap()), (401, "mine"));
    let all = read(&a.log);
    let of = |name: &str| all.iter().filter(|e| e["user"]["username"] == name).next_back().unwrap();
    assert_eq!(of("joe")["responseStatus"]["reason"], "Forbidden");
    assert_eq!(of("joe")["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(of("jane")["responseStatus"]["reason"], "NotFound");
    let nobody = all.iter().find(|e| e["auditID"] == "mine").unwrap();
    assert_eq!((nobody["stage"].as_str(), nobody["user"].clone()), (Some("ResponseStarted"), json!({})));
    assert_eq!(nobody["responseStatus"]["code"], 401);
}

#[tokio::test]
async fn a_watch_is_complete_when_it_ends() {
    let a = audited("rules: [{level: Metadata, users: [jane]}]\n", |_| {}).await;
    let mut request = http::Request::get(format!("{PODS}?watch=1")).body(Full::default()).unwrap();
    request.extensions_mut().insert(User::new("jane", &["system:masters"]));
    let reply = a.cluster.send(request).await;
    let (started, complete) = ("ResponseStarted", "ResponseComplete");
    assert_eq!(stages(&a.of_jane()), ["RequestReceived", started]);
    drop(reply);
    let events = noted(&a.log, 3, |_| true).await;
    assert_eq!(stages(&events), ["RequestReceived", started, complete]);
}

#[tokio::test]
async fn impersonation_names_both() {
    let a = audited("rules: [{level: Metadata, users: [jane]}]\n", |_| {}).await;
    let mut request =
        http::Request::get(PODS).header("impersonate-user", "joe").body(Full::default()).unwrap();
    request.extensions_mut().insert(User::new("jane", &["system:masters"]));
    assert_eq!(a.cluster.send(request).await.status(), 403);
    let event = a.of_jane().pop().unwrap();
    assert_eq!(event["impersonatedUser"], json!({"username": "joe", "groups": ["system:authenticated"]}));
}

#[tokio::test]
async fn a_full_disk_refuses_nobody() {
    let a = audited("rules: [{level: Metadata}]\n", |settings| settings.log = "/dev/full".into()).await;
    assert_eq!(a.jane("POST", PODS, pod("p")).await, 201);
    let mut request = http::Request::get("/metrics").body(Full::default()).unwrap();
    request.extensions_mut().insert(User::in_process("test"));
    let page = a.cluster.send(request).await.into_body().collect().await.unwrap().to_bytes();
    let page = String::from_utf8(page.to_vec()).unwrap();
    let lost = page.lines().find(|l| l.starts_with("apiserver_audit_error_total{")).unwrap();
    assert!(!lost.ends_with(" 0"), "{lost}");
}

#[tokio::test]
async fn many_at_once_leave_whole_lines() {
    let a = audited("rules: [{level: RequestResponse}]\n", |settings| settings.blocking = false).await;
    let a = Arc::new(a);
    let asks = (0..50).map(|i| {
        let a = a.clone();
        tokio::spawn(async move { a.jane("POST", PODS, pod(&format!("p{i}"))).await })
    });
    for ask in asks.collect::<Vec<_>>() {
        assert_eq!(ask.await.unwrap(), 201);
    }
    let complete = |e: &Value| e["user"]["username"] == "jane" && e["stage"] == "ResponseComplete";
    assert_eq!(noted(&a.log, 50, complete).await.len(), 50);
}
