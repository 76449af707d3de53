//! Expressions of admission: what policies and the match conditions of webhooks can name, how they are compiled, and how
//! they are evaluated for one request.
//!
//! The objects of a request are values without types (`dyn`), so an expression is checked against the few variables that
//! have one: `request`, `namespaceObject`, `authorizer`, and the `variables` of its policy. What an expression costs is
//! not estimated; it is stopped when it has cost too much (KEP-3488, KEP-3962).
//!
//! Pure: rights that an expression asks for are the caller's to look up ([`crate::cel::rights`]).

mod checks;
mod conditions;
mod patches;
mod run;
pub mod typecheck;
mod types;

use crate::cel::types::{Opaque, Type};
use crate::cel::{self, Environment, Program};

pub use checks::{Checks, Denial, Verdict};
pub use conditions::{Conditions, Matched};
pub use patches::{Patch, Patches};
pub use run::{Input, Run, Stopped};
pub use types::{namespace_object, request_type};

/// What all expressions of a policy may cost for one request.
pub const BUDGET: u64 = 10_000_000;
/// What all conditions of a policy or a webhook may cost for one request.
pub const CONDITIONS_BUDGET: u64 = BUDGET / 4;

/// What an expression may name beside `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope {
    /// `params`.
    pub params: bool,
    /// `authorizer` and `authorizer.requestResource`.
    pub authorizer: bool,
    /// `Object{...}` and `JSONPatch{...}`.
    pub patches: bool,
}

/// What an expression has to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// Anything.
    Any,
    /// A boolean.
    Bool,
    /// A text.
    Text,
    /// A text, or null.
    TextOrNull,
    /// An apply configuration.
    Object,
    /// The operations of a JSON patch.
    Patch,
}

impl Returns {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Any => &[],
            Self::Bool => &["bool"],
            Self::Text => &["string"],
            Self::TextOrNull => &["string", "null_type"],
            Self::Object => &["Object"],
            Self::Patch => &["list(JSONPatch)"],
        }
    }
}

/// The variables of a policy, of which each may name those before it.
#[derive(Debug, Default)]
pub struct Variables(Vec<(Box<str>, Expression)>);

impl Variables {
    /// Compiles one more; gives back what is wrong with it.
    pub fn add(&mut self, name: &str, expression: &str, scope: Scope) -> Option<String> {
        let made = Expression::new(expression, scope, Some(self), Returns::Any);
        let wrong = made.program.as_ref().err().cloned();
        self.0.push((format!("variables.{name}").into(), made));
        wrong
    }

    /// Compiles the `variables` of a policy.
    pub fn of(list: &[serde_json::Value], scope: Scope) -> Self {
        let mut all = Self::default();
        for variable in list {
            let text = |field: &str| variable[field].as_str().unwrap_or_default();
            all.add(text("name"), text("expression"), scope);
        }
        all
    }
}

/// An expression, and what became of it.
#[derive(Debug)]
pub struct Expression {
    text: Box<str>,
    program: Result<Program, String>,
}

impl Expression {
    /// Compiles an expression. `variables` are those of its policy, `None` where there can be none.
    pub fn new(text: &str, scope: Scope, variables: Option<&Variables>, returns: Returns) -> Self {
        Self { text: text.into(), program: compile(text, scope, variables, returns) }
    }

    /// What is wrong with it, in Kubernetes' words.
    pub fn wrong(&self) -> Option<&str> {
        self.program.as_ref().err().map(String::as_str)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The name of a type as the result of an expression.
fn result_name(ty: &Type) -> String {
    if let Type::Null = ty { "null_type".to_owned() } else { ty.to_string() }
}

fn compile(
    text: &str,
    scope: Scope,
    variables: Option<&Variables>,
    returns: Returns,
) -> Result<Program, String> {
    let env = environment(scope, variables);
    let program =
        cel::compile(text, &env).map_err(|issue| format!("compilation failed: {}", issue.print(text)))?;
    let (wanted, found) = (returns.names(), result_name(program.ty()));
    if wanted.is_empty() || wanted.contains(&found.as_str()) {
        return Ok(program);
    }
    Err(match wanted {
        [one] => format!("must evaluate to {one} but got {found}"),
        all => format!("must evaluate to one of [{}] but got {found}", all.join(" ")),
    })
}

fn environment(scope: Scope, variables: Option<&Variables>) -> Environment {
    typed(Type::Dyn, Type::Dyn, scope, variables)
}

/// The environment in which objects and params have a type.
fn typed(object: Type, params: Type, scope: Scope, variables: Option<&Variables>) -> Environment {
    let mut env = Environment::default()
        .with("object", object.clone())
        .with("oldObject", object)
        .with("request", types::request_type().clone())
        .with("namespaceObject", types::namespace_type().clone());
    if scope.params {
        env = env.with("params", params);
    }
    if scope.authorizer {
        env = env
            .with("authorizer", Type::Opaque(Opaque::Authorizer))
            .with("authorizer.requestResource", Type::Opaque(Opaque::ResourceCheck));
    }
    if scope.patches {
        env = env.with_structure(types::apply_configuration()).with_structure(types::json_patch());
    }
    if let Some(variables) = variables {
        env = env.with("variables", types::variables(&variables.0));
        for (name, made) in &variables.0 {
            env = env.with(name, types::of_variable(made.program.as_ref().ok().map(Program::ty)));
        }
    }
    env
}

#[cfg(test)]
mod tests;
