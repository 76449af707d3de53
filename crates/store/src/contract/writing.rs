//! Writes, reads and lists.

use bytes::Bytes;

use super::{delete, expired, in_namespace, key, names, ok, put, tagged};
use crate::{Change, Class, Error, Expect, Scope, Store, Write};

pub async fn preconditions(store: impl Store) {
    let a = || key("pods", "n", "a");
    assert!(store.revision() >= 1, "revision 0 means \"any\" to clients");
    let missing = store.write(put(a(), Expect::Revision(1), None, "x")).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
    let missing = store.write(delete(a(), Expect::Any, "x")).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");

    let before = store.revision();
    let first = ok(&store, put(a(), Expect::Absent, Some("node"), "one")).await;
    assert!(first.revision > before);
    assert_eq!(store.revision(), first.revision);
    assert_eq!(store.get(&a()).await.unwrap(), Some(first.clone()));

    match store.write(put(a(), Expect::Absent, None, "x")).await {
        Err(Error::Exists { current, .. }) => assert_eq!(current.as_deref(), Some(&first)),
        other => panic!("expected Exists, not {other:?}"),
    }
    match store.write(put(a(), Expect::Revision(first.revision - 1), None, "x")).await {
        Err(Error::Conflict { current, .. }) => assert_eq!(current.as_deref(), Some(&first)),
        other => panic!("expected Conflict, not {other:?}"),
    }
    let second = ok(&store, put(a(), Expect::Revision(first.revision), None, "two")).await;
    let third = ok(&store, put(a(), Expect::Any, None, "three")).await;
    assert!(first.revision < second.revision && second.revision < third.revision);
    assert_eq!(third.tag, None);

    match store.write(delete(a(), Expect::Revision(second.revision), "last")).await {
        Err(Error::Conflict { current, .. }) => assert_eq!(current.as_deref(), Some(&third)),
        other => panic!("expected Conflict, not {other:?}"),
    }
    let gone = ok(&store, delete(a(), Expect::Revision(third.revision), "last")).await;
    assert!(gone.revision > third.revision);
    assert_eq!(gone.value, "last");
    assert_eq!(store.get(&a()).await.unwrap(), None);
    let again = ok(&store, put(a(), Expect::Absent, None, "again")).await;
    assert!(again.revision > gone.revision);
}

pub async fn encodes_with_its_own_revision(store: impl Store) {
    for n in 0..3 {
        let write = Write {
            key: key("pods", "n", &n.to_string()),
            expect: Expect::Absent,
            class: Class::Durable,
            tag: None,
            change: Change::Put(Box::new(|revision| Bytes::from(revision.to_string()))),
        };
        let entry = ok(&store, write).await;
        assert_eq!(entry.value, entry.revision.to_string());
        assert_eq!(store.get(&entry.key).await.unwrap(), Some(entry));
    }
}

pub async fn a_panicking_encoder_changes_nothing(store: impl Store) {
    let mut write = put(key("pods", "n", "a"), Expect::Absent, None, "x");
    // `resume_unwind` does not call the panic hook: the test's output stays clean.
    write.change = Change::Put(Box::new(|_| std::panic::resume_unwind(Box::new("on purpose"))));
    let failed = store.write(write).await;
    assert!(matches!(failed, Err(Error::Encode { .. })), "{failed:?}");
    assert_eq!(store.get(&key("pods", "n", "a")).await.unwrap(), None);
    ok(&store, put(key("pods", "n", "a"), Expect::Absent, None, "x")).await;
}

pub async fn lists_scopes(store: impl Store) {
    for (resource, namespace, name, tag) in [
        ("nodes", "", "n1", None),
        ("pods", "a", "x", Some("n1")),
        ("pods", "a", "y", Some("n2")),
        ("pods", "b", "x", Some("n1")),
        ("pods", "b", "z", None),
        ("pods.metrics", "a", "x", Some("n1")),
    ] {
        ok(&store, put(key(resource, namespace, name), Expect::Absent, tag, "v")).await;
    }
    let all = Scope::resource("pods");
    assert_eq!(names(&store, &all).await, ["x", "y", "x", "z"]);
    assert_eq!(names(&store, &Scope::resource("nodes")).await, ["n1"]);
    assert_eq!(names(&store, &Scope::resource("pod")).await, [""; 0]);
    assert_eq!(names(&store, &in_namespace("pods", "b")).await, ["x", "z"]);
    assert_eq!(names(&store, &tagged("pods", "n1")).await, ["x", "x"]);
    assert_eq!(names(&store, &Scope { tag: Some("n1".into()), ..in_namespace("pods", "b") }).await, ["x"]);
    assert_eq!(names(&store, &Scope { name: Some("x".into()), ..all.clone() }).await, ["x", "x"]);
    assert_eq!(names(&store, &Scope { name: Some("y".into()), ..in_namespace("pods", "a") }).await, ["y"]);
    assert_eq!(names(&store, &Scope { name: Some("q".into()), ..in_namespace("pods", "a") }).await, [""; 0]);

    // A tag that changes is found in its new place only, and paging works by tag too.
    ok(&store, put(key("pods", "b", "z"), Expect::Any, Some("n1"), "v")).await;
    ok(&store, put(key("pods", "a", "x"), Expect::Any, Some("n2"), "v")).await;
    ok(&store, delete(key("pods", "b", "x"), Expect::Any, "v")).await;
    assert_eq!(names(&store, &tagged("pods", "n1")).await, ["z"]);
    let page = store.list(&tagged("pods", "n2"), None, 1, None).await.unwrap();
    assert_eq!((page.items.len(), page.remaining), (1, None));
    let rest = store.list(&tagged("pods", "n2"), page.next.as_ref(), 1, Some(page.revision)).await.unwrap();
    assert_eq!((&*rest.items[0].key.name, rest.next), ("y", None));
}

pub async fn pages_are_of_one_moment(store: impl Store) {
    for n in 0..25 {
        ok(&store, put(key("pods", "n", &format!("{n:02}")), Expect::Absent, None, "before")).await;
    }
    ok(&store, put(key("services", "n", "other"), Expect::Absent, None, "x")).await;
    let scope = Scope::resource("pods");
    let first = store.list(&scope, None, 10, None).await.unwrap();
    assert_eq!((first.items.len(), first.remaining, first.revision), (10, Some(15), store.revision()));
    for n in 0..25 {
        ok(&store, put(key("pods", "n", &format!("{n:02}")), Expect::Any, None, "after")).await;
    }
    ok(&store, delete(key("pods", "n", "15"), Expect::Any, "x")).await;
    ok(&store, put(key("pods", "n", "155"), Expect::Absent, None, "new")).await;

    let at = Some(first.revision);
    let second = store.list(&scope, first.next.as_ref(), 10, at).await.unwrap();
    assert_eq!((second.items.len(), second.remaining, second.revision), (10, Some(5), first.revision));
    let third = store.list(&scope, second.next.as_ref(), 10, at).await.unwrap();
    assert_eq!((third.items.len(), third.remaining, third.next), (5, Some(0), None));
    let all: Vec<_> = [first.items, second.items, third.items].concat();
    let seen: Vec<_> = all.iter().map(|e| (e.key.name.to_string(), e.value.clone())).collect();
    let expected: Vec<_> = (0..25).map(|n| (format!("{n:02}"), Bytes::from_static(b"before"))).collect();
    assert_eq!(seen, expected);

    // A moment that nobody pinned is gone, unless the resource has not changed since.
    expired(store.list(&scope, None, 0, Some(first.revision - 1)).await);
    expired(store.list(&scope, None, 0, Some(store.revision() + 1)).await);
    let still = store.list(&Scope::resource("services"), None, 0, Some(first.revision)).await.unwrap();
    assert_eq!((still.items.len(), still.revision), (1, first.revision));
}

/// Needs `snapshots: 1`.
pub async fn pinned_snapshots_are_bounded(store: impl Store) {
    let scope = Scope::resource("pods");
    let mut pages = Vec::new();
    for n in 0..4 {
        ok(&store, put(key("pods", "n", &n.to_string()), Expect::Absent, None, "x")).await;
        pages.push(store.list(&scope, None, 1, None).await.unwrap());
    }
    ok(&store, put(key("pods", "n", "9"), Expect::Absent, None, "x")).await;
    expired(store.list(&scope, pages[1].next.as_ref(), 1, Some(pages[1].revision)).await);
    let kept = store.list(&scope, pages[3].next.as_ref(), 1, Some(pages[3].revision)).await.unwrap();
    assert_eq!(&*kept.items[0].key.name, "1");
}
