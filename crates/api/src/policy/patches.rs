//! What a mutating policy makes of an object: patches that its expressions come to.

use serde_json::{Value, json};

use super::{BUDGET, Conditions, Expression, Input, Matched, Returns, Run, Scope, Stopped, Variables};
use crate::cel::rights::Answers;
use crate::cel::{List, Map, Val};

/// The compiled expressions of a mutating policy.
#[derive(Debug)]
pub struct Patches {
    conditions: Conditions,
    variables: Variables,
    scope: Scope,
    all: Box<[(Returns, Expression)]>,
}

/// One change of an object.
#[derive(Debug, PartialEq)]
pub enum Patch {
    /// To be merged by field, as an apply does.
    Apply(Value),
    /// The operations of a JSON patch.
    Json(Value),
}

impl Patches {
    /// Compiles the specification of a policy. What does not compile fails when it is evaluated.
    pub fn of(spec: &Value) -> Self {
        let list = |field: &str| spec[field].as_array().map(Vec::as_slice).unwrap_or_default();
        let policy = spec["failurePolicy"].as_str().unwrap_or_default();
        let scope = Scope { params: !spec["paramKind"].is_null(), authorizer: true, patches: false };
        let variables = Variables::of(list("variables"), scope);
        let patches = Scope { patches: true, ..scope };
        let mutation = |item: &Value| {
            let (field, returns) = match item["patchType"].as_str() {
                Some("JSONPatch") => ("jsonPatch", Returns::Patch),
                _ => ("applyConfiguration", Returns::Object),
            };
            let text = item[field]["expression"].as_str().unwrap_or_default();
            (returns, Expression::new(text, patches, Some(&variables), returns))
        };
        Self {
            all: list("mutations").iter().map(mutation).collect(),
            conditions: Conditions::of(list("matchConditions"), policy, scope.params, Some(&variables)),
            scope: patches,
            variables,
        }
    }

    /// How many patches there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether the request is meant.
    ///
    /// # Errors
    /// [`Stopped::Unanswered`], when rights have to be looked up first.
    pub fn matches(&self, input: &Input<'_>, answers: &Answers) -> Result<Matched, Stopped> {
        self.conditions.check(input, &self.variables, answers)
    }

    /// One patch, for the object as those before it have left it. The inner error is to be told to the client.
    ///
    /// # Errors
    /// [`Stopped::Unanswered`], when rights have to be looked up first.
    pub fn patch(
        &self,
        at: usize,
        input: &Input<'_>,
        answers: &Answers,
    ) -> Result<Result<Patch, String>, Stopped> {
        let Some((returns, expression)) = self.all.get(at) else {
            return Ok(Err("there is no such mutation".into()));
        };
        if let Some(wrong) = expression.wrong() {
            return Ok(Err(wrong.to_owned()));
        }
        let mut run = Run::new(input, self.scope, &self.variables, answers, BUDGET);
        let value = match run.eval(expression) {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => return Ok(Err(error)),
            Err(Stopped::Spent) => return Ok(Err(Stopped::Spent.to_string())),
            Err(unanswered) => return Err(unanswered),
        };
        Ok(match returns {
            Returns::Patch => operations(&value).map(Patch::Json),
            _ => configuration(&value).map(Patch::Apply),
        })
    }
}

fn configuration(value: &Val<'_>) -> Result<Value, String> {
    let Val::Map(Map::Named(..)) = value else {
        let kind = value.kind();
        return Err(format!("unsupported return type from ApplyConfiguration expression: {kind}"));
    };
    named(value)?;
    value.to_json().ok_or_else(|| "invalid return type: a value has no form in JSON".to_owned())
}

/// Whether each `Object.a.b{}` stands at `a.b`.
fn named(value: &Val<'_>) -> Result<(), String> {
    let mut wrong = Vec::new();
    if let Val::Map(Map::Named(name, _)) = value {
        walk(value, name, &mut wrong);
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("type mismatch: {}", wrong.join("\n"))) }
}

fn walk(value: &Val<'_>, path: &str, wrong: &mut Vec<String>) {
    match value {
        Val::Map(Map::Named(name, fields)) => {
            if **name != *path {
                wrong.push(format!(
                    "unexpected type name {name:?}, expected {path:?}, which matches field name path from root Object type"
                ));
            }
            for (field, below) in fields.iter() {
                if let Val::Text(field) = field {
                    walk(below, &format!("{path}.{field}"), wrong);
                }
            }
        }
        Val::Map(Map::Made(entries)) => entries.iter().for_each(|(_, below)| walk(below, path, wrong)),
        Val::List(List::Made(items)) => items.iter().for_each(|item| walk(item, path, wrong)),
        _ => {}
    }
}

fn operations(value: &Val<'_>) -> Result<Value, String> {
    let Val::List(list) = value else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".into());
    };
    let items = list.items().map_err(|e| e.to_string())?;
    let operation = |item: &Val<'_>| -> Result<Value, String> {
        let Val::Map(Map::Named(name, fields)) = item else {
            return Err(
                "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch".into()
            );
        };
        if &**name != "JSONPatch" {
            return Err(format!(
                "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of {name}"
            ));
        }
        let mut made = json!({"op": "", "path": ""});
        for (field, value) in fields.iter() {
            let Val::Text(field) = field else { continue };
            if field == "value" {
                named(value)?;
            }
            made[&**field] = value
                .to_json()
                .ok_or("JSONPath valueExpression evaluated to a type that could not marshal to JSON")?;
        }
        Ok(made)
    };
    items.iter().map(operation).collect::<Result<Vec<Value>, String>>().map(Value::Array)
}
