//! Admission policies: expressions of the cluster's administrators that judge a request, or change its object.
//!
//! A policy does nothing by itself: bindings say where it holds and with which params. Both are compiled when they are
//! written; a request then finds the policies and bindings that mean it, reads the params, and evaluates
//! ([`validating`], [`mutating`]). What the expressions come to is decided in `dunlin_api::policy`.

pub mod mutating;
mod params;
mod status;
pub mod validating;

use std::borrow::Cow;
use std::sync::Arc;

use dunlin_api::gvk::GroupVersionKind;
use dunlin_api::policy::{Checks, Input, Patches, namespace_object};
use serde_json::Value;

use crate::admission::attributes::Attributes;
use crate::admission::matching::{Form, Matcher};
use crate::admission::webhook::review;
use crate::failure::{Failure, Result};
use crate::object::{self, at, text};
use crate::resources::known;
use crate::server::Inner;
pub use status::report;

/// One policy with its bindings. `W` is what its expressions do.
#[derive(Debug)]
pub struct Policy<W> {
    compiled: Arc<Compiled<W>>,
    bindings: Box<[Binding]>,
}

/// What a policy says itself.
#[derive(Debug)]
struct Compiled<W> {
    /// Which object this was, and in which state.
    mark: (Box<str>, Box<str>),
    name: Box<str>,
    matcher: Matcher,
    /// The kind of its params, if it has any.
    params: Option<GroupVersionKind>,
    /// Whether a request goes on when the policy cannot be asked.
    ignore: bool,
    /// Whether a mutating policy is asked again when others changed the object after it.
    again: bool,
    work: W,
}

#[derive(Debug)]
struct Binding {
    name: Box<str>,
    /// `None`: wherever the policy holds.
    matcher: Option<Matcher>,
    params: Option<params::Reference>,
    /// `Deny`, `Warn`, `Audit`.
    actions: Box<[Box<str>]>,
}

/// Whether policies see a request: reviews are how rights are asked for, and a policy that refuses them could not be undone.
fn sees(asked: &Attributes<'_>) -> bool {
    !matches!(&*asked.resource.group, "authentication.k8s.io" | "authorization.k8s.io")
}

/// What can be made of the specification of a policy.
pub trait Work: Sized {
    fn of(spec: &Value) -> Self;
}

impl Work for Checks {
    fn of(spec: &Value) -> Self {
        Checks::of(spec)
    }
}

impl Work for Patches {
    fn of(spec: &Value) -> Self {
        Patches::of(spec)
    }
}

impl<W: Work> Policy<W> {
    /// The policies that are bound, by name. What has not changed is not compiled again.
    pub fn all(policies: &[Value], bindings: &[Value], before: &[Self]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for object in policies {
            let own = bindings.iter().filter(|b| text(b, &["spec", "policyName"]) == object::name(object));
            let mut bindings: Vec<Binding> = own.map(Binding::of).collect();
            if bindings.is_empty() {
                continue;
            }
            bindings.sort_by(|a, b| a.name.cmp(&b.name));
            let mark = (object::uid(object), text(object, &["metadata", "resourceVersion"]));
            let same = before.iter().map(|p| &p.compiled).find(|c| (&*c.mark.0, &*c.mark.1) == mark);
            let compiled = same.cloned().unwrap_or_else(|| Arc::new(Compiled::of(object)));
            all.push(Self { compiled, bindings: bindings.into() });
        }
        all.sort_by(|a, b| a.compiled.name.cmp(&b.compiled.name));
        all
    }
}

impl<W: Work> Compiled<W> {
    fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let kind = at(spec, &["paramKind"]).map(|kind| {
            let version = text(kind, &["apiVersion"]);
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            GroupVersionKind::new(group, version, text(kind, &["kind"]))
        });
        Self {
            mark: (object::uid(object).into(), text(object, &["metadata", "resourceVersion"]).into()),
            name: object::name(object).into(),
            matcher: Matcher::of_resources(&spec["matchConstraints"]),
            params: kind,
            ignore: text(spec, &["failurePolicy"]) == "Ignore",
            again: text(spec, &["reinvocationPolicy"]) == "IfNeeded",
            work: W::of(spec),
        }
    }
}

impl Binding {
    fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let actions = object::list(spec, &["validationActions"]);
        Self {
            name: object::name(object).into(),
            matcher: at(spec, &["matchResources"]).map(Matcher::of_resources),
            params: at(spec, &["paramRef"]).map(params::Reference::of),
            actions: actions.iter().filter_map(Value::as_str).map(Into::into).collect(),
        }
    }

    async fn means(&self, server: &Inner, asked: &Attributes<'_>) -> Result<bool> {
        match &self.matcher {
            Some(matcher) => Ok(matcher.matches(server, asked).await?.is_some()),
            None => Ok(true),
        }
    }
}

/// A request in the form that a policy names, as expressions see it.
struct View<'a> {
    form: Form,
    object: Cow<'a, Value>,
    old: Cow<'a, Value>,
    request: Value,
}

impl<'a> View<'a> {
    async fn of(server: &Inner, asked: &'a Attributes<'_>, form: &Form) -> Result<Self> {
        let show = async |value: Option<&'a Value>| -> Result<Cow<'a, Value>> {
            Ok(match value {
                None => Cow::Owned(Value::Null),
                Some(value) if form.kind == asked.kind => Cow::Borrowed(value),
                Some(value) => Cow::Owned(form.show(server, asked, value).await?),
            })
        };
        Ok(Self {
            object: show(asked.object.as_deref()).await?,
            old: show(asked.old).await?,
            request: review::facts(asked, form),
            form: form.clone(),
        })
    }

    fn input<'b>(&'b self, namespace: &'b Value, params: &'b Value) -> Input<'b> {
        Input { object: &self.object, old: &self.old, request: &self.request, namespace, params }
    }
}

/// `namespaceObject`: the namespace of a request, null for what is in none, or is one.
async fn namespace(server: &Inner, asked: &Attributes<'_>) -> Result<Value> {
    let itself = asked.kind.group.is_empty() && asked.kind.kind == "Namespace";
    if itself || asked.namespace.is_empty() {
        return Ok(Value::Null);
    }
    let resource = known("", "namespaces");
    let found = server.find(resource, "", &asked.namespace).await?;
    let found = found.ok_or_else(|| Failure::not_found(resource, &asked.namespace))?;
    Ok(namespace_object(&found.value))
}

/// A refusal in the name of a policy, with one cause for each of `all`.
fn refusal(asked: &Attributes<'_>, message: &str, all: &[String]) -> Failure {
    let object = asked.object.as_deref().unwrap_or(&Value::Null);
    let name = [&*asked.name, object::name(object), text(object, &["metadata", "generateName"])]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or("Unknown");
    let mut failure = Failure::forbidden(&asked.resource, name, message);
    if let Some(details) = &mut failure.details {
        details["causes"] = all.iter().map(|message| serde_json::json!({"message": message})).collect();
    }
    failure
}
