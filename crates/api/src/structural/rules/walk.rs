//! Evaluating rules along an object, and what is said of broken ones.

use serde_json::Value;

use super::{Compiled, Rules, fields};
use crate::cel::{Bindings, Budget, Failed, Val};
use crate::path;
use crate::structural::types::escape;
use crate::structural::{List, Rule, lists};
use crate::validate::{FieldError, Shown};

/// The longest message that an expression may make, in bytes.
const LONGEST_MESSAGE: usize = 5120;

/// What rules an object breaks.
pub(super) fn check(rules: &Rules, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut walk = Walk { path: String::new(), errors: Vec::new(), left: Budget::OBJECT };
    walk.place(rules, new, old);
    walk.errors
}

struct Walk {
    path: String,
    errors: Vec<FieldError>,
    left: u64,
}

impl Walk {
    fn place(&mut self, rules: &Rules, new: &Value, old: Option<&Value>) {
        if new.is_null() {
            return;
        }
        for compiled in &rules.here {
            if self.left == 0 {
                return;
            }
            // What did not change was judged before.
            if compiled.about_change || old != Some(new) {
                self.rule(compiled, rules, new, old);
            }
        }
        match new {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let named = rules.properties.binary_search_by(|(n, _)| (**n).cmp(name));
                    let below = named.ok().map(|at| &rules.properties[at].1).or(rules.values.as_deref());
                    if let Some(below) = below {
                        let before = path::enter(&mut self.path, name);
                        self.place(below, value, old.and_then(|o| o.get(name)));
                        self.path.truncate(before);
                    }
                }
            }
            Value::Array(items) => {
                let (Some(below), Some(schema)) = (&rules.items, &rules.identity) else { return };
                let earlier = old.and_then(Value::as_array);
                let keys = match schema.list {
                    List::Map(_) => earlier.and_then(|old| {
                        Some((lists::identities(schema, items)?, lists::by_identity(schema, old)?))
                    }),
                    _ => None,
                };
                for (index, item) in items.iter().enumerate() {
                    let counterpart = keys
                        .as_ref()
                        .and_then(|(all, known)| known.get(&all[index].0))
                        .and_then(|at| earlier?.get(*at));
                    let before = self.path.len();
                    self.path.push_str(&format!("[{index}]"));
                    self.place(below, item, counterpart);
                    self.path.truncate(before);
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, compiled: &Compiled, rules: &Rules, new: &Value, old: Option<&Value>) {
        let rule = &compiled.rule;
        if compiled.about_change && old.is_none() && !rule.optional_old_self {
            return;
        }
        let value = |v| Val::json(v, &rules.ty);
        let made = value(new).and_then(|new| {
            let old = old.map(value).transpose()?;
            let old = match rule.optional_old_self {
                true => Some(Val::Optional(old.map(std::sync::Arc::new))),
                false => old,
            };
            let bindings = Bindings::default().with("self", new);
            Ok(match old {
                Some(old) => bindings.with("oldSelf", old),
                None => bindings,
            })
        });
        let bindings = match made {
            Ok(bindings) => bindings,
            Err(failed) => return self.failed(new, rule, &failed),
        };
        let mut budget = Budget::new(Budget::CALL.min(self.left));
        let result = compiled.program.eval(&bindings, &mut budget);
        self.left = self.left.saturating_sub(budget.spent());
        match result {
            Ok(Val::Bool(true)) => return,
            Ok(_) => {}
            Err(failed) => return self.failed(new, rule, &failed),
        }
        let mut text = if rule.message.is_empty() {
            format!("failed rule: {}", rule.rule.trim())
        } else {
            rule.message.trim().to_owned()
        };
        if let Some(message) = &compiled.message {
            let mut budget = Budget::new(Budget::CALL.min(self.left));
            if let Ok(Val::Text(made)) = message.eval(&bindings, &mut budget)
                && !made.trim().is_empty()
                && !made.contains(['\n', '\r'])
                && made.len() <= LONGEST_MESSAGE
            {
                text = made.trim().to_owned();
            }
            self.left = self.left.saturating_sub(budget.spent());
        }
        let path = self.named(rule);
        // Objects and lists are too much to be shown.
        let shown = if new.is_object() || new.is_array() { None } else { Some(Shown::Value(new.clone())) };
        self.errors.push(match &*rule.reason {
            "FieldValueForbidden" => FieldError::forbidden(&path, text),
            "FieldValueRequired" => FieldError::required(&path, text),
            "FieldValueDuplicate" => {
                FieldError { bad_value: shown, ..FieldError::duplicate(&path, Value::Null) }
            }
            _ => FieldError { bad_value: shown, ..FieldError::invalid(&path, Value::Null, text) },
        });
    }

    /// The field that a broken rule names.
    fn named(&self, rule: &Rule) -> String {
        let below = fields(&rule.field_path).unwrap_or_default();
        below.into_iter().fold(self.path.clone(), |path, name| {
            match (path.is_empty(), escape(&name).as_deref()) {
                (true, _) => name,
                (false, Some(plain)) if plain == name => format!("{path}.{name}"),
                (false, _) => format!("{path}[{name}]"),
            }
        })
    }

    fn failed(&mut self, new: &Value, rule: &Rule, failed: &Failed) {
        let text = match failed {
            Failed::Exhausted if self.left == 0 => {
                "validation failed due to running out of cost budget, no further validation rules will be run"
                    .to_owned()
            }
            Failed::Exhausted => {
                self.left = 0;
                format!(
                    "no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    rule.rule
                )
            }
            Failed::Error(text) if text.starts_with("no such overload") => format!(
                "call arguments did not match a supported operator, function or macro signature for rule: {}",
                rule.rule
            ),
            Failed::Error(text) => format!("{text} evaluating rule: {}", rule.rule),
            other @ Failed::Unanswered => format!("{other} evaluating rule: {}", rule.rule),
        };
        let shown = if new.is_object() || new.is_array() { None } else { Some(Shown::Value(new.clone())) };
        self.errors
            .push(FieldError { bad_value: shown, ..FieldError::invalid(&self.path, Value::Null, text) });
    }
}
