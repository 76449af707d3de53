//! Random histories: what a watch tells is what a list shows, and no write is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dunlin_apiserver::{BoxBody, User};
use dunlin_store::sqlite::SqliteStore;
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::{Cluster, cluster_of};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A cluster whose objects lie on a disk, as they do in earnest.
async fn on_disk() -> (Cluster, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store.db"), Default::default()).unwrap();
    (cluster_of(|config| config.store = Arc::new(store)).await, folder)
}

fn admin() -> Option<User> {
    Some(User::in_process("test"))
}

/// A namespace of its own for each history, so that all share one cluster.
async fn namespace(cluster: &Cluster) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("history-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    cluster.make("/api/v1/namespaces", json!({"metadata": {"name": name}})).await;
    format!("/api/v1/namespaces/{name}/configmaps")
}

/// What happens to one of a few objects.
#[derive(Debug, Clone)]
enum Step {
    /// It is made, or its label changes.
    Label(u8, Option<u8>),
    /// Something that no selector sees.
    Data(u8, u8),
    Remove(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let object = 0..4_u8;
    prop_oneof![
        4 => (object.clone(), prop::option::of(0..3_u8)).prop_map(|(o, label)| Step::Label(o, label)),
        2 => (object.clone(), any::<u8>()).prop_map(|(o, data)| Step::Data(o, data)),
        1 => object.prop_map(Step::Remove),
    ]
}

async fn take(cluster: &Cluster, path: &str, step: &Step) {
    let (object, patch) = match step {
        Step::Remove(object) => {
            cluster.ask("DELETE", &format!("{path}/o{object}"), Value::Null).await;
            return;
        }
        Step::Label(object, label) => {
            (object, json!({"metadata": {"labels": {"l": label.map(|l| format!("v{l}"))}}}))
        }
        Step::Data(object, data) => (object, json!({"data": {"d": data.to_string()}})),
    };
    let place = format!("{path}/o{object}");
    if cluster.ask_as(admin(), "PATCH", &place, patch.clone(), MERGE).await.0 == 404 {
        let mut made = json!({"metadata": {"name": format!("o{object}")}});
        if let Step::Label(_, Some(label)) = step {
            made["metadata"]["labels"] = json!({"l": format!("v{label}")});
        }
        cluster.make(path, made).await;
    }
}

const SELECTORS: &[&str] = &[
    "",
    "labelSelector=l%3Dv0",
    "labelSelector=l+in+(v0,v1)",
    "labelSelector=!l",
    "labelSelector=l,l!%3Dv2",
    "fieldSelector=metadata.name%3Do1",
    "fieldSelector=metadata.name!%3Do1&labelSelector=l",
];

/// Objects by their names.
type State = BTreeMap<String, Value>;

fn revision(value: &Value) -> u64 {
    value["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

async fn list(cluster: &Cluster, path: &str, selector: &str) -> (State, u64) {
    let (code, list) = cluster.ask("GET", &format!("{path}?{selector}"), Value::Null).await;
    assert_eq!(code, 200, "{list}");
    let items = list["items"].as_array().unwrap().iter();
    let named = items.map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), item.clone()));
    (named.collect(), revision(&list))
}

async fn watch(cluster: &Cluster, path: &str, selector: &str, after: u64) -> BoxBody {
    let query =
        format!("{selector}&watch=1&allowWatchBookmarks=true&timeoutSeconds=30&resourceVersion={after}");
    let mut request = http::Request::get(format!("{path}?{query}")).body(Full::default()).unwrap();
    request.extensions_mut().insert(User::in_process("w"));
    cluster.send(request).await.into_body()
}

/// All that a watch tells until it ends by itself. Time passes only while nothing else is to do.
async fn told(body: BoxBody) -> Vec<Value> {
    tokio::time::pause();
    let bytes = body.collect().await.unwrap().to_bytes();
    tokio::time::resume();
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// Applies an event to a state, and fails if it does not fit to it. Gives the revision that was reached.
fn replay(state: &mut State, event: &Value, reached: u64) -> Result<u64, TestCaseError> {
    let mut object = event["object"].clone();
    let now = revision(&object);
    prop_assert!(now >= reached, "{event} after {reached}");
    let name = object["metadata"]["name"].as_str().unwrap_or("").to_owned();
    // Items of lists do not say what they are.
    object.as_object_mut().unwrap().retain(|field, _| !matches!(field.as_str(), "kind" | "apiVersion"));
    match event["type"].as_str().unwrap() {
        "ADDED" => prop_assert!(state.insert(name, object).is_none(), "it was there: {event}"),
        "MODIFIED" => prop_assert!(state.insert(name, object).is_some(), "it was not there: {event}"),
        "DELETED" => prop_assert!(state.remove(&name).is_some(), "it was not there: {event}"),
        "BOOKMARK" => {}
        other => prop_assert!(false, "{other}: {event}"),
    }
    Ok(now)
}

#[test]
fn a_watch_from_any_list_leads_to_what_later_lists_show() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (cluster, _folder) = runtime.block_on(on_disk());
    let histories = (
        prop::collection::vec(step(), 1..30),
        any::<prop::sample::Index>(),
        prop::sample::select(SELECTORS),
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    );
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let result = runner.run(&histories, |(steps, begin, selector, cuts)| {
        runtime.block_on(async {
            let path = namespace(&cluster).await;
            let begin = begin.index(steps.len());
            for step in &steps[..begin] {
                take(&cluster, &path, step).await;
            }
            let (listed, at) = list(&cluster, &path, selector).await;
            let early = watch(&cluster, &path, selector, at).await;
            for step in &steps[begin..] {
                take(&cluster, &path, step).await;
            }
            let (wanted, end) = list(&cluster, &path, selector).await;
            let events = told(early).await;
            // Whoever follows from the start, and whoever comes later, see the same.
            let late = told(watch(&cluster, &path, selector, at).await).await;
            let plain = |events: &[Value]| -> Vec<Value> {
                events.iter().filter(|e| e["type"] != "BOOKMARK").cloned().collect()
            };
            prop_assert_eq!(plain(&events), plain(&late));
            let (mut state, mut reached) = (listed.clone(), at);
            for event in &events {
                reached = replay(&mut state, event, reached)?;
            }
            prop_assert_eq!(&state, &wanted);
            prop_assert!(reached >= end, "its last bookmark says that it has seen all");
            // A watch that breaks anywhere goes on where it was.
            for cut in cuts.iter().filter(|_| !events.is_empty()) {
                let (mut state, mut reached) = (listed.clone(), at);
                for event in &events[..=cut.index(events.len())] {
                    reached = replay(&mut state, event, reached)?;
                }
                for event in &told(watch(&cluster, &path, selector, reached).await).await {
                    reached = replay(&mut state, event, reached)?;
                }
                prop_assert_eq!(&state, &wanted, "after a cut at {}", reached);
            }
            Ok(())
        })
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// How a writer adds one to what is there.
#[derive(Debug, Clone, Copy)]
enum Writer {
    /// Reads, changes, and puts the whole back at the revision that it has read.
    Put,
    /// The same as a merge patch that names the revision.
    MergeAtRevision,
    /// A JSON patch that tests the old value.
    JsonPatch,
    /// Has a field of its own, which it merges without looking.
    OwnMerge,
    /// Has a field of its own, which it applies.
    OwnApply,
}

const WRITERS: &[Writer] =
    &[Writer::Put, Writer::MergeAtRevision, Writer::JsonPatch, Writer::OwnMerge, Writer::OwnApply];
const ROUNDS: u32 = 8;

fn number(value: &Value, field: &str) -> u32 {
    value["data"][field].as_str().map_or(0, |text| text.parse().unwrap())
}

/// Adds one `ROUNDS` times, each until it has succeeded.
async fn write(cluster: Arc<Cluster>, place: String, me: usize, writer: Writer) {
    for round in 1..=ROUNDS {
        loop {
            let own = format!("own{me}");
            let (method, body, media) = match writer {
                Writer::OwnMerge => ("PATCH", json!({"data": {own: round.to_string()}}), MERGE),
                Writer::OwnApply => {
                    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sum"},
                        "data": {own: round.to_string()}});
                    ("PATCH", config, APPLY)
                }
                _ => {
                    let (_, mut read) = cluster.ask("GET", &place, Value::Null).await;
                    let (old, new) = (read["data"]["sum"].clone(), (number(&read, "sum") + 1).to_string());
                    match writer {
                        Writer::JsonPatch => {
                            let patch = json!([{"op": "test", "path": "/data/sum", "value": old},
                                {"op": "replace", "path": "/data/sum", "value": new}]);
                            ("PATCH", patch, "application/json-patch+json")
                        }
                        Writer::MergeAtRevision => {
                            let version = &read["metadata"]["resourceVersion"];
                            (
                                "PATCH",
                                json!({"metadata": {"resourceVersion": version}, "data": {"sum": new}}),
                                MERGE,
                            )
                        }
                        _ => {
                            read["data"]["sum"] = json!(new);
                            ("PUT", read, JSON)
                        }
                    }
                }
            };
            let place = match writer {
                Writer::OwnApply => format!("{place}?fieldManager=writer{me}"),
                _ => place.clone(),
            };
            match cluster.ask_as(admin(), method, &place, body, media).await {
                (200, _) => break,
                // Somebody else was faster.
                (409 | 422, _) => {}
                (code, answer) => panic!("{writer:?}: {code} {answer}"),
            }
        }
    }
}

#[test]
fn writers_at_once_lose_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (cluster, _folder) = runtime.block_on(on_disk());
    let cluster = Arc::new(cluster);
    let crowds = prop::collection::vec(prop::sample::select(WRITERS), 2..7);
    let mut runner = TestRunner::new(Config { cases: 10, failure_persistence: None, ..Config::default() });
    let result = runner.run(&crowds, |crowd| {
        runtime.block_on(async {
            let path = namespace(&cluster).await;
            cluster.make(&path, json!({"metadata": {"name": "sum"}, "data": {"sum": "0"}})).await;
            let place = format!("{path}/sum");
            let tasks = crowd
                .iter()
                .enumerate()
                .map(|(me, writer)| tokio::spawn(write(cluster.clone(), place.clone(), me, *writer)));
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
            let (_, end) = cluster.ask("GET", &place, Value::Null).await;
            let own = |writer: &Writer| matches!(writer, Writer::OwnMerge | Writer::OwnApply);
            let shared = crowd.iter().filter(|writer| !own(writer)).count() as u32;
            prop_assert_eq!(number(&end, "sum"), shared * ROUNDS, "{}", &end);
            for (me, _) in crowd.iter().enumerate().filter(|(_, writer)| own(writer)) {
                prop_assert_eq!(number(&end, &format!("own{me}")), ROUNDS, "{}", &end);
            }
            Ok(())
        })
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_is_applied_twice_is_applied_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (cluster, _folder) = runtime.block_on(on_disk());
    let words = || prop::collection::btree_map("[a-c]", "[a-z]{0,3}", 0..3);
    let configs = prop::collection::vec((words(), words(), 0..2_u8), 1..6);
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let result = runner.run(&configs, |configs| {
        runtime.block_on(async {
            let path = namespace(&cluster).await;
            for (labels, data, manager) in configs {
                let mut config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
                // Empty maps are owned for themselves, which is another matter.
                if !labels.is_empty() {
                    config["metadata"]["labels"] = json!(labels);
                }
                if !data.is_empty() {
                    config["data"] = json!(data);
                }
                let place = format!("{path}/a?fieldManager=m{manager}&force=true");
                let (code, once) = cluster.ask_as(admin(), "PATCH", &place, config.clone(), APPLY).await;
                prop_assert!(matches!(code, 200 | 201), "{}", once);
                let (_, twice) = cluster.ask_as(admin(), "PATCH", &place, config, APPLY).await;
                // The revision is the same, too: nothing was written.
                prop_assert_eq!(once, twice);
            }
            Ok(())
        })
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
