//! The rules of a schema (`x-kubernetes-validations`, KEP-2876): compiled with the definition, evaluated with each object.
//!
//! Rules hang where they are written, in a tree that has only the places that lead to some. A rule that names `oldSelf`
//! is about a change: it runs when the place can be found in the old object, which in lists takes identities.

use serde_json::Value;

use super::types::{Declared, carried, declare, escape};
use super::{Additional, List, Rule, Schema, lists};
use crate::cel::types::Type;
use crate::cel::{self, Bindings, Budget, Environment, Failed, Program, Val};
use crate::jsonpath::Path;
use crate::validate::{FieldError, Shown};

/// The most that one rule may cost for one object, by estimate.
const RULE_LIMIT: u64 = 10_000_000;
/// The most that all rules of a schema may cost together, by estimate.
const SCHEMA_LIMIT: u64 = 100_000_000;
/// So many rules are named when all together cost too much.
const DEAREST: usize = 4;
/// The longest message that an expression may make, in bytes.
const LONGEST_MESSAGE: usize = 5120;

/// The rules at a place and below it.
#[derive(Debug)]
pub struct Rules {
    ty: Type,
    here: Box<[Compiled]>,
    properties: Box<[(Box<str>, Rules)]>,
    items: Option<Box<Rules>>,
    /// Values of other fields.
    values: Option<Box<Rules>>,
    /// How items are told apart, for rules about changes.
    identity: Option<Box<Schema>>,
}

#[derive(Debug)]
struct Compiled {
    rule: Rule,
    program: Program,
    message: Option<Program>,
    about_change: bool,
}

impl Rules {
    /// Compiles the rules of a schema that has been checked; what does not compile is left out.
    pub fn of(schema: &Schema) -> Option<Self> {
        Compiler::default().place(schema, "", Some(1), None, true)
    }

    /// What is wrong with the rules of a schema that stands at `path` of a definition.
    pub fn errors(schema: &Schema, path: &str) -> Vec<FieldError> {
        let mut compiler = Compiler::default();
        compiler.place(schema, path, Some(1), None, true);
        if compiler.total > SCHEMA_LIMIT {
            compiler.dearest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            for (_, path) in compiler.dearest.iter().filter(|(cost, _)| *cost > 0).take(DEAREST) {
                let text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
                compiler.errors.push(FieldError::forbidden(path, text));
            }
            let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
            let text = too_dear(what, compiler.total, SCHEMA_LIMIT);
            compiler.errors.push(FieldError::forbidden(path, format!("{text} {HINT}")));
        }
        compiler.errors
    }

    /// What rules an object breaks; `old` is what it shall replace.
    pub fn check(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut walk = Walk { path: String::new(), errors: Vec::new(), left: Budget::OBJECT };
        walk.place(self, new, old);
        walk.errors
    }
}

/// `estimated rule cost exceeds budget by factor of 3.4x`.
fn too_dear(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        f if f > 100.0 => "more than 100x".to_owned(),
        f if f < 1.5 => format!("{f:.6}x"),
        f => format!("{f:.1}x"),
    };
    format!("{what} exceeds budget by factor of {factor}")
}

const HINT: &str = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";

#[derive(Default)]
struct Compiler {
    errors: Vec<FieldError>,
    total: u64,
    /// What each expression costs, and where it is.
    dearest: Vec<(u64, String)>,
}

impl Compiler {
    /// `times` is how often the place can occur in an object, if that is known; `lost` is where on the way identities
    /// were lost.
    fn place(
        &mut self,
        schema: &Schema,
        path: &str,
        times: Option<u64>,
        lost: Option<&str>,
        resource: bool,
    ) -> Option<Rules> {
        let mut here = Vec::new();
        let mut ty = Type::Dyn;
        if !schema.rules.is_empty() {
            let declared = declare(schema, resource);
            for (index, rule) in schema.rules.iter().enumerate() {
                let path = format!("{path}.x-kubernetes-validations[{index}]");
                here.extend(self.rule(rule, schema, &declared, &path, times, lost));
            }
            ty = declared.ty;
        }
        let mut properties = Vec::new();
        for (name, below) in &schema.properties {
            let path = format!("{path}.properties[{name}]");
            properties
                .extend(self.place(below, &path, times, lost, below.embedded).map(|r| (name.clone(), r)));
        }
        let checks = schema.checks.as_deref();
        let items = schema.items.as_deref().and_then(|below| {
            let times = times.zip(checks.and_then(|c| c.max_items)).map(|(t, n)| t.saturating_mul(n));
            let own = format!("{path}.items");
            let lost = lost.or(if matches!(schema.list, List::Map(_)) { None } else { Some(path) });
            self.place(below, &own, times, lost, below.embedded).map(Box::new)
        });
        let values = match &schema.additional {
            Additional::Of(below) => {
                let times =
                    times.zip(checks.and_then(|c| c.max_properties)).map(|(t, n)| t.saturating_mul(n));
                self.place(below, &format!("{path}.additionalProperties"), times, lost, below.embedded)
                    .map(Box::new)
            }
            _ => None,
        };
        if here.is_empty() && properties.is_empty() && items.is_none() && values.is_none() {
            return None;
        }
        // Of the schema only what tells items apart is kept: the keys, and their defaults.
        let identity = items.as_ref().map(|_| {
            let keys = match &schema.list {
                List::Map(keys) => keys.clone(),
                _ => Box::default(),
            };
            let defaults = schema.items.as_deref().map(|s| Schema {
                properties: s
                    .properties
                    .iter()
                    .filter(|(name, _)| keys.contains(name))
                    .map(|(n, s)| (n.clone(), Schema { default: s.default.clone(), ..Schema::default() }))
                    .collect(),
                ..Schema::default()
            });
            Box::new(Schema { list: schema.list.clone(), items: defaults.map(Box::new), ..Schema::default() })
        });
        Some(Rules { ty, here: here.into(), properties: properties.into(), items, values, identity })
    }

    fn rule(
        &mut self,
        rule: &Rule,
        schema: &Schema,
        declared: &Declared,
        path: &str,
        times: Option<u64>,
        lost: Option<&str>,
    ) -> Option<Compiled> {
        let before = self.errors.len();
        self.form(rule, schema, path);
        if rule.rule.trim().is_empty() {
            return None;
        }
        let old = match rule.optional_old_self {
            true => Type::Optional(std::sync::Arc::new(declared.ty.clone())),
            false => declared.ty.clone(),
        };
        let env = Environment::default().with("self", declared.ty.clone()).with("oldSelf", old);
        let program =
            self.compile(rule, &rule.rule, &env, &format!("{path}.rule"), "rule", declared, times)?;
        if !matches!(program.ty(), Type::Bool | Type::Dyn) {
            let text = "cel expression must evaluate to a bool";
            self.errors.push(about(rule, &format!("{path}.rule"), text));
        }
        let mut message = None;
        if !rule.message_expression.is_empty() {
            let path = format!("{path}.messageExpression");
            let found = self.compile(
                rule,
                &rule.message_expression,
                &env,
                &path,
                "messageExpression",
                declared,
                times,
            )?;
            if !matches!(found.ty(), Type::String(_) | Type::Dyn) {
                let text = "messageExpression must evaluate to a string";
                self.errors.push(about(rule, &path, text));
            }
            message = Some(found);
        }
        let about_change = program.uses("oldSelf") || message.as_ref().is_some_and(|m| m.uses("oldSelf"));
        if about_change && let Some(lost) = lost {
            let text =
                format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {lost}");
            self.errors.push(FieldError::invalid(&format!("{path}.rule"), &*rule.rule, text));
        }
        if rule.optional_old_self && !about_change {
            let text = "may not be set if oldSelf is not used in rule";
            self.errors.push(FieldError::invalid(&format!("{path}.optionalOldSelf"), true, text));
        }
        let whole = self.errors.len() == before;
        whole.then(|| Compiled { rule: rule.clone(), program, message, about_change })
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "two expressions of a rule that differ in nothing but names"
    )]
    fn compile(
        &mut self,
        rule: &Rule,
        expression: &str,
        env: &Environment,
        path: &str,
        what: &str,
        declared: &Declared,
        times: Option<u64>,
    ) -> Option<Program> {
        let program = match cel::compile(expression, env) {
            Ok(program) => program,
            Err(issue) => {
                let what = if what == "rule" {
                    "compilation failed"
                } else {
                    "messageExpression compilation failed"
                };
                let text = format!("{what}: {}", issue.print(expression));
                self.errors.push(about(rule, path, text));
                return None;
            }
        };
        let cost = program.cost().saturating_mul(times.unwrap_or_else(|| carried(declared.least)));
        self.total = self.total.saturating_add(cost);
        self.dearest.push((cost, path.to_owned()));
        if cost > RULE_LIMIT {
            let text = too_dear(&format!("estimated {what} cost"), cost, RULE_LIMIT);
            self.errors.push(FieldError::forbidden(path, format!("{text} {HINT}")));
        }
        Some(program)
    }

    /// Everything about a rule but its expressions.
    fn form(&mut self, rule: &Rule, schema: &Schema, path: &str) {
        const REASONS: [&str; 4] =
            ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
        let mut say = |error| self.errors.push(error);
        if rule.rule.trim().is_empty() {
            say(FieldError::required(&format!("{path}.rule"), "rule is not specified"));
        }
        if !rule.message.is_empty() && rule.message.trim().is_empty() {
            let text = "must be non-empty if specified";
            say(FieldError::invalid(&format!("{path}.message"), &*rule.message, text));
        }
        if rule.message.contains(['\n', '\r']) {
            let text = "must not contain line breaks";
            say(FieldError::invalid(&format!("{path}.message"), &*rule.message, text));
        }
        if rule.message.is_empty() && rule.message_expression.is_empty() && rule.rule.contains(['\n', '\r']) {
            let text = "message must be specified if rule contains line breaks";
            say(FieldError::required(&format!("{path}.message"), text));
        }
        if !rule.reason.is_empty() && !REASONS.contains(&&*rule.reason) {
            say(FieldError::not_supported(&format!("{path}.reason"), &*rule.reason, &REASONS));
        }
        if !rule.field_path.is_empty() {
            let found = fields(&rule.field_path)
                .and_then(|names| names.iter().try_fold(schema, |s, name| s.field(name)).map(|_| ()));
            if found.is_none() {
                let text = "must be a valid path";
                say(FieldError::invalid(&format!("{path}.fieldPath"), &*rule.field_path, text));
            }
        }
    }
}

/// An error about a rule, which Kubernetes shows in its internal form.
fn about(rule: &Rule, path: &str, text: impl Into<String>) -> FieldError {
    let quoted = |text: &str| {
        let json = Value::from(text).to_string();
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    };
    let reason = if rule.reason.is_empty() { "null".to_owned() } else { quoted(&rule.reason) };
    let optional = if rule.optional_old_self { "true" } else { "null" };
    let shown = format!(
        r#"{{"Rule":{},"Message":{},"MessageExpression":{},"Reason":{reason},"FieldPath":{},"OptionalOldSelf":{optional}}}"#,
        quoted(&rule.rule),
        quoted(&rule.message),
        quoted(&rule.message_expression),
        quoted(&rule.field_path),
    );
    FieldError::invalid(path, &*rule.rule, text).showing(shown)
}

/// The fields of a path as `.a.b` or `['a']`.
fn fields(path: &str) -> Option<Vec<String>> {
    Path::parse(path).ok()?.fields()
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
                        let before = self.path.len();
                        if before > 0 {
                            self.path.push('.');
                        }
                        self.path.push_str(name);
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
        };
        let shown = if new.is_object() || new.is_array() { None } else { Some(Shown::Value(new.clone())) };
        self.errors
            .push(FieldError { bad_value: shown, ..FieldError::invalid(&self.path, Value::Null, text) });
    }
}
