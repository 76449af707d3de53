//! Where the rules of the cluster's own administrators come in: webhooks and admission policies.
//!
//! Every write passes here twice. [`mutate`] comes after the built-in rules that change objects, and [`validate`] when the
//! object is known to be valid, before it takes its part of a quota. What is configured is compiled when it is written
//! ([`settle`]), so that a request without anything configured costs a look at one flag.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dunlin_api::policy::{Checks, Patches};
use serde_json::Value;

use crate::admission::attributes::{Attributes, Operation};
use crate::admission::policy::{self, Policy};
use crate::admission::webhook::{Configuration, mutating, validating};
use crate::failure::Result;
use crate::resources::{Resource, known};
use crate::server::{Call, Inner};

/// The group of what is configured.
pub const GROUP: &str = "admissionregistration.k8s.io";

/// Everything that is configured, compiled.
#[derive(Default)]
pub struct Registry {
    /// Whether there is anything.
    active: AtomicBool,
    rules: RwLock<Arc<Rules>>,
    settling: tokio::sync::Mutex<()>,
}

/// What is configured at one moment.
#[derive(Default)]
pub struct Rules {
    mutating: Vec<Arc<Configuration>>,
    validating: Vec<Arc<Configuration>>,
    changing: Vec<Policy<Patches>>,
    judging: Vec<Policy<Checks>>,
}

impl Rules {
    fn is_empty(&self) -> bool {
        self.mutating.is_empty()
            && self.validating.is_empty()
            && self.changing.is_empty()
            && self.judging.is_empty()
    }
}

/// What the first round of [`mutate`] leaves for the second.
#[derive(Debug, Default)]
pub struct Rounds {
    again: bool,
    webhooks: mutating::Rounds,
    policies: policy::mutating::Rounds,
}

impl Registry {
    fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Compiles what is configured, after a change of it.
pub async fn settle(server: &Inner) -> Result<()> {
    let _turn = server.dynamic.settling.lock().await;
    let before = server.dynamic.rules();
    let stored = async |plural| server.all(known(GROUP, plural), None).await;
    let policies = stored("validatingadmissionpolicies").await?;
    let rules = Rules {
        mutating: Configuration::all(&stored("mutatingwebhookconfigurations").await?, &before.mutating),
        validating: Configuration::all(&stored("validatingwebhookconfigurations").await?, &before.validating),
        changing: Policy::all(
            &stored("mutatingadmissionpolicies").await?,
            &stored("mutatingadmissionpolicybindings").await?,
            &before.changing,
        ),
        judging: Policy::all(&policies, &stored("validatingadmissionpolicybindings").await?, &before.judging),
    };
    let active = !rules.is_empty();
    *server.dynamic.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    server.dynamic.active.store(active, Ordering::Release);
    policy::report(server, &policies).await
}

/// Whether requests to a resource are to be judged at all. Configurations are not, lest one could not be taken back, and
/// neither are the heartbeats of nodes: a webhook that is down must not make all machines look lost.
pub fn concerns(call: &Call) -> bool {
    call.server.dynamic.active.load(Ordering::Acquire) && !is_exempt(&call.resource, call.ns())
}

fn is_exempt(resource: &Resource, namespace: &str) -> bool {
    resource.group == GROUP
        || (resource.is("coordination.k8s.io", "leases")
            && namespace == dunlin_api::names::namespace::NODE_LEASE)
}

/// Lets everything that is configured change an object. True means that something did, for the first time: the caller
/// completes the object, lets the built-in rules see it, and calls again with the same `rounds`.
pub async fn mutate(
    call: &mut Call,
    operation: Operation,
    old: Option<&Value>,
    object: &mut Value,
    rounds: &mut Rounds,
) -> Result<bool> {
    if !concerns(call) {
        return Ok(false);
    }
    let mut asked = Attributes::of(call, operation).about(Cow::Owned(std::mem::take(object)), old);
    let changed = change(call, &mut asked, rounds).await;
    *object = asked.object.take().map(Cow::into_owned).unwrap_or_default();
    Ok(changed? && !std::mem::replace(&mut rounds.again, true))
}

/// Judges a valid object before it is stored.
pub async fn validate(
    call: &mut Call,
    operation: Operation,
    old: Option<&Value>,
    object: &Value,
) -> Result<()> {
    if !concerns(call) {
        return Ok(());
    }
    let asked = Attributes::of(call, operation).about(Cow::Borrowed(object), old);
    judge(call, &asked).await
}

/// Both, for what is done at once: a deletion, a connection.
pub async fn review(call: &mut Call, mut asked: Attributes<'_>) -> Result<()> {
    let mut rounds = Rounds::default();
    if change(call, &mut asked, &mut rounds).await? {
        rounds.again = true;
        change(call, &mut asked, &mut rounds).await?;
    }
    judge(call, &asked).await
}

/// Policies first, then webhooks, as in Kubernetes. Tells whether the object is another now.
async fn change(call: &mut Call, asked: &mut Attributes<'_>, rounds: &mut Rounds) -> Result<bool> {
    let rules = call.server.dynamic.rules();
    let changed =
        policy::mutating::run(call, &rules.changing, asked, rounds.again, &mut rounds.policies).await?;
    Ok(mutating::run(call, &rules.mutating, asked, rounds.again, &mut rounds.webhooks).await? || changed)
}

/// Policies first, then webhooks.
async fn judge(call: &mut Call, asked: &Attributes<'_>) -> Result<()> {
    let rules = call.server.dynamic.rules();
    policy::validating::run(call, &rules.judging, asked).await?;
    validating::run(call, &rules.validating, asked).await
}
