//! What a restart keeps, and who may go on watching.

use super::{delete, ephemeral, expired, key, names, next, ok, put, tagged, watch};
use crate::{Expect, Scope, Store};

pub async fn keeps_what_is_durable_and_resumes<S: Store>(open: impl Fn() -> S) {
    let pods = Scope::resource("pods");
    let leases = Scope::resource("leases");
    let store = open();
    ok(&store, put(key("pods", "n", "a"), Expect::Absent, Some("n1"), "one")).await;
    ok(&store, put(key("pods", "n", "b"), Expect::Absent, None, "one")).await;
    let before_last = ok(&store, put(key("pods", "n", "a"), Expect::Any, Some("n2"), "two")).await.revision;
    let last = ok(&store, delete(key("pods", "n", "b"), Expect::Any, "gone")).await.revision;
    ok(&store, ephemeral(put(key("leases", "n", "e"), Expect::Absent, None, "x"))).await;
    ok(&store, put(key("leases", "n", "d"), Expect::Absent, None, "x")).await;
    // An entry that changes its class keeps its place in one of the two only.
    ok(&store, put(key("leases", "n", "d-then-e"), Expect::Absent, None, "x")).await;
    ok(&store, ephemeral(put(key("leases", "n", "d-then-e"), Expect::Any, None, "x"))).await;
    ok(&store, ephemeral(put(key("leases", "n", "e-then-d"), Expect::Absent, None, "x"))).await;
    let durable = ok(&store, put(key("leases", "n", "e-then-d"), Expect::Any, None, "x")).await.revision;
    let highest = ok(&store, ephemeral(put(key("leases", "n", "e"), Expect::Any, None, "y"))).await.revision;
    assert_eq!(names(&store, &leases).await, ["d", "d-then-e", "e", "e-then-d"]);
    drop(store);

    let store = open();
    assert!(store.revision() >= highest, "revisions never go backwards");
    assert_eq!(names(&store, &pods).await, ["a"]);
    assert_eq!(names(&store, &tagged("pods", "n2")).await, ["a"]);
    assert_eq!(names(&store, &leases).await, ["d", "e-then-d"], "what was ephemeral is gone");
    let a = store.get(&key("pods", "n", "a")).await.unwrap().unwrap();
    assert_eq!((a.revision, &a.value[..], a.tag.as_deref()), (before_last, &b"two"[..], Some("n2")));

    // Changes before the last durable one may have been missed, also when that was a deletion.
    expired(store.watch(pods.clone(), Some(before_last)));
    expired(store.watch(pods.clone(), Some(last)));
    let mut goes_on = watch(&store, pods.clone(), durable);
    let mut also = watch(&store, pods.clone(), highest);
    let new = ok(&store, put(key("pods", "n", "c"), Expect::Absent, None, "x")).await;
    assert!(new.revision > highest);
    assert_eq!(next(&mut goes_on).await.revision, new.revision);
    assert_eq!(next(&mut also).await.revision, new.revision);
    let page = store.list(&Scope::resource("services"), None, 0, Some(durable)).await.unwrap();
    assert_eq!(page.items.len(), 0, "a list of a moment since when nothing has changed");

    // Ephemeral entries vanished without an event.
    expired(store.watch(leases.clone(), Some(highest)));
    let listed = store.list(&leases, None, 0, None).await.unwrap().revision;
    watch(&store, leases.clone(), listed);
    drop(store);

    let mut last = 0;
    for n in 0..3 {
        let store = open();
        assert!(store.revision() >= last, "also over several restarts");
        last = ok(&store, ephemeral(put(key("leases", "n", &n.to_string()), Expect::Any, None, "x")))
            .await
            .revision;
    }
}
