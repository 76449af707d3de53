//! Eviction: a deletion that a disruption budget may refuse for now.

use bytes::Bytes;
use dunlin_api::gvk::GroupVersionKind;
use dunlin_store::Expect;
use serde_json::{Value, json};

use crate::admission::attributes::Operation;
use crate::admission::dynamic;
use crate::failure::{Failure, Result, created};
use crate::handlers::delete::{self, Options};
use crate::handlers::{decode, prepare, storage};
use crate::model;
use crate::object::{self, int, list, map, text};
use crate::options;
use crate::reply::{self, Reply};
use crate::resources::known;
use crate::server::Call;
use crate::time;

fn kind() -> GroupVersionKind {
    GroupVersionKind::new("policy", "v1", "Eviction")
}

pub async fn evict(call: &mut Call, body: Bytes) -> Result<Reply> {
    options::write("CreateOptions", &call.query)?;
    let mut value = decode::object_of(call, &kind(), &body)?;
    prepare::namespace(call, &mut value)?;
    let manager = call.manager();
    dunlin_api::apply::track_update(&kind(), None, &mut value, &manager, "eviction", &time::now());
    let mut rounds = dynamic::Rounds::default();
    while dynamic::mutate(call, Operation::Create, None, &mut value, &mut rounds).await? {}
    dynamic::validate(call, Operation::Create, None, &value).await?;
    let pod = call.server.read(&call.resource, call.ns(), call.name()).await?.value;
    let mut options = value.get("deleteOptions").map_or_else(|| Ok(Options::default()), Options::of)?;
    options.dry_run |= call.dry_run();
    let over = matches!(text(&pod, &["status", "phase"]), "Succeeded" | "Failed" | "Pending")
        || !text(&pod, &["metadata", "deletionTimestamp"]).is_empty();
    if !over {
        spend(call, &pod, options.dry_run).await?;
        if !options.dry_run {
            tell(call, &options).await?;
        }
    }
    let (server, resource, name) = (call.server.clone(), call.resource.clone(), call.name().to_owned());
    delete::remove(&server, &resource, call.ns(), &name, &options, None).await?;
    reply::value_in(201, &created(), call.form)
}

/// Says on the pod that it is evicted, so that its owner can tell an eviction from a failure.
async fn tell(call: &Call, options: &Options) -> Result<()> {
    for _ in 0..8 {
        let stored = call.server.read(&call.resource, call.ns(), call.name()).await?;
        let mut pod = stored.value;
        if options.uid.as_deref().is_some_and(|uid| uid != object::uid(&pod)) {
            // Another pod of this name: the deletion will refuse it.
            return Ok(());
        }
        let conditions = map(&mut pod, "status").entry("conditions").or_insert_with(|| json!([]));
        let Some(conditions) = conditions.as_array_mut() else { return Ok(()) };
        conditions.retain(|c| text(c, &["type"]) != "DisruptionTarget");
        conditions.push(json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": time::now(),
        }));
        match call.server.save(&call.resource, Expect::Revision(stored.entry.revision), pod).await {
            Ok(_) => return Ok(()),
            Err(dunlin_store::Error::Conflict { .. }) => {}
            Err(error) => return Err(storage::failed(&call.resource, call.name(), error)),
        }
    }
    Err(Failure::modified(&call.resource, call.name()))
}

/// More granted evictions than this that were not carried out mean that nobody looks after the budget.
const MOST_DISRUPTED: usize = 2000;

/// Takes one disruption from the budget that covers the pod.
async fn spend(call: &Call, pod: &Value, dry_run: bool) -> Result<()> {
    let resource = known("policy", "poddisruptionbudgets");
    let all = call.server.all(resource, Some(call.ns())).await?;
    let covering: Vec<&Value> = all.iter().filter(|b| model::selects(&b["spec"]["selector"], pod)).collect();
    let [budget] = covering.as_slice() else {
        if covering.is_empty() {
            return Ok(());
        }
        return Err(Failure::internal(
            "this pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    };
    let name = object::name(budget).to_owned();
    for _ in 0..8 {
        let stored = call.server.read(resource, call.ns(), &name).await?;
        let mut value = stored.value;
        let seen = int(&value, &["status", "observedGeneration"]) >= int(&value, &["metadata", "generation"]);
        let allowed = int(&value, &["status", "disruptionsAllowed"]);
        let ready = list(pod, &["status", "conditions"])
            .iter()
            .any(|c| text(c, &["type"]) == "Ready" && text(c, &["status"]) == "True");
        let healthy =
            int(&value, &["status", "currentHealthy"]) >= int(&value, &["status", "desiredHealthy"]);
        let always = text(&value, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
        if !ready && (always || (healthy && int(&value, &["status", "desiredHealthy"]) > 0)) {
            return Ok(());
        }
        let forbidden = |why: &str| Failure::forbidden(resource, &name, why);
        if allowed < 0 {
            return Err(forbidden("pdb disruptions allowed is negative"));
        }
        let disrupted = value["status"]["disruptedPods"].as_object().map_or(0, serde_json::Map::len);
        if disrupted > MOST_DISRUPTED {
            return Err(forbidden(
                "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
            ));
        }
        if !seen {
            let text = format!("The disruption budget {name} is still being processed by the server.");
            return Err(refused(&text, 10));
        }
        if allowed == 0 {
            let (wanted, healthy) =
                (int(&value, &["status", "desiredHealthy"]), int(&value, &["status", "currentHealthy"]));
            let text = format!(
                "The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
            );
            // No time is named: the client decides when to ask again, as `kubectl drain` does.
            return Err(refused(&text, 0));
        }
        if dry_run {
            return Ok(());
        }
        let status = map(&mut value, "status");
        status.insert("disruptionsAllowed".into(), json!(allowed - 1));
        let disrupted = status.entry("disruptedPods").or_insert_with(|| json!({}));
        disrupted[object::name(pod)] = json!(time::now());
        match call.server.save(resource, Expect::Revision(stored.entry.revision), value).await {
            Ok(_) => return Ok(()),
            Err(dunlin_store::Error::Conflict { .. }) => {}
            Err(error) => return Err(storage::failed(resource, &name, error)),
        }
    }
    Err(Failure::modified(resource, &name))
}

/// `TooManyRequests`, after `seconds` worth another try if that is known.
fn refused(cause: &str, seconds: u32) -> Failure {
    let text = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut failure = Failure::too_many(text, seconds);
    let mut details = json!({"causes": [{"reason": "DisruptionBudget", "message": cause}]});
    if seconds > 0 {
        details["retryAfterSeconds"] = json!(seconds);
    }
    failure.details = Some(Box::new(details));
    failure
}
