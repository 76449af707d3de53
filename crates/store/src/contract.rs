//! The suite that every backend must pass.
//!
//! A backend's test calls [`run`] with a way to make empty stores; [`reopen`] if its entries outlive it and are its own;
//! [`shared`] if several servers may use one place. The suite knows the trait and nothing of any backend.

mod restart;
mod shared;
mod watching;
mod writing;

use std::sync::Arc;

use bytes::Bytes;

use crate::{Change, Class, Entry, Error, Event, Expect, Key, Limits, Revision, Scope, Store, Watch, Write};

/// Everything but restarts. `make` gives a new, empty store each time.
pub async fn run<S: Store>(make: impl Fn(&Limits) -> S) {
    let usual = Limits::default();
    writing::preconditions(make(&usual)).await;
    writing::encodes_with_its_own_revision(make(&usual)).await;
    writing::a_panicking_encoder_changes_nothing(make(&usual)).await;
    writing::lists_scopes(make(&usual)).await;
    writing::pages_are_of_one_moment(make(&usual)).await;
    writing::pinned_snapshots_are_bounded(make(&Limits { snapshots: 1, ..usual.clone() })).await;
    watching::sees_changes_in_order_with_old_values(make(&usual)).await;
    watching::scopes_see_what_concerns_them(make(&usual)).await;
    watching::tags_are_entered_and_left(make(&usual)).await;
    watching::resumes_or_expires(make(&Limits { history_bytes: 4000, ..usual.clone() })).await;
    watching::a_slow_watcher_lags(make(&Limits { watch_queue: 4, ..usual.clone() })).await;
    watching::progress_covers_what_was_read(make(&usual)).await;
    watching::nothing_is_lost_under_concurrent_writers(make(&usual)).await;
    watching::ends_with_the_store(make(&usual)).await;
}

/// For backends whose entries outlive them: `open` opens the same place each time.
pub async fn reopen<S: Store>(open: impl Fn() -> S) {
    restart::keeps_what_is_durable_and_resumes(open).await;
}

/// For backends that several servers share: `open` opens the same place each time, while others have it open.
pub async fn shared<S: Store>(open: impl Fn() -> S) {
    let (one, two) = (Arc::new(open()), Arc::new(open()));
    shared::everybody_sees_what_was_answered(&*one, &*two).await;
    shared::everybody_is_told_the_same(&*one, &*two).await;
    shared::one_of_many_wins(one, two).await;
    shared::a_server_that_comes_has_everything(open(), open).await;
}

pub(crate) fn key(resource: &str, namespace: &str, name: &str) -> Key {
    Key::new(resource, namespace, name)
}

pub(crate) fn put(key: Key, expect: Expect, tag: Option<&str>, value: &str) -> Write {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Write {
        key,
        expect,
        class: Class::Durable,
        tag: tag.map(Arc::from),
        change: Change::Put(Box::new(move |_| value)),
    }
}

pub(crate) fn delete(key: Key, expect: Expect, last: &str) -> Write {
    let last = Bytes::copy_from_slice(last.as_bytes());
    Write { key, expect, class: Class::Durable, tag: None, change: Change::Delete(Box::new(move |_| last)) }
}

pub(crate) fn ephemeral(mut write: Write) -> Write {
    write.class = Class::Ephemeral;
    write
}

pub(crate) fn in_namespace(resource: &str, namespace: &str) -> Scope {
    Scope { namespace: Some(namespace.into()), ..Scope::resource(resource) }
}

pub(crate) fn tagged(resource: &str, tag: &str) -> Scope {
    Scope { tag: Some(tag.into()), ..Scope::resource(resource) }
}

pub(crate) async fn ok(store: &impl Store, write: Write) -> Entry {
    store.write(write).await.expect("the write must succeed")
}

pub(crate) async fn names(store: &impl Store, scope: &Scope) -> Vec<String> {
    let page = store.list(scope, None, 0, None).await.expect("the list must succeed");
    page.items.iter().map(|e| e.key.name.to_string()).collect()
}

pub(crate) async fn next(watch: &mut Watch) -> Arc<Event> {
    let next = tokio::time::timeout(std::time::Duration::from_secs(20), watch.next()).await;
    next.expect("an event must come").expect("the watch must go on")
}

pub(crate) fn watch(store: &impl Store, scope: Scope, after: Revision) -> Watch {
    store.watch(scope, Some(after)).expect("the revision must be kept")
}

pub(crate) fn expired<T>(result: Result<T, Error>) -> Revision {
    match result {
        Err(Error::Expired { oldest }) => oldest,
        Err(other) => panic!("expected Expired, not {other:?}"),
        Ok(_) => panic!("expected Expired"),
    }
}
