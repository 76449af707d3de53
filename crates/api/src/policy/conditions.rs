//! Match conditions: which requests a policy or a webhook is about, beside its rules and selectors.

use serde_json::Value;

use super::{CONDITIONS_BUDGET, Expression, Input, Returns, Run, Scope, Stopped, Variables};
use crate::cel::Val;
use crate::cel::rights::Answers;

/// The compiled `matchConditions` of a policy or a webhook.
#[derive(Debug)]
pub struct Conditions {
    all: Box<[Expression]>,
    scope: Scope,
    /// Whether a condition that comes to nothing refuses the request (`failurePolicy: Fail`).
    fails: bool,
}

/// What conditions say about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matched {
    /// It is meant.
    Yes,
    /// It is not.
    No,
    /// Nobody can tell, and the request is to be refused for that, with these words.
    Error(String),
}

impl Conditions {
    /// Compiles the items of `matchConditions`. A webhook has no params and no variables.
    pub fn of(list: &[Value], failure_policy: &str, params: bool, variables: Option<&Variables>) -> Self {
        let scope = Scope { params, authorizer: true, patches: false };
        let compile = |condition: &Value| {
            Expression::new(
                condition["expression"].as_str().unwrap_or_default(),
                scope,
                variables,
                Returns::Bool,
            )
        };
        Self { all: list.iter().map(compile).collect(), scope, fails: failure_policy != "Ignore" }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether the request is meant. One condition that says no decides, whatever becomes of the others.
    ///
    /// # Errors
    /// [`Stopped::Unanswered`], when rights have to be looked up first.
    pub fn check(
        &self,
        input: &Input<'_>,
        variables: &Variables,
        answers: &Answers,
    ) -> Result<Matched, Stopped> {
        if self.all.is_empty() {
            return Ok(Matched::Yes);
        }
        // Kubernetes shows conditions no namespace.
        let input = Input { namespace: &Value::Null, ..*input };
        let mut run = Run::new(&input, self.scope, variables, answers, CONDITIONS_BUDGET);
        let mut errors: Vec<String> = Vec::new();
        for condition in &self.all {
            match run.eval(condition) {
                Ok(Ok(Val::Bool(false))) => return Ok(Matched::No),
                Ok(Ok(_)) => {}
                Ok(Err(error)) if errors.contains(&error) => {}
                Ok(Err(error)) => errors.push(error),
                Err(Stopped::Unanswered) => return Err(Stopped::Unanswered),
                Err(spent) => return Ok(self.failed(spent.to_string())),
            }
        }
        Ok(match errors.as_slice() {
            [] => Matched::Yes,
            [one] => self.failed(one.clone()),
            all => self.failed(format!("[{}]", all.join(", "))),
        })
    }

    fn failed(&self, error: String) -> Matched {
        if self.fails { Matched::Error(error) } else { Matched::No }
    }
}
