//! Webhooks of admission: servers of the cluster's administrators that are asked before something is stored.
//!
//! What is configured (`MutatingWebhookConfiguration`, `ValidatingWebhookConfiguration`) is compiled once; a request then
//! finds the webhooks that mean it ([`Webhook::means`]), asks them ([`call`]), and goes on as they say ([`mutating`],
//! [`validating`]).

mod call;
pub mod mutating;
pub mod review;
pub mod validating;

use std::sync::Arc;
use std::time::Duration;

use dunlin_api::policy::{Conditions, Input, Matched, Variables};
use dunlin_api::review::Version;
use serde_json::{Value, json};

use crate::admission::attributes::Attributes;
use crate::admission::expressions::Rights;
use crate::admission::matching::{Form, Matcher};
use crate::failure::{Failure, Result};
use crate::object::{self, at, list, text};
use crate::outgoing::Target;
use crate::resources::Resource;
use crate::server::Inner;

/// The webhooks of one object.
#[derive(Debug)]
pub struct Configuration {
    /// Which object this was, and in which state.
    mark: (Box<str>, Box<str>),
    name: Box<str>,
    webhooks: Box<[Webhook]>,
}

/// One webhook, as it was configured.
#[derive(Debug)]
pub struct Webhook {
    configuration: Box<str>,
    name: Box<str>,
    matcher: Matcher,
    conditions: Conditions,
    target: Target,
    /// Whether a request goes on when the webhook cannot be asked.
    ignore: bool,
    /// Whether it may be asked again when others changed the object after it.
    again: bool,
    /// Whether it may be asked in a dry run.
    dry: bool,
    timeout: Duration,
    version: Version,
}

impl Configuration {
    /// The configurations in the order in which their webhooks are asked: by name. What has not changed is taken from
    /// `before`, with its open connections.
    pub fn all(objects: &[Value], before: &[Arc<Self>]) -> Vec<Arc<Self>> {
        let one = |object: &Value| {
            let mark = (object::uid(object), text(object, &["metadata", "resourceVersion"]));
            let same = before.iter().find(|c| (&*c.mark.0, &*c.mark.1) == mark);
            same.cloned().unwrap_or_else(|| Arc::new(Self::of(object)))
        };
        let mut all: Vec<_> = objects.iter().map(one).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn of(object: &Value) -> Self {
        let name = object::name(object);
        let webhooks = list(object, &["webhooks"]).iter().map(|hook| Webhook::of(name, hook)).collect();
        let mark = (object::uid(object).into(), text(object, &["metadata", "resourceVersion"]).into());
        Self { mark, name: name.into(), webhooks }
    }
}

/// All webhooks of configurations, in order.
fn webhooks(all: &[Arc<Configuration>]) -> impl Iterator<Item = (usize, &Webhook)> {
    all.iter().flat_map(|configuration| &configuration.webhooks).enumerate()
}

impl Webhook {
    fn of(configuration: &str, hook: &Value) -> Self {
        let policy = text(hook, &["failurePolicy"]);
        Self {
            configuration: configuration.into(),
            name: text(hook, &["name"]).into(),
            matcher: Matcher::of_webhook(hook),
            conditions: Conditions::of(list(hook, &["matchConditions"]), policy, false, None),
            target: Target::of(at(hook, &["clientConfig"]).unwrap_or(&Value::Null)),
            ignore: policy == "Ignore",
            again: text(hook, &["reinvocationPolicy"]) == "IfNeeded",
            dry: matches!(text(hook, &["sideEffects"]), "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(hook["timeoutSeconds"].as_u64().unwrap_or(10)),
            version: Version::of(list(hook, &["admissionReviewVersions"])),
        }
    }

    /// Whether the webhook means a request, and in which form it wants to see it.
    async fn means(
        &self,
        server: &Inner,
        asked: &Attributes<'_>,
        rights: &mut Rights,
    ) -> Result<Option<Form>> {
        let Some(form) = self.matcher.matches(server, asked).await? else { return Ok(None) };
        if self.conditions.is_empty() {
            return Ok(Some(form));
        }
        let shown = review::Shown::of(server, asked, &form).await?;
        let input = Input {
            object: &shown.object,
            old: &shown.old,
            request: &review::facts(asked, &form),
            namespace: &Value::Null,
            params: &Value::Null,
        };
        let matched =
            rights.matches(server, &asked.user, &self.conditions, &Variables::default(), &input).await?;
        match matched {
            Matched::Yes => Ok(Some(form)),
            Matched::No => Ok(None),
            Matched::Error(why) => Err(Failure::forbidden(&asked.resource, &asked.name, &why)),
        }
    }
}

/// A failure of ours, or of the webhook or policy, in the form in which Kubernetes tells it here.
pub fn internal(why: &str) -> Failure {
    let mut failure = Failure::internal(why);
    failure.details = Some(Box::new(json!({"causes": [{"message": why}]})));
    failure
}

/// Fits what a webhook made of an object to its kind, and completes it.
fn fit(resource: &Resource, form: &Form, mut value: Value) -> Result<Value> {
    let wrong = |why: &str| internal(why);
    crate::handlers::decode::kind(&form.kind, &mut value).map_err(|f| wrong(&f.message))?;
    if form.kind == resource.gvk() {
        let (mut value, _) = crate::model::decode(resource, value).map_err(|f| wrong(&f.message))?;
        crate::model::defaults(resource, &mut value);
        return Ok(value);
    }
    let decoded = dunlin_api::decode::decode_owned(&form.kind, value).map_err(|e| wrong(&e.to_string()))?;
    let mut value = decoded.value;
    dunlin_api::defaults::apply(&form.kind, &mut value);
    Ok(value)
}
