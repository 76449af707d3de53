//! Questions about rights: `authorizer.group('apps').resource('deployments').namespace('a').check('get').allowed()`.
//!
//! Who may do what is not known here, and to find out may take a while, whereas an evaluation never waits. So a question
//! that nobody has answered yet ends the evaluation ([`Failed::Unanswered`]) and is kept in [`Answers`]; whoever
//! evaluates looks the answer up and evaluates again. As a question costs a third of what an expression may, there are
//! few rounds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Failed;
use super::types::Opaque;
use super::value::Val;
use crate::validate::syntax;

/// Whether somebody may do something.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// Namespace and name of the service account that it is about; `None`: whoever makes the request.
    pub account: Option<(String, String)>,
    /// The path that it is about; `None`: a resource.
    pub path: Option<String>,
    /// The API group of the resource.
    pub group: String,
    /// The plural name of the resource.
    pub resource: String,
    /// The subresource; empty for none.
    pub subresource: String,
    /// The namespace; empty for none.
    pub namespace: String,
    /// The name of the object; empty for none.
    pub name: String,
    /// The field selector of a list; empty for none.
    pub fields: String,
    /// The label selector of a list; empty for none.
    pub labels: String,
    /// What shall be done.
    pub verb: String,
}

/// The answer.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// Why nobody can tell; empty when somebody can.
    pub error: String,
}

/// What is known of rights, and what was asked and is not known.
#[derive(Debug, Default)]
pub struct Answers {
    known: BTreeMap<Question, Arc<Decision>>,
    open: Mutex<Vec<Question>>,
}

impl Answers {
    /// The questions that ended evaluations, which are then forgotten.
    pub fn take_open(&mut self) -> Vec<Question> {
        std::mem::take(self.open.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers a question.
    pub fn tell(&mut self, question: Question, decision: Decision) {
        self.known.insert(question, Arc::new(decision));
    }

    /// Somebody whose rights can be asked for: whoever makes the request.
    pub fn authorizer(&self) -> Val<'_> {
        Val::Asking(Opaque::Authorizer, Arc::default(), self)
    }

    /// The question about a resource, to which only the verb is missing.
    pub fn resource(&self, question: Question) -> Val<'_> {
        Val::Asking(Opaque::ResourceCheck, Arc::new(question), self)
    }
}

type Answer<'a> = Option<Result<Val<'a>, Failed>>;

/// A call on a question that is not whole yet.
pub(super) fn ask<'a>(
    name: &str,
    what: Opaque,
    so_far: &Question,
    answers: &'a Answers,
    args: &[Val<'a>],
) -> Answer<'a> {
    let error = |text: &str| Some(Err(Failed::Error(text.to_owned())));
    let mut question = so_far.clone();
    let (next, slot) = match (what, name, args) {
        (Opaque::Authorizer, "serviceAccount", [Val::Text(namespace), Val::Text(name)]) => {
            if !syntax::dns_subdomain(name).is_empty() {
                return error("Invalid service account name");
            }
            if !syntax::dns_label(namespace).is_empty() {
                return error("Invalid service account namespace");
            }
            let account = Some((namespace.to_string(), name.to_string()));
            let question = Question { account, ..Question::default() };
            return Some(Ok(Val::Asking(Opaque::Authorizer, Arc::new(question), answers)));
        }
        (Opaque::Authorizer, "path", [Val::Text(path)]) if path.trim().is_empty() => {
            return error("path must not be empty");
        }
        (Opaque::GroupCheck, "resource", [Val::Text(resource)]) if resource.trim().is_empty() => {
            return error("resource must not be empty");
        }
        (Opaque::PathCheck | Opaque::ResourceCheck, "check", [Val::Text(verb)]) => {
            question.verb = verb.to_string();
            if let Some(known) = answers.known.get(&question) {
                return Some(Ok(Val::Decision(known.clone())));
            }
            answers.open.lock().unwrap_or_else(PoisonError::into_inner).push(question);
            return Some(Err(Failed::Unanswered));
        }
        (Opaque::Authorizer, "path", _) => (Opaque::PathCheck, question.path.get_or_insert_default()),
        (Opaque::Authorizer, "group", _) => (Opaque::GroupCheck, &mut question.group),
        (Opaque::GroupCheck, "resource", _) => (Opaque::ResourceCheck, &mut question.resource),
        (Opaque::ResourceCheck, "subresource", _) => (what, &mut question.subresource),
        (Opaque::ResourceCheck, "namespace", _) => (what, &mut question.namespace),
        (Opaque::ResourceCheck, "name", _) => (what, &mut question.name),
        (Opaque::ResourceCheck, "fieldSelector", _) => (what, &mut question.fields),
        (Opaque::ResourceCheck, "labelSelector", _) => (what, &mut question.labels),
        _ => return None,
    };
    let [Val::Text(text)] = args else { return None };
    *slot = text.to_string();
    Some(Ok(Val::Asking(next, Arc::new(question), answers)))
}

/// A call on an answer.
pub(super) fn decided<'a>(name: &str, decision: &Decision, args: &[Val<'a>]) -> Answer<'a> {
    if !args.is_empty() {
        return None;
    }
    Some(Ok(match name {
        "allowed" => Val::Bool(decision.allowed),
        "reason" => Val::text(decision.reason.as_str()),
        "error" => Val::text(decision.error.as_str()),
        "errored" => Val::Bool(!decision.error.is_empty()),
        _ => return None,
    }))
}
