//! Which definitions hold their names, and which are established. Pure.

use serde_json::{Value, json};

use crate::conditions::{is_true, set};
use crate::object::{at, list, text};
use crate::resources::BUILTIN;

/// The names of one group that are taken.
#[derive(Default)]
struct Taken {
    resources: Vec<String>,
    kinds: Vec<String>,
}

impl Taken {
    /// Those of the built-in resources.
    fn built_in(group: &str) -> Self {
        let mut taken = Self::default();
        for row in BUILTIN.iter().filter(|r| r.group == group) {
            taken.resources.extend([row.plural.to_string(), row.singular.to_string()]);
            taken.resources.extend(row.short.iter().map(ToString::to_string));
            taken.kinds.extend([row.kind.to_string(), row.list_kind()]);
        }
        taken
    }

    fn take(&mut self, names: &Value) {
        let own = |name: &str| text(names, &[name]).to_owned();
        self.resources.extend([own("plural"), own("singular")].into_iter().filter(|n| !n.is_empty()));
        self.resources
            .extend(list(names, &["shortNames"]).iter().filter_map(|n| n.as_str().map(str::to_owned)));
        self.kinds.extend([own("kind"), own("listKind")].into_iter().filter(|n| !n.is_empty()));
    }
}

/// The definitions (by position) whose status has to change, and what it has to be. Who has held a name longest keeps it.
pub fn settle(definitions: &[Value], now: &str) -> Vec<(usize, Value)> {
    let mut order: Vec<usize> = (0..definitions.len()).collect();
    order.sort_by_key(|i| {
        let d = &definitions[*i];
        (
            !is_true(d, "NamesAccepted"),
            text(d, &["metadata", "creationTimestamp"]),
            text(d, &["metadata", "name"]),
        )
    });
    let mut taken: std::collections::BTreeMap<&str, Taken> = Default::default();
    let mut changed = Vec::new();
    for at in order {
        let definition = &definitions[at];
        let group = text(definition, &["spec", "group"]);
        let taken = taken.entry(group).or_insert_with(|| Taken::built_in(group));
        let status = status(definition, taken, now);
        taken.take(&status["acceptedNames"]);
        if definition.get("status") != Some(&status) {
            changed.push((at, status));
        }
    }
    changed
}

fn status(definition: &Value, taken: &Taken, now: &str) -> Value {
    let mut status = definition.get("status").filter(|s| s.is_object()).cloned().unwrap_or_else(|| json!({}));
    let names = &definition["spec"]["names"];
    let mut accepted =
        at(&status, &["acceptedNames"]).cloned().unwrap_or_else(|| json!({"plural": "", "kind": ""}));
    let mut trouble: Option<(&str, String)> = None;
    let mut refuse = |reason: &'static str, name: &str| {
        trouble = Some((reason, format!("{name:?} is already in use")));
    };
    for (field, reason, held) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ] {
        let wanted = text(names, &[field]);
        if held.iter().any(|n| n == wanted) {
            refuse(reason, wanted);
        } else {
            accepted[field] = json!(wanted);
        }
    }
    let short: Vec<&str> = list(names, &["shortNames"]).iter().filter_map(Value::as_str).collect();
    match short.iter().find(|name| taken.resources.iter().any(|n| n == *name)) {
        Some(name) => refuse("ShortNamesConflict", name),
        None => carry(&mut accepted, "shortNames", names),
    }
    carry(&mut accepted, "categories", names);
    status["acceptedNames"] = accepted;
    match &trouble {
        None => set(&mut status, "NamesAccepted", true, "NoConflicts", "no conflicts found", now),
        Some((reason, message)) => set(&mut status, "NamesAccepted", false, reason, message, now),
    }
    if trouble.is_none() {
        let text = "the initial names have been accepted";
        set(&mut status, "Established", true, "InitialNamesAccepted", text, now);
    } else if !is_true(definition, "Established") {
        set(&mut status, "Established", false, "NotAccepted", "not all names are accepted", now);
    }
    if !status["storedVersions"].is_array() {
        status["storedVersions"] = json!([]);
    }
    status
}

fn carry(accepted: &mut Value, field: &str, names: &Value) {
    let Some(map) = accepted.as_object_mut() else { return };
    match names.get(field).filter(|v| !v.as_array().is_none_or(Vec::is_empty)) {
        Some(value) => map.insert(field.to_owned(), value.clone()),
        None => map.remove(field),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str, plural: &str, kind: &str, short: &str) -> Value {
        json!({"metadata": {"name": name, "creationTimestamp": name}, "spec": {"group": "example.com", "names": {
            "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
            "shortNames": [short]}}})
    }

    fn reasons(status: &Value) -> Vec<(String, String, String)> {
        let of = |c: &Value, f: &str| text(c, &[f]).to_owned();
        list(status, &["conditions"])
            .iter()
            .map(|c| (of(c, "type"), of(c, "status"), of(c, "message")))
            .collect()
    }

    #[test]
    fn the_first_holds_its_names_until_it_is_gone() {
        let mut all = vec![definition("a", "as", "A", "x"), definition("b", "bs", "B", "x")];
        let settled = settle(&all, "t0");
        assert_eq!(settled.len(), 2);
        for (at, status) in settled {
            all[at]["status"] = status;
        }
        assert!(is_true(&all[0], "Established"));
        assert_eq!(
            reasons(&all[1]["status"]),
            [
                ("NamesAccepted".into(), "False".into(), "\"x\" is already in use".into()),
                ("Established".into(), "False".into(), "not all names are accepted".into()),
            ]
        );
        assert_eq!(all[1]["status"]["acceptedNames"]["plural"], "bs");
        assert!(settle(&all, "t1").is_empty(), "settling is idempotent");
        let rest = vec![all[1].clone()];
        let (_, status) = settle(&rest, "t2").remove(0);
        assert!(is_true(&json!({ "status": status }), "Established"));
    }

    #[test]
    fn built_in_names_are_taken() {
        let mut definition = definition("a", "as", "Deployment", "x");
        definition["spec"]["group"] = json!("apps");
        let (_, status) = settle(&[definition], "t").remove(0);
        assert!(!is_true(&json!({ "status": status }), "NamesAccepted"));
    }
}
