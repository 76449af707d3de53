//! Evaluating expressions for one request, one after the other, on one budget.

use serde_json::Value;

use super::{Expression, Scope, Variables};
use crate::cel::rights::{Answers, Question};
use crate::cel::types::Type;
use crate::cel::{Bindings, Budget, Failed, Val};

static DYN: Type = Type::Dyn;
static NULL: Value = Value::Null;

/// A request, as expressions see it. What there is not is null.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The object as it shall be.
    pub object: &'a Value,
    /// The object as it is.
    pub old: &'a Value,
    /// The `AdmissionRequest` without the objects.
    pub request: &'a Value,
    /// What [`super::namespace_object`] makes of the namespace.
    pub namespace: &'a Value,
    /// The object of the binding's `paramRef`.
    pub params: &'a Value,
}

impl Input<'_> {
    /// The resource of the request, as `authorizer.requestResource` asks about it.
    fn question(&self) -> Question {
        let text = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
        let resource = &self.request["requestResource"];
        Question {
            group: text(resource, "group"),
            resource: text(resource, "resource"),
            subresource: text(self.request, "requestSubResource"),
            namespace: text(self.request, "namespace"),
            name: text(self.request, "name"),
            ..Question::default()
        }
    }
}

/// Why evaluation ends before all expressions were evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// Rights have to be looked up: [`Answers::take_open`] has the questions. Evaluate all again then.
    #[error("somebody's rights were not looked up")]
    Unanswered,
    /// All together cost too much.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    Spent,
}

/// A row of evaluations that share variables and a budget.
pub struct Run<'a> {
    bindings: Bindings<'a>,
    left: u64,
}

impl<'a> Run<'a> {
    /// Begins. `scope` is that with which the expressions were compiled.
    pub fn new(
        input: &Input<'a>,
        scope: Scope,
        variables: &'a Variables,
        answers: &'a Answers,
        budget: u64,
    ) -> Self {
        // A view of JSON without a type cannot fail.
        let value = |v: &'a Value| Val::json(v, &DYN).unwrap_or(Val::Null);
        let mut bindings = Bindings::default()
            .with("object", value(input.object))
            .with("oldObject", value(input.old))
            .with("request", value(input.request))
            .with("namespaceObject", value(input.namespace))
            .with("params", value(if scope.params { input.params } else { &NULL }));
        if scope.authorizer {
            let question = input.question();
            bindings = bindings
                .with("authorizer", answers.authorizer())
                .with_lazy("authorizer.requestResource", move || Ok(answers.resource(question.clone())));
        }
        for (name, made) in &variables.0 {
            bindings = match &made.program {
                Ok(program) => bindings.with_program(name, program),
                Err(wrong) => {
                    let short = name.strip_prefix("variables.").unwrap_or(name);
                    let text = format!("composited variable {short:?} fails to compile: {wrong}");
                    bindings.with_lazy(name, move || Err(Failed::Error(text.clone())))
                }
            };
        }
        if !variables.0.is_empty() {
            // Nothing but `has(variables.x)` looks at the variables as a whole.
            let names = variables.0.iter().filter_map(|(name, _)| name.strip_prefix("variables."));
            let entries: Vec<(Val<'a>, Val<'a>)> =
                names.map(|name| (Val::Text(name.into()), Val::Null)).collect();
            bindings = bindings.with("variables", Val::Map(crate::cel::Map::Made(entries.into())));
        }
        Self { bindings, left: budget }
    }

    /// What is left to spend.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Evaluates one expression. The inner error is that of this expression alone, in Kubernetes' words.
    ///
    /// # Errors
    /// When none of the following expressions can be evaluated either.
    pub fn eval(&mut self, expression: &Expression) -> Result<Result<Val<'a>, String>, Stopped> {
        let program = match &expression.program {
            Ok(program) => program,
            Err(wrong) => return Ok(Err(format!("compilation error: {wrong}"))),
        };
        let mut budget = Budget::new(Budget::CALL);
        let result = program.eval(&self.bindings, &mut budget);
        for spent in [self.bindings.take_spent(), budget.spent()] {
            self.left = self.left.checked_sub(spent).ok_or(Stopped::Spent)?;
        }
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(Failed::Unanswered) => Err(Stopped::Unanswered),
            Err(failed) => Ok(Err(format!("expression '{}' resulted in error: {failed}", expression.text))),
        }
    }
}
