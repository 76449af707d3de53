//! What a validating policy says of a request: its validations, and what it wants to have in the audit log.

use serde_json::Value;

use super::{BUDGET, Conditions, Expression, Input, Matched, Returns, Run, Scope, Stopped, Variables};
use crate::cel::Val;
use crate::cel::rights::Answers;

/// The longest message that an expression may make, in bytes.
const LONGEST_MESSAGE: usize = 5 * 1024;

/// The compiled expressions of a validating policy.
#[derive(Debug)]
pub struct Checks {
    conditions: Conditions,
    variables: Variables,
    scope: Scope,
    all: Box<[Check]>,
    annotations: Box<[(Box<str>, Expression)]>,
    /// Whether what cannot be evaluated refuses the request.
    fails: bool,
}

#[derive(Debug)]
struct Check {
    expression: Expression,
    message: Box<str>,
    made: Option<Expression>,
    reason: Box<str>,
}

/// What came out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Validations that failed.
    pub denials: Vec<Denial>,
    /// Audit annotations by key. What could not be evaluated refuses the request, with these words.
    pub notes: Vec<(Box<str>, Result<String, String>)>,
}

/// A validation that failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Denial {
    /// Which one.
    pub index: usize,
    /// What the client is told.
    pub message: String,
    /// The reason of the refusal.
    pub reason: Box<str>,
}

impl Denial {
    fn error(index: usize, message: impl Into<String>) -> Self {
        Self { index, message: message.into(), reason: "Invalid".into() }
    }
}

impl Checks {
    /// Compiles the specification of a policy. What does not compile fails when it is evaluated.
    pub fn of(spec: &Value) -> Self {
        let list = |field: &str| spec[field].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
        let policy = text(spec, "failurePolicy");
        let scope = Scope { params: !spec["paramKind"].is_null(), authorizer: true, patches: false };
        let variables = Variables::of(list("variables"), scope);
        let compile = |text: &str, scope, returns| Expression::new(text, scope, Some(&variables), returns);
        let all = list("validations").iter().map(|item| {
            let made = text(item, "messageExpression");
            Check {
                expression: compile(&text(item, "expression"), scope, Returns::Bool),
                message: text(item, "message").trim().into(),
                made: (!made.is_empty())
                    .then(|| compile(&made, Scope { authorizer: false, ..scope }, Returns::Text)),
                reason: item["reason"].as_str().unwrap_or("Invalid").into(),
            }
        });
        let annotations = list("auditAnnotations").iter().map(|item| {
            let value = compile(&text(item, "valueExpression"), scope, Returns::TextOrNull);
            (text(item, "key").into(), value)
        });
        Self {
            all: all.collect(),
            annotations: annotations.collect(),
            conditions: Conditions::of(list("matchConditions"), &policy, scope.params, Some(&variables)),
            scope,
            fails: policy != "Ignore",
            variables,
        }
    }

    /// Judges a request.
    ///
    /// # Errors
    /// [`Stopped::Unanswered`], when rights have to be looked up first.
    pub fn judge(&self, input: &Input<'_>, answers: &Answers) -> Result<Verdict, Stopped> {
        let mut verdict = Verdict::default();
        match self.conditions.check(input, &self.variables, answers)? {
            Matched::Yes => {}
            Matched::No => return Ok(verdict),
            Matched::Error(text) => {
                verdict.denials.push(Denial::error(0, text));
                return Ok(verdict);
            }
        }
        let mut run = Run::new(input, self.scope, &self.variables, answers, BUDGET);
        for (index, check) in self.all.iter().enumerate() {
            match run.eval(&check.expression) {
                Ok(Ok(Val::Bool(true))) => {}
                Ok(Ok(_)) => verdict.denials.push(Denial {
                    index,
                    message: String::new(),
                    reason: check.reason.clone(),
                }),
                Ok(Err(error)) if self.fails => verdict.denials.push(Denial::error(index, error)),
                Ok(Err(_)) => {}
                Err(Stopped::Spent) => return Ok(self.spent(Stopped::Spent)),
                Err(unanswered) => return Err(unanswered),
            }
        }
        let left = run.left();
        // Messages and annotations are about what was found, and must not ask for rights.
        let scope = Scope { authorizer: false, ..self.scope };
        let mut messages = None;
        for denial in verdict.denials.iter_mut().filter(|d| d.message.is_empty()) {
            let check = &self.all[denial.index];
            let run = messages.get_or_insert_with(|| Run::new(input, scope, &self.variables, answers, left));
            denial.message = message(check, run);
        }
        let mut run = Run::new(input, scope, &self.variables, answers, BUDGET);
        for (key, value) in &self.annotations {
            let note = match run.eval(value) {
                Ok(Ok(Val::Text(text))) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
                Ok(Ok(Val::Text(_) | Val::Null)) => continue,
                Ok(Ok(other)) => Err(format!(
                    "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or \
                     null.",
                    value.text(),
                    other.kind()
                )),
                Ok(Err(error)) if self.fails => Err(error),
                Ok(Err(_)) => continue,
                Err(stopped) => return Ok(self.spent(stopped)),
            };
            verdict.notes.push((key.clone(), note));
        }
        Ok(verdict)
    }

    fn spent(&self, stopped: Stopped) -> Verdict {
        let denial = Denial::error(0, stopped.to_string());
        Verdict { denials: self.fails.then_some(denial).into_iter().collect(), notes: Vec::new() }
    }
}

fn message(check: &Check, run: &mut Run<'_>) -> String {
    let made = match check.made.as_ref().map(|made| run.eval(made)) {
        Some(Ok(Ok(Val::Text(made)))) => made.trim().to_owned(),
        Some(Err(stopped)) => return format!("failed messageExpression: {stopped}"),
        _ => String::new(),
    };
    if !made.is_empty() && made.len() <= LONGEST_MESSAGE && !made.contains('\n') {
        return made;
    }
    match &*check.message {
        "" => format!("failed expression: {}", check.expression.text().trim()),
        message => message.to_owned(),
    }
}
