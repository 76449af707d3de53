//! Policies that change an object: one after the other, each seeing what those before it made of it.
//!
//! As with webhooks there is a second round when anything changed, in which those are asked again that want to be
//! (`reinvocationPolicy: IfNeeded`) and were asked before.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use dunlin_api::patch;
use dunlin_api::policy::{Input, Matched, Patch, Patches};
use serde_json::Value;

use super::{Binding, Compiled, Policy, namespace, params, refusal, sees};
use crate::admission::attributes::{Attributes, Operation};
use crate::admission::expressions::Rights;
use crate::admission::matching::Form;
use crate::admission::webhook::internal;
use crate::admission::webhook::review::{self, Shown};
use crate::failure::Result;
use crate::model;
use crate::object;
use crate::resources::Resource;
use crate::server::{Call, Inner};

/// What the first round leaves for the second: which policies, bindings and params were asked and want to be again.
#[derive(Debug, Default)]
pub struct Rounds {
    asked: HashSet<String>,
}

/// A policy that is to be asked with one object of params.
struct Invocation<'p> {
    policy: &'p Compiled<Patches>,
    binding: &'p Binding,
    form: Form,
    params: Value,
}

impl Invocation<'_> {
    fn key(&self) -> String {
        let (namespace, name) = (object::namespace(&self.params), object::name(&self.params));
        format!("{}/{}/{namespace}/{name}", self.policy.name, self.binding.name)
    }
}

/// Why nothing came of a policy, in the order in which it is told.
#[derive(Default)]
struct Errors(Vec<(String, bool)>);

impl Errors {
    /// `invalid` errors come from an expression, others from what is configured around it.
    fn add(&mut self, policy: &Compiled<Patches>, binding: Option<&Binding>, why: &str, invalid: bool) {
        if policy.ignore {
            return;
        }
        let name = &policy.name;
        self.0.push(match binding {
            Some(binding) => {
                let binding = &binding.name;
                (format!("policy '{name}' with binding '{binding}' denied request: {why}"), invalid)
            }
            None => (format!("policy {name:?} denied request: {why}"), invalid),
        });
    }

    fn end(self, asked: &Attributes<'_>) -> Result<()> {
        let Some((first, invalid)) = self.0.first() else { return Ok(()) };
        let all: Vec<String> = self.0.iter().map(|(message, _)| message.clone()).collect();
        let mut failure = refusal(asked, first, &all);
        failure.message.clone_from(first);
        if *invalid {
            failure.reason = "Invalid".into();
        }
        Err(failure)
    }
}

/// Asks all policies that mean the request. Tells whether the object is another now.
pub async fn run(
    call: &mut Call,
    all: &[Policy<Patches>],
    asked: &mut Attributes<'_>,
    again: bool,
    rounds: &mut Rounds,
) -> Result<bool> {
    if all.is_empty() || asked.operation == Operation::Delete || !sees(asked) {
        return Ok(false);
    }
    let server = call.server.clone();
    let mut errors = Errors::default();
    let mut changed = false;
    let invocations = find(&server, all, asked, &mut errors).await;
    if !invocations.is_empty() {
        let around = namespace(&server, asked).await?;
        let mut rights = Rights::default();
        for invocation in invocations {
            let key = invocation.key();
            if again && !rounds.asked.contains(&key) {
                continue;
            }
            let Some(object) = asked.object.as_deref() else { continue };
            let shown = Shown::of(&server, asked, &invocation.form).await?;
            let made = mutate(&server, &invocation, asked, shown, &around, &mut rights, &mut errors).await?;
            let Some(made) = made else { continue };
            if invocation.policy.again {
                rounds.asked.insert(key);
            }
            if let Some(made) = made {
                let made = invocation.form.restore(&server, asked, made).await?;
                if made != *object {
                    changed = true;
                    asked.object = Some(Cow::Owned(made));
                }
            }
        }
    }
    errors.end(asked)?;
    Ok(changed)
}

async fn find<'p>(
    server: &Inner,
    all: &'p [Policy<Patches>],
    asked: &Attributes<'_>,
    errors: &mut Errors,
) -> Vec<Invocation<'p>> {
    let mut found = Vec::new();
    for Policy { compiled, bindings } in all {
        let policy: &'p Arc<Compiled<Patches>> = compiled;
        let form = match policy.matcher.matches(server, asked).await {
            Ok(Some(form)) => form,
            Ok(None) => continue,
            Err(failure) => {
                errors.add(policy, None, &format!("failed to configure policy: {}", failure.message), false);
                continue;
            }
        };
        let resource = policy.params.as_ref().map(|kind| params::resource(server, kind)).transpose();
        let resource: Option<Arc<Resource>> = match resource {
            Ok(resource) => resource,
            Err(why) => {
                errors.add(policy, None, &format!("failed to configure policy: {why}"), false);
                continue;
            }
        };
        for binding in bindings {
            let params = match binding.means(server, asked).await {
                Ok(false) => continue,
                Ok(true) => params::collect(server, resource.as_ref(), binding.params.as_ref(), asked).await,
                Err(failure) => Err(failure.message),
            };
            match params {
                Ok(params) => found.extend(params.into_iter().map(|params| Invocation {
                    policy,
                    binding,
                    form: form.clone(),
                    params,
                })),
                Err(why) => {
                    errors.add(policy, Some(binding), &format!("failed to configure binding: {why}"), false);
                }
            }
        }
    }
    found
}

/// Applies the patches of one policy. `None`: the request is not meant; `Some(None)`: it is, and nothing changed.
async fn mutate(
    server: &Inner,
    invocation: &Invocation<'_>,
    asked: &Attributes<'_>,
    shown: Shown,
    around: &Value,
    rights: &mut Rights,
    errors: &mut Errors,
) -> Result<Option<Option<Value>>> {
    let Invocation { policy, binding, form, params } = invocation;
    let request = review::facts(asked, form);
    let mut object = shown.object;
    let rest = Input { object: &Value::Null, old: &shown.old, request: &request, namespace: around, params };
    let matched = {
        let input = Input { object: &object, ..rest };
        rights.settle(server, &asked.user, |answers| policy.work.matches(&input, answers)).await?
    };
    match matched {
        Matched::Yes => {}
        Matched::No => return Ok(None),
        Matched::Error(why) => {
            errors.add(policy, Some(binding), &why, true);
            return Ok(None);
        }
    }
    let mut changed = false;
    for at in 0..policy.work.len() {
        let wanted = {
            let input = Input { object: &object, ..rest };
            rights.settle(server, &asked.user, |answers| policy.work.patch(at, &input, answers)).await?
        };
        let made = match wanted {
            Ok(wanted) => apply(form, &object, &wanted)?,
            Err(why) => Err(why),
        };
        match made {
            Ok(made) => {
                changed |= made != object;
                object = made;
            }
            Err(why) => errors.add(policy, Some(binding), &why, true),
        }
    }
    Ok(Some(changed.then_some(object)))
}

/// The patched object. The inner error is the policy's, the outer one is the end of the request.
fn apply(form: &Form, object: &Value, wanted: &Patch) -> Result<Result<Value, String>> {
    let made = match wanted {
        Patch::Apply(configuration) => {
            match model::overlay(&form.resource, &form.kind, object, configuration) {
                Ok(made) => made,
                Err(why) => return Ok(Err(format!("error applying patch: {why}"))),
            }
        }
        Patch::Json(operations) => match patch::json_patch(object, operations) {
            Ok(made) => made,
            // A test that fails means that there is nothing to do.
            Err(patch::Error::TestFailed) => return Ok(Ok(object.clone())),
            Err(patch::Error::Inapplicable(why)) => return Ok(Err(format!("JSON Patch: {why}"))),
            Err(why) => return Ok(Err(format!("JSON Patch: {why}"))),
        },
    };
    let (mut made, unknown) =
        model::decode_as(&form.resource, &form.kind, made).map_err(|failure| internal(&failure.message))?;
    if !unknown.is_empty() && form.resource.custom.is_none() {
        return Err(internal(&format!("strict decoding error: {}", unknown.join(", "))));
    }
    if form.kind == form.resource.gvk() {
        model::defaults(&form.resource, &mut made);
    } else {
        dunlin_api::defaults::apply(&form.kind, &mut made);
    }
    Ok(Ok(made))
}
