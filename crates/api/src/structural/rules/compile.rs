//! Compiling the rules of a schema, and what is wrong with them.

use serde_json::Value;

use super::{Compiled, Rules, fields};
use crate::cel::types::Type;
use crate::cel::{self, Environment, Program};
use crate::structural::types::{Declared, carried, declare};
use crate::structural::{Additional, List, Rule, Schema};
use crate::validate::FieldError;

/// The most that one rule may cost for one object, by estimate.
const RULE_LIMIT: u64 = 10_000_000;
/// The most that all rules of a schema may cost together, by estimate.
const SCHEMA_LIMIT: u64 = 100_000_000;
/// So many rules are named when all together cost too much.
const DEAREST: usize = 4;
/// What is wrong with the rules of a schema that stands at `path` of a definition.
pub(super) fn errors(schema: &Schema, path: &str) -> Vec<FieldError> {
    let mut compiler = Compiler::default();
    compiler.place(schema, path, Some(1), None, true);
    if compiler.total > SCHEMA_LIMIT {
        compiler.dearest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (_, path) in compiler.dearest.iter().filter(|(cost, _)| *cost > 0).take(DEAREST) {
            let text =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            compiler.errors.push(FieldError::forbidden(path, text));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let text = too_dear(what, compiler.total, SCHEMA_LIMIT);
        compiler.errors.push(FieldError::forbidden(path, format!("{text} {HINT}")));
    }
    compiler.errors
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
pub(super) struct Compiler {
    errors: Vec<FieldError>,
    total: u64,
    /// What each expression costs, and where it is.
    dearest: Vec<(u64, String)>,
}

impl Compiler {
    /// `times` is how often the place can occur in an object, if that is known; `lost` is where on the way identities
    /// were lost.
    pub(super) fn place(
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
