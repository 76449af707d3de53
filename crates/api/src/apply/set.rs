//! Sets of fields, and their form in JSON (`fieldsV1`).
//!
//! A set is a tree: at each element of a path it says whether the path that ends here is a member, and what lies below.
//! `{"f:spec": {"f:replicas": {}, "f:ports": {"k:{\"port\":80}": {".": {}, "f:name": {}}}}}` has three members; `.`
//! says that the element itself is one.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// `f:name`: a field of an object or an entry of a map.
    Field(String),
    /// `k:{"name":"a"}`: a list item with these keys; the JSON is compact and its names are in order.
    Key(String),
    /// `v:"a"`: an item of a set; compact JSON.
    Value(String),
    /// `i:0`: a list item by position. Never made here, but read.
    Index(u64),
}

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: BTreeMap<Element, Branch>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Branch {
    member: bool,
    below: FieldSet,
}

impl Branch {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

/// What nobody owns: the identity of the object, and what the server alone writes.
const IDENTITY: [&str; 2] = ["apiVersion", "kind"];
const IDENTITY_METADATA: [&str; 9] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
];

impl Element {
    /// A field by its name.
    pub fn field(name: impl Into<String>) -> Self {
        Element::Field(name.into())
    }

    /// Reads the JSON form, for example `f:spec`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        Some(match kind {
            "f" => Element::Field(rest.to_owned()),
            "k" => Element::Key(canonical(&serde_json::from_str(rest).ok()?)),
            "v" => Element::Value(canonical(&serde_json::from_str(rest).ok()?)),
            "i" => Element::Index(rest.parse().ok()?),
            _ => return None,
        })
    }

    fn json(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Key(json) => format!("k:{json}"),
            Element::Value(json) => format!("v:{json}"),
            Element::Index(index) => format!("i:{index}"),
        }
    }
}

/// As messages show paths: `.spec.containers[name="a"].image`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Value(json) => write!(f, "[={json}]"),
            Element::Index(index) => write!(f, "[{index}]"),
            Element::Key(json) => {
                let keys: BTreeMap<String, Value> = serde_json::from_str(json).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", keys.join(","))
            }
        }
    }
}

/// Compact JSON with names in order, so that equal values are equal texts.
pub(super) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            let parts: Vec<String> =
                sorted.iter().map(|(k, v)| format!("{}:{}", Value::from(k.as_str()), canonical(v))).collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

impl FieldSet {
    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Makes the field that this element leads to a member.
    pub(super) fn insert(&mut self, element: Element) {
        self.nodes.entry(element).or_default().member = true;
    }

    /// Adds what lies below an element.
    pub(super) fn insert_below(&mut self, element: Element, below: FieldSet) {
        if !below.is_empty() {
            let branch = self.nodes.entry(element).or_default();
            branch.below = if branch.below.is_empty() { below } else { branch.below.union(&below) };
        }
    }

    /// Whether the element or anything below it is a member.
    pub(super) fn touches(&self, element: &Element) -> bool {
        self.nodes.contains_key(element)
    }

    /// Whether the element itself is a member.
    pub(super) fn has_here(&self, element: &Element) -> bool {
        self.nodes.get(element).is_some_and(|branch| branch.member)
    }

    /// What lies below an element.
    pub(super) fn below(&self, element: &Element) -> Option<&FieldSet> {
        self.nodes.get(element).map(|b| &b.below)
    }

    /// The elements of the first step.
    pub(super) fn elements(&self) -> impl Iterator<Item = &Element> {
        self.nodes.keys()
    }

    /// Whether the path is a member.
    pub fn has(&self, path: &[Element]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        let Some(branch) = self.nodes.get(first) else { return false };
        if rest.is_empty() { branch.member } else { branch.below.has(rest) }
    }

    /// Members of either.
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        let mut all = self.clone();
        for (element, theirs) in &other.nodes {
            match all.nodes.get_mut(element) {
                None => {
                    all.nodes.insert(element.clone(), theirs.clone());
                }
                Some(ours) => {
                    ours.member |= theirs.member;
                    ours.below = ours.below.union(&theirs.below);
                }
            }
        }
        all
    }

    /// Members of this that are not members of the other.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.combine(|element, ours| match other.nodes.get(element) {
            None => ours.clone(),
            Some(theirs) => {
                Branch { member: ours.member && !theirs.member, below: ours.below.difference(&theirs.below) }
            }
        })
    }

    /// Members of both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.combine(|element, ours| match other.nodes.get(element) {
            None => Branch::default(),
            Some(theirs) => {
                Branch { member: ours.member && theirs.member, below: ours.below.intersection(&theirs.below) }
            }
        })
    }

    fn combine(&self, branch: impl Fn(&Element, &Branch) -> Branch) -> FieldSet {
        let nodes = self.nodes.iter().map(|(e, b)| (e.clone(), branch(e, b))).filter(|(_, b)| !b.is_empty());
        FieldSet { nodes: nodes.collect() }
    }

    /// Without a top-level field and all below it.
    pub(super) fn without_field(mut self, name: &str) -> FieldSet {
        self.nodes.remove(&Element::field(name));
        self
    }

    /// Without the fields that nobody owns.
    pub(super) fn without_identity(mut self) -> FieldSet {
        for name in IDENTITY {
            self.nodes.remove(&Element::field(name));
        }
        let metadata = Element::field("metadata");
        if let Some(branch) = self.nodes.get_mut(&metadata) {
            branch.member = false;
            for name in IDENTITY_METADATA {
                branch.below.nodes.remove(&Element::field(name));
            }
            if branch.is_empty() {
                self.nodes.remove(&metadata);
            }
        }
        self
    }

    /// The members as messages show them: at each level first what ends there, then what lies below.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, prefix: &str, paths: &mut Vec<String>) {
        let members = self.nodes.iter().filter(|(_, branch)| branch.member);
        paths.extend(members.map(|(element, _)| format!("{prefix}{element}")));
        for (element, branch) in &self.nodes {
            branch.below.collect(&format!("{prefix}{element}"), paths);
        }
    }

    /// The `fieldsV1` of an entry.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        for (element, branch) in &self.nodes {
            let mut below = branch.below.to_json();
            if branch.member && !branch.below.is_empty() {
                below["."] = Value::Object(Map::new());
            }
            fields.insert(element.json(), below);
        }
        Value::Object(fields)
    }

    /// Reads a `fieldsV1`. Elements that cannot be read are skipped.
    pub fn from_json(value: &Value) -> FieldSet {
        let mut set = FieldSet::default();
        for (name, below) in value.as_object().into_iter().flatten() {
            let Some(element) = Element::parse(name) else { continue };
            let leaf = below.as_object().is_none_or(Map::is_empty);
            let branch =
                Branch { member: leaf || below.get(".").is_some(), below: FieldSet::from_json(below) };
            if !branch.is_empty() {
                set.nodes.insert(element, branch);
            }
        }
        set
    }
}
