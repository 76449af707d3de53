//! `metadata.managedFields`: one entry per manager, kind of operation and subresource.

use serde_json::{Map, Value, json};

use super::conflict::Conflict;
use super::set::FieldSet;
use super::update::Changes;
use super::{MAX_MANAGER_BYTES, Target};

/// More managers that update are folded into one, oldest first: the entries are part of every object, and controllers
/// and people come and go.
const MAX_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// How a manager came to own its fields. The order is that of the entries in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// What one manager owns.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    manager: String,
    operation: Operation,
    api_version: String,
    subresource: String,
    pub(super) time: Option<String>,
    pub(super) set: FieldSet,
}

impl Entry {
    pub(super) fn new(
        manager: &str,
        operation: Operation,
        target: &Target<'_>,
        set: FieldSet,
        now: &str,
    ) -> Self {
        let mut end = manager.len().min(MAX_MANAGER_BYTES);
        while !manager.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            manager: manager[..end].to_owned(),
            operation,
            api_version: target.api_version.to_owned(),
            subresource: target.subresource.to_owned(),
            time: Some(now.to_owned()),
            set,
        }
    }

    fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let operation = match text("operation")? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if text("fieldsType") != Some("FieldsV1") {
            return None;
        }
        Some(Self {
            manager: text("manager").unwrap_or_default().to_owned(),
            operation,
            api_version: text("apiVersion").unwrap_or_default().to_owned(),
            subresource: text("subresource").unwrap_or_default().to_owned(),
            time: text("time").map(str::to_owned),
            set: value.get("fieldsV1").map(FieldSet::from_json).unwrap_or_default(),
        })
    }

    fn to_json(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager,
            "operation": match self.operation { Operation::Apply => "Apply", Operation::Update => "Update" },
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.set.to_json(),
        });
        if let Some(time) = &self.time {
            entry["time"] = time.as_str().into();
        }
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.as_str().into();
        }
        entry
    }

    /// Whether the other entry is this manager's too. One that applies is the same in every API version.
    fn same(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// As conflicts name it.
    fn title(&self) -> String {
        let mut title = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            title.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            title.push_str(&format!(" using {}", self.api_version));
        }
        title
    }
}

/// All entries of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries(Vec<Entry>);

/// Takes `managedFields` out of an object: they are bookkeeping about it, not part of it.
pub(super) fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

impl Entries {
    pub(super) fn of(object: &Value) -> Self {
        Self::read(object).unwrap_or_default()
    }

    /// The entries in an object; `None` if one of them makes no sense.
    fn read(object: &Value) -> Option<Self> {
        let list = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        let mut entries = Entries::default();
        for value in list.into_iter().flatten() {
            let entry = Entry::read(value)?;
            // Whoever owns nothing is no manager: such an entry would only hide that nothing is tracked yet.
            if !entry.set.is_empty() {
                entries.put(entry);
            }
        }
        Some(entries)
    }

    /// The entries to go on with after a write: those that the client sent, or else the old ones.
    pub(super) fn after(old: Option<&Value>, new: &Value) -> Self {
        let sent = new.pointer("/metadata/managedFields").and_then(Value::as_array);
        let empty = |entry: &Value| entry.as_object().is_some_and(Map::is_empty);
        let before = || old.map(Entries::of).unwrap_or_default();
        match sent.map(Vec::as_slice) {
            Some([only]) if empty(only) => Entries::default(),
            Some([_, ..]) => Entries::read(new).unwrap_or_else(before),
            _ => before(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }

    pub(super) fn put(&mut self, entry: Entry) {
        match self.0.iter_mut().find(|e| e.same(&entry)) {
            Some(found) => {
                found.set = found.set.union(&entry.set);
                found.time = std::mem::take(&mut found.time).max(entry.time);
            }
            None => self.0.push(entry),
        }
    }

    /// Takes out the entry of the same manager.
    pub(super) fn take(&mut self, entry: &Entry) -> Option<Entry> {
        let at = self.0.iter().position(|e| e.same(entry))?;
        Some(self.0.remove(at))
    }

    /// What these managers own of what was written.
    pub(super) fn conflicts(&self, changes: &Changes) -> Vec<Conflict> {
        let written = changes.written();
        let paths = |e: &Entry| e.set.intersection(&written).paths();
        let all = self.0.iter().flat_map(|e| {
            let title = e.title();
            paths(e).into_iter().map(move |path| Conflict { manager: title.clone(), path })
        });
        all.collect()
    }

    /// These managers own no longer what somebody else wrote or removed.
    pub(super) fn give_up(&mut self, changes: &Changes) {
        let gone = changes.written().union(&changes.removed);
        for entry in &mut self.0 {
            entry.set = entry.set.difference(&gone);
        }
        self.0.retain(|e| !e.set.is_empty());
    }

    /// Folds the oldest updaters into one when there are too many.
    pub(super) fn limit(&mut self) {
        self.sort();
        let updaters =
            |entries: &[Entry]| entries.iter().filter(|e| e.operation == Operation::Update).count();
        while updaters(&self.0) > MAX_UPDATERS {
            let oldest = |e: &Entry| e.operation == Operation::Update && e.manager != ANCIENT;
            let Some(at) = self.0.iter().position(oldest) else { return };
            let entry = self.0.remove(at);
            let ancient = Entry { manager: ANCIENT.into(), subresource: String::new(), ..entry };
            self.put(ancient);
            self.sort();
        }
    }

    fn sort(&mut self) {
        fn key(e: &Entry) -> (Operation, &Option<String>, &str, &str, &str) {
            (e.operation, &e.time, &e.manager, &e.api_version, &e.subresource)
        }
        self.0.sort_by(|a, b| key(a).cmp(&key(b)));
    }

    /// Puts the entries into an object.
    pub(super) fn write(mut self, object: &mut Value) {
        self.sort();
        let Some(object) = object.as_object_mut() else { return };
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        let Some(metadata) = metadata.as_object_mut() else { return };
        if self.0.is_empty() {
            metadata.remove("managedFields");
        } else {
            let entries = self.0.iter().map(Entry::to_json).collect();
            metadata.insert("managedFields".into(), Value::Array(entries));
        }
    }
}
