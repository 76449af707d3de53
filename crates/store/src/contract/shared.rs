//! What several servers on one store may rely on.

use std::sync::Arc;

use super::{delete, ephemeral, expired, key, names, next, ok, put, tagged, watch};
use crate::{Error, EventKind, Expect, Scope, Store};

/// A read after an answer sees what was answered, whoever gave the answer.
pub async fn everybody_sees_what_was_answered(one: &impl Store, two: &impl Store) {
    let a = || key("pods", "n", "a");
    let mut last = ok(one, put(a(), Expect::Absent, Some("t"), "0")).await;
    for n in 1..30 {
        let found = two.get(&a()).await.unwrap();
        assert_eq!(found.as_ref(), Some(&last));
        last = ok(two, put(a(), Expect::Revision(last.revision), Some("t"), &n.to_string())).await;
        assert_eq!(one.list(&tagged("pods", "t"), None, 0, None).await.unwrap().items, [last.clone()]);
        one.sync().await.unwrap();
        assert!(one.revision() >= last.revision);
        last = ok(one, ephemeral(put(a(), Expect::Revision(last.revision), Some("t"), &n.to_string()))).await;
    }
    match two.write(put(a(), Expect::Revision(last.revision - 1), None, "x")).await {
        Err(Error::Conflict { current, .. }) => assert_eq!(current.as_deref(), Some(&last)),
        other => panic!("expected Conflict, not {other:?}"),
    }
    ok(two, delete(a(), Expect::Revision(last.revision), "gone")).await;
    assert_eq!(one.get(&a()).await.unwrap(), None);
}

/// All watchers are told the same, deletions with their last state.
pub async fn everybody_is_told_the_same(one: &impl Store, two: &impl Store) {
    two.sync().await.unwrap();
    let start = two.revision();
    let mut there = watch(two, Scope::resource("jobs"), start);
    let a = || key("jobs", "n", "a");
    let first = ok(one, put(a(), Expect::Absent, Some("t1"), "one")).await;
    let second = ok(one, put(a(), Expect::Any, Some("t2"), "two")).await;
    let third = ok(one, delete(a(), Expect::Any, "last")).await;
    let mut here = watch(one, Scope::resource("jobs"), start);
    for watch in [&mut there, &mut here] {
        let event = next(watch).await;
        assert_eq!(
            (event.revision, &event.value[..], event.old.clone()),
            (first.revision, &b"one"[..], None)
        );
        let event = next(watch).await;
        assert_eq!((event.revision, event.old_tag.as_deref()), (second.revision, Some("t1")));
        let event = next(watch).await;
        assert_eq!((event.revision, event.change), (third.revision, EventKind::Delete));
        assert_eq!((&event.value[..], event.old.as_deref()), (&b"last"[..], Some(&b"two"[..])));
        assert_eq!(event.tag.as_deref(), Some("t2"));
    }
    assert_eq!(third.tag.as_deref(), Some("t2"));
}

/// Of many who make the same entry, one does.
pub async fn one_of_many_wins<S: Store>(one: Arc<S>, two: Arc<S>) {
    for round in 0..10 {
        let name = round.to_string();
        let tries: Vec<_> = (0..16)
            .map(|n| {
                let store = if n % 2 == 0 { one.clone() } else { two.clone() };
                let write = put(key("claims", "n", &name), Expect::Absent, None, &n.to_string());
                tokio::spawn(async move { store.write(write).await })
            })
            .collect();
        let mut won = Vec::new();
        for attempt in tries {
            match attempt.await.unwrap() {
                Ok(entry) => won.push(entry),
                Err(Error::Exists { current: Some(current), .. }) => assert_eq!(&*current.key.name, &name),
                Err(other) => panic!("{other:?}"),
            }
        }
        let [won] = &won[..] else { panic!("{won:?}") };
        assert_eq!(two.get(&won.key).await.unwrap().as_ref(), Some(won));
    }
}

/// A server that comes (again) has everything, and watchers go on there.
pub async fn a_server_that_comes_has_everything<S: Store>(one: S, open: impl Fn() -> S) {
    let before = ok(&one, put(key("pods", "n", "x"), Expect::Absent, Some("t"), "x")).await.revision;
    ok(&one, put(key("pods", "n", "y"), Expect::Absent, None, "y")).await;
    ok(&one, ephemeral(put(key("leases", "n", "e"), Expect::Absent, None, "e"))).await;
    let last = ok(&one, delete(key("pods", "n", "y"), Expect::Any, "y")).await.revision;
    let new = open();
    assert_eq!(names(&new, &Scope::resource("pods")).await, ["x"]);
    assert_eq!(names(&new, &tagged("pods", "t")).await, ["x"]);
    assert_eq!(names(&new, &Scope::resource("leases")).await, ["e"]);
    expired(new.watch(Scope::resource("pods"), Some(before)));
    let mut goes_on = watch(&new, Scope::resource("pods"), last);
    drop(one);
    let written = ok(&new, put(key("pods", "n", "z"), Expect::Absent, None, "z")).await;
    assert!(written.revision > last);
    assert_eq!(next(&mut goes_on).await.revision, written.revision);
}
