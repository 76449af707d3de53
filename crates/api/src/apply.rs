//! Server-side apply and the bookkeeping of who owns which field (`metadata.managedFields`).
//!
//! An apply says: these are the fields I care about, and their values. It merges them into the live object, removes
//! the fields that the same manager cared for before and now does not (unless somebody else does), and refuses to
//! overwrite what others own unless it is forced. Every other write is tracked too, so that applies know its owners.
//!
//! The behaviour is that of KEP-555 as Kubernetes implements it. Everything is pure and deterministic: the time is an
//! argument. Sets of other API versions of the same kind are read as if they were of this version, because the stored
//! kinds here have one schema.

mod check;
mod conflict;
mod entries;
mod migrate;
mod overlay;
mod set;
mod update;
mod walk;

use serde_json::Value;

pub use conflict::{Conflict, Conflicts, Error};
pub use overlay::overlay;
pub use set::{Element, FieldSet};
pub use walk::field_set;

use crate::gvk::GroupVersionKind;
use crate::schema::Node;
use entries::{Entries, Entry, Operation};

/// The longest name of a manager.
pub const MAX_MANAGER_BYTES: usize = 128;

/// What is applied to: the schema, the version, and the part of the object that the endpoint may write.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The schema of the kind.
    pub root: Node<'a>,
    /// `apiVersion` of the request, which goes into the entry.
    pub api_version: &'a str,
    /// Subresource of the request, empty for the object itself.
    pub subresource: &'a str,
    /// Whether the kind has a `status` subresource, so that a write to the object itself does not touch `status`.
    pub has_status: bool,
}

impl Target<'_> {
    /// The top-level fields that a write through this endpoint leaves alone.
    fn untouched(&self) -> &'static [&'static str] {
        match self.subresource {
            "status" => &["spec"],
            "" if self.has_status => &["status"],
            _ => &[],
        }
    }
}

/// A target of the built-in table. Of kinds that are not in the table only the metadata is known; whoever has the
/// schema of a custom resource makes the [`Target`] from it and calls [`apply_to`].
fn target<'a>(gvk: &GroupVersionKind, api_version: &'a str, subresource: &'a str) -> Target<'a> {
    let root = Node::of_or_unknown(gvk);
    let has_status = root.type_id().is_some() && root.field("status").is_some();
    Target { root, api_version, subresource, has_status }
}

/// Applies a configuration: the new object, with its `managedFields`.
///
/// `now` is RFC 3339 with seconds. If nothing changes, the live object comes back as it is, old timestamps included.
pub fn apply(
    gvk: &GroupVersionKind,
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
    subresource: &str,
    now: &str,
) -> Result<Value, Error> {
    let api_version = gvk.api_version();
    apply_to(target(gvk, &api_version, subresource), live, config, manager, force, now)
}

/// As [`apply`], for a target whose schema the caller knows.
pub fn apply_to(
    target: Target<'_>,
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
    now: &str,
) -> Result<Value, Error> {
    let applied = merge_into(target, live, config, manager, force, now);
    let Some(live) = live.filter(|_| manager == migrate::KUBECTL) else { return applied };
    let applied = match applied {
        Err(Error::Conflicts(conflicts)) => match migrate::remaining(target.root, live, conflicts) {
            None => merge_into(target, Some(live), config, manager, true, now),
            Some(left) => Err(Error::Conflicts(left)),
        },
        other => other,
    };
    applied.map(|mut new| {
        migrate::note(live, config, &mut new);
        new
    })
}

fn merge_into(
    target: Target<'_>,
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
    now: &str,
) -> Result<Value, Error> {
    if config.pointer("/metadata/managedFields").is_some_and(|m| !m.is_null()) {
        return Err(Error::Invalid("metadata.managedFields must be nil".into()));
    }
    if let Some(complaint) = check::complaint(target.root, config) {
        return Err(Error::Untyped(complaint));
    }
    let mut config = config.clone();
    for field in target.untouched() {
        config.as_object_mut().map(|o| o.remove(*field));
    }
    let empty = Value::Object(Default::default());
    let old = live.unwrap_or(&empty);
    let mut entries = Entries::of(old);
    if entries.is_empty() && live.is_some() {
        // Whoever wrote before anything was tracked owns all of it, so that the first apply meets conflicts.
        let mut bare = old.clone();
        entries::strip(&mut bare);
        let empty = crate::decode::empty_of(target.root);
        let set = update::compare(target.root, &empty, &bare).written().without_identity();
        entries.put(Entry::new(
            "before-first-apply",
            Operation::Update,
            &Target { subresource: "", ..target },
            set,
            now,
        ));
    }

    let mut bare = old.clone();
    entries::strip(&mut bare);
    let owned = walk::field_set(target.root, &config)?;
    let merged = update::merge(target.root, &bare, &config);
    let mut this = Entry::new(manager, Operation::Apply, &target, owned.clone(), now);
    let last = entries.take(&this);
    let mut everyone = owned;
    entries.iter().for_each(|e| everyone = everyone.union(&e.set));
    let new = match &last {
        Some(last) => update::prune(target.root, merged, &last.set, &everyone),
        None => merged,
    };

    let mut changes = update::compare(target.root, &bare, &new);
    changes.forget(target.untouched());
    let conflicts = entries.conflicts(&changes);
    if !force && !conflicts.is_empty() {
        return Err(Error::Conflicts(Conflicts::new(conflicts)));
    }
    entries.give_up(&changes);

    this.set = this.set.without_identity();
    if let Some(last) = last.filter(|last| live.is_some() && new == bare && last.set == this.set) {
        this.time = last.time;
    }
    if !this.set.is_empty() {
        entries.put(this);
    }
    let mut new = new;
    entries.write(&mut new);
    Ok(new)
}

/// Notes who changed what, for every write that is not an apply: `new` gets its `managedFields`.
///
/// `old` is the live object, `None` on create. The entries are taken from `new` if it carries any (a client may edit
/// them; a single empty entry resets them), otherwise from `old`.
pub fn track_update(
    gvk: &GroupVersionKind,
    old: Option<&Value>,
    new: &mut Value,
    manager: &str,
    subresource: &str,
    now: &str,
) {
    let api_version = gvk.api_version();
    track_update_of(target(gvk, &api_version, subresource), old, new, manager, now);
}

/// As [`track_update`], for a target whose schema the caller knows.
pub fn track_update_of(target: Target<'_>, old: Option<&Value>, new: &mut Value, manager: &str, now: &str) {
    let mut entries = Entries::after(old, new);
    let mut before = old.cloned().unwrap_or_else(|| crate::decode::empty_of(target.root));
    entries::strip(&mut before);
    entries::strip(new);
    let mut changes = update::compare(target.root, &before, new);
    changes.forget(target.untouched());

    let mut this = Entry::new(manager, Operation::Update, &target, FieldSet::default(), now);
    let last = entries.take(&this);
    entries.give_up(&changes);
    let kept = last.as_ref().map(|l| l.set.difference(&changes.removed)).unwrap_or_default();
    this.set = kept.union(&changes.written()).without_identity();
    if let Some(last) = last.filter(|last| last.set == this.set) {
        this.time = last.time;
    }
    if !this.set.is_empty() {
        entries.put(this);
    }
    entries.limit();
    entries.write(new);
}

/// The manager that a request without `fieldManager` gets: its user agent up to the first slash.
pub fn manager_of_user_agent(user_agent: &str) -> String {
    let name = user_agent.split('/').next().unwrap_or_default();
    let printable = name.chars().filter(|c| !c.is_control());
    let mut manager = String::new();
    for c in printable {
        if manager.len() + c.len_utf8() > MAX_MANAGER_BYTES {
            break;
        }
        manager.push(c);
    }
    if manager.is_empty() { "unknown".into() } else { manager }
}

#[cfg(test)]
mod tests;
