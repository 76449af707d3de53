//! The Common Expression Language as Kubernetes speaks it: rules of custom resources, and admission policies.
//!
//! An expression is compiled against the types of its variables: what does not fit is refused with the words and the
//! place that clients of Kubernetes know, and what it can cost at most is estimated. A [`Program`] is then evaluated on
//! values, which are views of JSON, with a [`Budget`] from which every step is paid, so that no expression can hold up
//! the server whatever it is given. `docs/adr/0006` says why this is our own.
//!
//! Everything is pure; a program holds nothing but its expression. The language is that of cel-spec with the macros,
//! optionals and libraries of Kubernetes 1.36.

mod ast;
mod check;
pub mod duration;
mod eval;
mod functions;
mod lexer;
mod libraries;
mod parser;
pub mod rights;
pub mod types;
mod value;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use types::{Object, Type};
pub use value::{List, Map, Val};

/// Words that are no names, for the language may want them one day.
pub(crate) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// What an expression may name.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<(Box<str>, Type)>,
    structures: Vec<Arc<Object>>,
}

impl Environment {
    /// With one more variable. A name with a dot (`a.b`) goes before the field of that name of a variable `a`.
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.variables.push((name.into(), ty));
        self
    }

    /// With objects that can be written as `Name{field: value}`; those that are open as `Name.below{...}`, too.
    pub fn with_structure(mut self, object: Object) -> Self {
        self.structures.push(Arc::new(object));
        self
    }

    /// The type of what is written as `name{...}`.
    fn structure(&self, name: &str) -> Option<Arc<Object>> {
        let below = |object: &Object| {
            object.open && name.strip_prefix(&*object.name).is_some_and(|rest| rest.starts_with('.'))
        };
        match self.structures.iter().find(|s| s.name == name) {
            Some(object) => Some(object.clone()),
            None => self
                .structures
                .iter()
                .any(|s| below(s))
                .then(|| Arc::new(Object { name: name.to_owned(), fields: BTreeMap::new(), open: true })),
        }
    }
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// What.
    pub message: String,
    /// Where, in bytes.
    pub at: u32,
}

impl Issue {
    /// As Kubernetes prints it, with the line that is wrong and a mark below it.
    pub fn print(&self, expression: &str) -> String {
        let at = (self.at as usize).min(expression.len());
        let start = expression[..at].rfind('\n').map_or(0, |n| n + 1);
        let line = expression[..start].matches('\n').count() + 1;
        let column = expression[start..at].chars().count();
        let text = expression[start..].lines().next().unwrap_or_default();
        format!(
            "ERROR: <input>:{line}:{}: {}\n | {text}\n | {}^",
            column + 1,
            self.message,
            ".".repeat(column)
        )
    }
}

/// Why an evaluation came to no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// The expression has no value for what it was given.
    #[error("{0}")]
    Error(String),
    /// The budget was spent before the end.
    #[error("operation cancelled: actual cost limit exceeded")]
    Exhausted,
    /// It asked about rights that are not known yet: whoever evaluates looks them up and evaluates again
    /// ([`rights::Answers`]).
    #[error("somebody's rights were not looked up")]
    Unanswered,
}

/// What evaluations may cost; about a microsecond is a hundred.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u64,
    spent: u64,
}

impl Budget {
    /// What Kubernetes allows one evaluation.
    pub const CALL: u64 = 1_000_000;
    /// What Kubernetes allows all rules of one object together.
    pub const OBJECT: u64 = 10_000_000;

    /// A budget.
    pub fn new(units: u64) -> Self {
        Self { left: units, spent: 0 }
    }

    /// What was spent of it.
    pub fn spent(&self) -> u64 {
        self.spent
    }

    pub(crate) fn spend(&mut self, units: u64) -> Result<(), Failed> {
        self.spent = self.spent.saturating_add(units);
        match self.left.checked_sub(units) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Failed::Exhausted),
        }
    }
}

type Lazy<'a> = Box<dyn Fn() -> Result<Val<'a>, Failed> + 'a>;

/// The values of variables.
#[derive(Default)]
pub struct Bindings<'a> {
    values: BTreeMap<Box<str>, Val<'a>>,
    lazy: BTreeMap<Box<str>, Lazy<'a>>,
    programs: BTreeMap<Box<str>, &'a Program>,
    made: RefCell<BTreeMap<Box<str>, Result<Val<'a>, Failed>>>,
    spent: Cell<u64>,
}

impl<'a> Bindings<'a> {
    /// With the value of one more variable.
    pub fn with(mut self, name: &str, value: Val<'a>) -> Self {
        self.values.insert(name.into(), value);
        self
    }

    /// With a variable whose value is made when it is asked for.
    pub fn with_lazy(mut self, name: &str, make: impl Fn() -> Result<Val<'a>, Failed> + 'a) -> Self {
        self.lazy.insert(name.into(), Box::new(make));
        self
    }

    /// With a variable whose value is that of another expression, over the same variables. It is evaluated once, when
    /// it is asked for, on a budget of its own; what that cost is told by [`Bindings::take_spent`].
    pub fn with_program(mut self, name: &str, program: &'a Program) -> Self {
        self.programs.insert(name.into(), program);
        self
    }

    /// What expressions behind variables have cost since the last time that this was asked.
    pub fn take_spent(&self) -> u64 {
        self.spent.take()
    }

    fn get(&self, name: &str) -> Option<Result<Val<'a>, Failed>> {
        if let Some(value) = self.values.get(name) {
            return Some(Ok(value.clone()));
        }
        if let Some(make) = self.lazy.get(name) {
            return Some(make());
        }
        let program = self.programs.get(name)?;
        let known = self.made.borrow().get(name).cloned();
        Some(known.unwrap_or_else(|| self.make(name, program)))
    }

    fn make(&self, name: &str, program: &Program) -> Result<Val<'a>, Failed> {
        let mut budget = Budget::new(Budget::CALL);
        let made = program.eval(self, &mut budget);
        self.spent.set(self.spent.get().saturating_add(budget.spent()));
        if let Err(Failed::Unanswered) = made {
            return made;
        }
        let short = name.rsplit('.').next().unwrap_or(name);
        let made = made
            .map_err(|why| Failed::Error(format!("composited variable {short:?} fails to evaluate: {why}")));
        self.made.borrow_mut().insert(name.into(), made.clone());
        made
    }
}

/// An expression that fits its variables.
#[derive(Clone, Debug)]
pub struct Program {
    expr: ast::Expr,
    ty: Type,
    cost: u64,
}

impl Program {
    /// The type of its value.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// The most that an evaluation can cost, as far as the types tell.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Whether it names a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.expr.uses(variable)
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// When it has no value, or costs more than there is left.
    pub fn eval<'a>(&self, bindings: &Bindings<'a>, budget: &mut Budget) -> Result<Val<'a>, Failed> {
        eval::eval(&self.expr, bindings, budget)
    }
}

/// Compiles an expression.
///
/// # Errors
/// What is wrong with it, the first thing only.
pub fn compile(expression: &str, env: &Environment) -> Result<Program, Issue> {
    let dotted: Vec<&str> =
        env.variables.iter().map(|(name, _)| &**name).filter(|n| n.contains('.')).collect();
    let expr = parser::parse(expression, &dotted)?;
    let found = check::check(&expr, env)?;
    Ok(Program { expr, ty: found.ty, cost: found.cost })
}

#[cfg(test)]
mod tests;
