//! Policies that judge a request. All of them are asked; of several refusals the first is told.

use std::collections::BTreeMap;

use dunlin_api::policy::{Checks, Denial};
use serde_json::{Value, json};

use super::{Binding, Compiled, Policy, View, namespace, params, refusal, sees};
use crate::admission::attributes::Attributes;
use crate::admission::expressions::Rights;
use crate::failure::{Failure, Result};
use crate::server::Call;

/// What the audit log is told of validations that failed.
const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";
const MOST_FAILURES: usize = 50;
/// The longest value of an audit annotation, in bytes.
const LONGEST_NOTE: usize = 10 * 1024;

/// What has been found so far.
#[derive(Default)]
struct Found {
    /// Message and reason of refusals.
    refusals: Vec<(String, Box<str>)>,
    /// Failed validations for the audit log.
    failures: Vec<String>,
}

/// Asks all policies that mean the request.
pub async fn run(call: &mut Call, all: &[Policy<Checks>], asked: &Attributes<'_>) -> Result<()> {
    if all.is_empty() || !sees(asked) {
        return Ok(());
    }
    let server = call.server.clone();
    let mut rights = Rights::default();
    let mut found = Found::default();
    let mut views: Vec<View<'_>> = Vec::new();
    let mut around = None;
    for Policy { compiled, bindings } in all {
        let form = match compiled.matcher.matches(&server, asked).await {
            Ok(Some(form)) => form,
            Ok(None) => continue,
            Err(failure) => {
                found.misconfigured(compiled, None, &failure.message);
                continue;
            }
        };
        let resource = match compiled.params.as_ref().map(|kind| params::resource(&server, kind)).transpose()
        {
            Ok(resource) => resource,
            Err(why) => {
                found.misconfigured(compiled, None, &why);
                continue;
            }
        };
        let mut notes: BTreeMap<Box<str>, Vec<String>> = BTreeMap::new();
        for binding in bindings {
            match binding.means(&server, asked).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(failure) => {
                    found.misconfigured(compiled, Some(binding), &failure.message);
                    continue;
                }
            }
            let params = params::collect(&server, resource.as_ref(), binding.params.as_ref(), asked).await;
            let params = match params {
                Ok(params) => params,
                Err(why) => {
                    found.misconfigured(compiled, Some(binding), &why);
                    continue;
                }
            };
            let known = views.iter().position(|view| view.form.kind == form.kind);
            let at = match known {
                Some(at) => at,
                None => {
                    views.push(View::of(&server, asked, &form).await?);
                    views.len() - 1
                }
            };
            if around.is_none() {
                around = Some(namespace(&server, asked).await?);
            }
            let around = around.as_ref().unwrap_or(&Value::Null);
            for params in &params {
                let input = views[at].input(around, params);
                let verdict = rights
                    .settle(&server, &asked.user, |answers| compiled.work.judge(&input, answers))
                    .await?;
                for denial in verdict.denials {
                    found.denied(call, compiled, binding, denial);
                }
                for (key, note) in verdict.notes {
                    match note {
                        Ok(mut text) => {
                            text.truncate(text.floor_char_boundary(LONGEST_NOTE));
                            let values = notes.entry(key).or_default();
                            if !values.contains(&text) {
                                values.push(text);
                            }
                        }
                        Err(why) => found.refuse(compiled, Some(binding), &why, "Invalid"),
                    }
                }
            }
        }
        let own =
            notes.into_iter().map(|(key, values)| (format!("{}/{key}", compiled.name), values.join(", ")));
        call.trail.annotate_all(own);
    }
    if !found.failures.is_empty() {
        found.failures.truncate(MOST_FAILURES);
        call.trail.annotate(FAILURES, format!("[{}]", found.failures.join(",")));
    }
    match found.refusals.first() {
        None => Ok(()),
        Some((message, reason)) => Err(refused(asked, message, reason)),
    }
}

fn refused(asked: &Attributes<'_>, message: &str, reason: &str) -> Failure {
    let mut failure = refusal(asked, message, &[message.to_owned()]);
    (failure.code, failure.reason) = match reason {
        "Forbidden" => (403, "Forbidden".into()),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge".into()),
        _ => (422, "Invalid".into()),
    };
    failure
}

impl Found {
    fn misconfigured(&mut self, policy: &Compiled<Checks>, binding: Option<&Binding>, why: &str) {
        if !policy.ignore {
            let what = if binding.is_some() { "binding" } else { "policy" };
            self.refuse(policy, binding, &format!("failed to configure {what}: {why}"), "Invalid");
        }
    }

    fn refuse(&mut self, policy: &Compiled<Checks>, binding: Option<&Binding>, why: &str, reason: &str) {
        let with = binding.map_or_else(String::new, |b| format!(" with binding '{}'", b.name));
        let message = format!("ValidatingAdmissionPolicy '{}'{with} denied request: {why}", policy.name);
        self.refusals.push((message, reason.into()));
    }

    /// Does what the binding wants to be done of a failed validation.
    fn denied(&mut self, call: &mut Call, policy: &Compiled<Checks>, binding: &Binding, denial: Denial) {
        for action in &binding.actions {
            match &**action {
                "Deny" => self.refuse(policy, Some(binding), &denial.message, &denial.reason),
                "Warn" => {
                    let warning = format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        policy.name, binding.name, denial.message
                    );
                    if !call.warnings.contains(&warning) {
                        call.warnings.push(warning);
                    }
                }
                _ => self.failures.push(format!(
                    r#"{{"message":{},"policy":{},"binding":{},"expressionIndex":{},"validationActions":{}}}"#,
                    json!(denial.message),
                    json!(policy.name),
                    json!(binding.name),
                    denial.index,
                    json!(binding.actions),
                )),
            }
        }
    }
}
