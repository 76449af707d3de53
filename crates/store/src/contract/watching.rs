//! Watches.

use std::collections::HashMap;
use std::sync::Arc;

use super::{delete, ephemeral, expired, in_namespace, key, next, ok, put, tagged, watch};
use crate::{Error, EventKind, Expect, Scope, Store};

pub async fn sees_changes_in_order_with_old_values(store: impl Store) {
    let mut live = store.watch(Scope::resource("pods"), None).unwrap();
    let start = store.revision();
    let a = || key("pods", "n", "a");
    let one = ok(&store, put(a(), Expect::Absent, Some("t"), "one")).await;
    ok(&store, put(key("services", "n", "a"), Expect::Absent, None, "other")).await;
    let two = ok(&store, put(a(), Expect::Any, Some("t"), "two")).await;
    let gone = ok(&store, ephemeral(delete(a(), Expect::Any, "last"))).await;
    let mut replay = watch(&store, Scope::resource("pods"), start);
    for watch in [&mut live, &mut replay] {
        let event = next(watch).await;
        assert_eq!((event.revision, event.change, event.old.clone()), (one.revision, EventKind::Put, None));
        assert_eq!(
            (&event.value[..], event.tag.as_deref(), event.key.clone()),
            (&b"one"[..], Some("t"), a())
        );
        let event = next(watch).await;
        assert_eq!((event.revision, event.change), (two.revision, EventKind::Put));
        assert_eq!((event.old.as_deref(), &event.value[..]), (Some(&b"one"[..]), &b"two"[..]));
        assert_eq!(event.old_tag.as_deref(), Some("t"));
        let event = next(watch).await;
        assert_eq!((event.revision, event.change), (gone.revision, EventKind::Delete));
        assert_eq!((event.old.as_deref(), &event.value[..]), (Some(&b"two"[..]), &b"last"[..]));
        assert_eq!((event.tag.as_deref(), event.old_tag.as_deref()), (Some("t"), Some("t")));
    }
    let mut later = watch(&store, Scope::resource("pods"), one.revision);
    assert_eq!(next(&mut later).await.revision, two.revision, "the start itself is not repeated");
}

pub async fn scopes_see_what_concerns_them(store: impl Store) {
    let start = store.revision();
    let all = Scope::resource("pods");
    let scopes = [
        (all.clone(), vec!["a/x", "a/y", "b/x"]),
        (in_namespace("pods", "a"), vec!["a/x", "a/y"]),
        (Scope { name: Some("x".into()), ..all.clone() }, vec!["a/x", "b/x"]),
        (Scope { name: Some("x".into()), ..in_namespace("pods", "b") }, vec!["b/x"]),
        (tagged("pods", "n1"), vec!["a/x", "b/x"]),
        (Scope { tag: Some("n1".into()), ..in_namespace("pods", "a") }, vec!["a/x"]),
    ];
    let mut live: Vec<_> = scopes.iter().map(|(s, _)| watch(&store, s.clone(), start)).collect();
    for (namespace, name, tag) in [("a", "x", "n1"), ("a", "y", "n2"), ("b", "x", "n1")] {
        ok(&store, put(key("pods", namespace, name), Expect::Absent, Some(tag), "v")).await;
    }
    ok(&store, put(key("services", "a", "x"), Expect::Absent, Some("n1"), "v")).await;
    let mut replay: Vec<_> = scopes.iter().map(|(s, _)| watch(&store, s.clone(), start)).collect();
    for (i, (scope, expected)) in scopes.iter().enumerate() {
        for watch in [&mut live[i], &mut replay[i]] {
            for expected in expected {
                let event = next(watch).await;
                assert_eq!(format!("{}/{}", event.key.namespace, event.key.name), *expected, "{scope:?}");
            }
            assert_eq!(watch.progress(), store.revision(), "nothing more for {scope:?}");
        }
    }
}

pub async fn tags_are_entered_and_left(store: impl Store) {
    let start = store.revision();
    let mut one = watch(&store, tagged("pods", "n1"), start);
    let mut two = watch(&store, tagged("pods", "n2"), start);
    let a = || key("pods", "n", "a");
    ok(&store, put(a(), Expect::Absent, None, "unbound")).await;
    ok(&store, put(a(), Expect::Any, Some("n1"), "bound")).await;
    ok(&store, put(a(), Expect::Any, Some("n2"), "moved")).await;
    ok(&store, delete(a(), Expect::Any, "gone")).await;
    let seen = |event: &crate::Event| {
        (
            event.old_tag.as_deref().map(str::to_owned),
            event.tag.as_deref().map(str::to_owned),
            event.value.clone(),
        )
    };
    let text = |t: &str| Some(t.to_owned());
    assert_eq!(seen(&*next(&mut one).await), (None, text("n1"), "bound".into()));
    assert_eq!(seen(&*next(&mut one).await), (text("n1"), text("n2"), "moved".into()));
    assert_eq!(seen(&*next(&mut two).await), (text("n1"), text("n2"), "moved".into()));
    let last = next(&mut two).await;
    assert_eq!((last.change, last.tag.as_deref()), (EventKind::Delete, Some("n2")));
    assert_eq!(one.progress(), store.revision(), "the deletion does not concern the old tag");
}

/// Needs `history_bytes: 4000`.
pub async fn resumes_or_expires(store: impl Store) {
    let start = store.revision();
    let mut seen = Vec::new();
    for n in 0..20 {
        let value = format!("{n:0>1000}");
        seen.push(
            ok(&store, put(key("pods", "n", &n.to_string()), Expect::Absent, None, &value)).await.revision,
        );
    }
    let oldest = expired(store.watch(Scope::resource("pods"), Some(start)));
    assert!(oldest > start && oldest < store.revision(), "{oldest}");
    let mut resumed = watch(&store, Scope::resource("pods"), oldest);
    for revision in seen.iter().filter(|r| **r > oldest) {
        assert_eq!(next(&mut resumed).await.revision, *revision);
    }
    expired(store.watch(Scope::resource("pods"), Some(oldest - 1)));
    // From another life of the store: such a client must list again, not wait for a revision to be reached twice.
    expired(store.watch(Scope::resource("pods"), Some(store.revision() + 1000)));
    // A change that is larger than the whole history is still delivered.
    let mut live = store.watch(Scope::resource("pods"), None).unwrap();
    ok(&store, put(key("pods", "n", "large"), Expect::Absent, None, &"x".repeat(10_000))).await;
    assert_eq!(next(&mut live).await.value.len(), 10_000);
}

/// Needs `watch_queue: 4`.
pub async fn a_slow_watcher_lags(store: impl Store) {
    let mut slow = store.watch(Scope::resource("pods"), None).unwrap();
    let mut other = store.watch(Scope::resource("services"), None).unwrap();
    let start = store.revision();
    for n in 0..10 {
        ok(&store, put(key("pods", "n", &n.to_string()), Expect::Absent, None, "x")).await;
    }
    assert_eq!(slow.progress(), start, "nothing was read yet");
    let mut last = start;
    for _ in 0..4 {
        last = next(&mut slow).await.revision;
    }
    assert_eq!(slow.progress(), last, "a lagged watch does not claim what it has missed");
    for _ in 0..2 {
        assert!(matches!(slow.next().await, Err(Error::Lagged)));
    }
    ok(&store, put(key("services", "n", "a"), Expect::Absent, None, "x")).await;
    assert_eq!(&*next(&mut other).await.key.name, "a", "another watcher is not harmed");
}

pub async fn progress_covers_what_was_read(store: impl Store) {
    let mut watch = store.watch(Scope::resource("pods"), None).unwrap();
    let first = ok(&store, put(key("pods", "n", "a"), Expect::Absent, None, "x")).await;
    ok(&store, put(key("pods", "n", "b"), Expect::Absent, None, "x")).await;
    assert!(watch.progress() < first.revision);
    next(&mut watch).await;
    assert_eq!(watch.progress(), first.revision);
    next(&mut watch).await;
    let other = ok(&store, put(key("services", "n", "a"), Expect::Absent, None, "x")).await;
    assert_eq!(watch.progress(), other.revision, "what does not concern it does not hold it back");
}

pub async fn nothing_is_lost_under_concurrent_writers(store: impl Store) {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 40;
    let store = Arc::new(store);
    let start = store.revision();
    let mut all = store.watch(Scope::resource("pods"), None).unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|w| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0;
                for n in 0..ROUNDS {
                    // Some keys are shared by all writers, some are a writer's own.
                    let name =
                        if n % 2 == 0 { format!("shared-{}", n % 5) } else { format!("own-{w}-{}", n % 3) };
                    let name = key("pods", "n", &name);
                    let mut write =
                        put(name.clone(), Expect::Any, Some(&format!("t{}", n % 3)), &format!("{w}/{n}"));
                    if n % 7 == 6 {
                        write = delete(name, Expect::Any, "gone");
                    } else if n % 5 == 4 {
                        write = ephemeral(write);
                    }
                    match store.write(write).await {
                        Ok(_) => done += 1,
                        Err(Error::NotFound { .. }) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
                done
            })
        })
        .collect();
    let mut expected = 0;
    for writer in writers {
        expected += writer.await.unwrap();
    }
    let mut state = HashMap::new();
    let mut replay = watch(&*store, Scope::resource("pods"), start);
    let mut last = start;
    for _ in 0..expected {
        let event = next(&mut all).await;
        assert!(event.revision > last, "in order");
        last = event.revision;
        assert!(Arc::ptr_eq(&event, &next(&mut replay).await), "one event for all watchers");
        let before = match event.change {
            EventKind::Put => state.insert(event.key.clone(), (event.value.clone(), event.tag.clone())),
            EventKind::Delete => state.remove(&event.key),
        };
        assert_eq!(
            event.old,
            before.as_ref().map(|b| b.0.clone()),
            "each event starts where the last one ended"
        );
        assert_eq!(event.old_tag, before.and_then(|b| b.1));
    }
    assert_eq!(last, store.revision());
    let listed = store.list(&Scope::resource("pods"), None, 0, None).await.unwrap();
    let listed: HashMap<_, _> = listed.items.into_iter().map(|e| (e.key, (e.value, e.tag))).collect();
    assert_eq!(listed, state, "events add up to the list");
}

pub async fn ends_with_the_store(store: impl Store) {
    let mut watch = store.watch(Scope::resource("pods"), None).unwrap();
    ok(&store, put(key("pods", "n", "a"), Expect::Absent, None, "x")).await;
    drop(store);
    assert_eq!(&*next(&mut watch).await.key.name, "a");
    assert!(matches!(watch.next().await, Err(Error::Closed)));
}
