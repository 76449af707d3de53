//! One look at one thing: what the parent wants, what is here, and the step from the one to the other.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use dunlin_api::names::{annotation, condition, reason};
use dunlin_node::PodRef;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use tokio::time::Instant;

use crate::below::{gone, mirror_of, only};
use crate::claims;
use crate::copies::NotYet;
use crate::plan::mirror::Expose;
use crate::plan::references::{self, Kind};
use crate::plan::{daemon, machine, mirror, place, status};
use crate::priority;
use crate::queue::Id;
use crate::uplink::{Machine, Shared};

/// Who writes below.
const MANAGER: &str = "dunlin-uplink";
/// How long copies stay after the last pod that named them: a successor often names the same.
const COLLECT: std::time::Duration = std::time::Duration::from_secs(10);

/// A look that has to be repeated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("asking the cluster's own API")]
    Child(#[source] kube::Error),
    #[error(transparent)]
    Copy(#[from] NotYet),
    #[error(transparent)]
    Claim(#[from] claims::Error),
    #[error("an older pod of the name {0} is still ending")]
    Name(String),
}

/// Looks at `id` and takes the next step.
pub async fn look(shared: &Shared, id: &Id) -> Result<(), Error> {
    match id {
        Id::Pod(uid) => pod(shared, uid).await,
        Id::Daemon(owner) => daemons(shared, owner).await,
        Id::Copies => collect(shared).await,
    }
}

/// Removes copies that no pod names any more.
async fn collect(shared: &Shared) -> Result<(), Error> {
    let (used, owners) = {
        let state = shared.lock();
        if !state.all_listed() || !state.daemons_known || !state.mirrors_known {
            shared.queue.at(Id::Copies, Instant::now() + COLLECT);
            return Ok(());
        }
        // Daemons below outlive the pod above that stands for them until its successor has come.
        if !state.orphaned.is_empty() {
            shared.queue.at(Id::Copies, Instant::now() + shared.config.successor);
            return Ok(());
        }
        let named = |pod: &Arc<Pod>| {
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            let spec = pod.spec.clone().unwrap_or_default();
            references::references(&spec).into_iter().map(move |reference| (namespace.clone(), reference))
        };
        let used: BTreeSet<_> = state.uppers.values().flat_map(named).collect();
        let daemons =
            state.uppers.values().filter_map(|pod| shared.daemon_owner(pod)).map(|owner| owner.uid.clone());
        let owners: HashSet<String> = state.uppers.keys().cloned().chain(daemons).collect();
        (used, owners)
    };
    shared.copies.collect(&used).await.map_err(Error::Child)?;
    shared.tokens.collect(&owners).await.map_err(Error::Child)
}

/// Nothing of what `owner` stood for is left here.
async fn release(shared: &Shared, owner: &str) {
    shared.copies.release(owner);
    shared.tokens.release(owner).await;
    shared.queue.at(Id::Copies, Instant::now() + COLLECT);
}

async fn pod(shared: &Shared, uid: &str) -> Result<(), Error> {
    let (upper, mirror, listed, refused, fenced) = {
        let state = shared.lock();
        if !state.mirrors_known {
            return Ok(());
        }
        let upper = state.uppers.get(uid).cloned();
        (
            upper,
            state.mirrors.get(uid).cloned(),
            state.all_listed(),
            state.refused.contains(uid),
            state.fenced.contains(uid),
        )
    };
    let Some(upper) = upper else {
        // Only the parent's word that a pod is gone ends it.
        if listed || fenced {
            if let Some(mirror) = mirror {
                return end(shared, &mirror, None).await;
            }
            release(shared, uid).await;
        }
        return Ok(());
    };
    if let Some(owner) = shared.daemon_owner(&upper) {
        shared.queue.push(Id::Daemon(owner.uid.clone()));
        return Ok(());
    }
    let reference = PodRef::of(&upper);
    if upper.metadata.deletion_timestamp.is_some() {
        return match mirror {
            Some(mirror) => {
                report(shared, &upper, &mirror);
                end(shared, &mirror, upper.metadata.deletion_grace_period_seconds).await
            }
            None => {
                release(shared, uid).await;
                shared.status.delete(&reference);
                Ok(())
            }
        };
    }
    if fenced && !refused && !matches!(phase(&upper), "Succeeded" | "Failed") {
        let text = "The cluster was out of its parent's reach for longer than dunlin.io/fence-after.";
        lost(shared, &upper, reason::FENCED, text.to_owned());
    }
    if refused || fenced || phase(&upper) == "Failed" && reason_of(&upper) == reason::CLUSTER_REFUSED {
        return match mirror {
            Some(mirror) => end(shared, &mirror, None).await,
            None => {
                release(shared, uid).await;
                Ok(())
            }
        };
    }
    match mirror {
        // Somebody here removes it, or something here was more important.
        Some(mirror) if mirror.metadata.deletion_timestamp.is_some() => {
            refuse(shared, &upper, "the pod was removed in the cluster".to_owned());
            Ok(())
        }
        Some(mirror) => {
            if let Some((since, why)) = status::unplaced_since(&mirror) {
                let waited = Timestamp::now().duration_since(since);
                let left = shared.config.unplaced.saturating_sub(waited.try_into().unwrap_or_default());
                if left.is_zero() {
                    refuse(shared, &upper, why);
                    return end(shared, &mirror, Some(0)).await;
                }
                shared.queue.at(Id::Pod(uid.to_owned()), Instant::now() + left);
            }
            let namespace = mirror.metadata.namespace.clone().unwrap_or_default();
            // What has become of the pod is told in any case, whether its copies are up to date or not.
            report(shared, &upper, &mirror);
            if matches!(phase(&upper), "Succeeded" | "Failed") {
                return Ok(());
            }
            let _names = needs(shared, uid, &upper, &namespace).await?;
            add_ephemeral(shared, &upper, &mirror).await
        }
        // It was here and ended without our doing: it has lost its place.
        None if was_placed(&upper) && matches!(phase(&upper), "Pending" | "Running" | "") => {
            refuse(shared, &upper, "the pod was removed in the cluster".to_owned());
            Ok(())
        }
        None if matches!(phase(&upper), "Succeeded" | "Failed") => Ok(()),
        None => create(shared, &upper).await,
    }
}

async fn create(shared: &Shared, upper: &Arc<Pod>) -> Result<(), Error> {
    let uid = PodRef::of(upper).uid;
    let namespace = namespace(shared, upper).await?;
    let names = needs(shared, &uid, upper, &namespace).await?;
    let machine = shared.lock().machine_of(upper).cloned();
    let claims = match claims(shared, upper, &namespace, machine.as_ref()).await {
        Err(claims::Error::Above(claim)) => {
            refuse(shared, upper, claims::Error::Above(claim).to_string());
            return Ok(());
        }
        other => other?,
    };
    let names = |kind: Kind, name: &str| match claims.get(name).filter(|_| kind == Kind::Claim) {
        Some(below) => below.clone(),
        None => names(kind, name),
    };
    let mut object = mirror::mirror(&shared.config.level, upper, &namespace, &names);
    prioritize(shared, upper, object.spec.as_mut()).await?;
    match machine {
        Some(to) => machine::bind(&mut object, upper, &to.name, to.is_cluster),
        // The machine has left meanwhile; the parent hears of that.
        None if shared.config.level.expose == Expose::Nodes => return Ok(()),
        None => {}
    }
    let api: Api<Pod> = Api::namespaced(shared.child.clone(), &namespace);
    match api
        .create(&PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() }, &object)
        .await
    {
        Ok(made) => {
            shared.lock().mirrors.entry(uid).or_insert_with(|| Arc::new(made));
            shared.fence.look();
            Ok(())
        }
        Err(kube::Error::Api(why)) if why.code == 409 && why.reason == "AlreadyExists" => {
            taken(shared, upper, &api, object).await
        }
        // The child's rules do not let it in, and would not the next time either.
        Err(kube::Error::Api(why)) if matches!(why.code, 400 | 403 | 422) && !is_unsettled(&why.message) => {
            refuse(shared, upper, why.message.clone());
            Ok(())
        }
        Err(error) => Err(Error::Child(error)),
    }
}

async fn prioritize(shared: &Shared, upper: &Pod, spec: Option<&mut PodSpec>) -> Result<(), Error> {
    if let (Some(upper), Some(spec)) = (&upper.spec, spec) {
        priority::set(shared, upper, spec, false).await.map_err(Error::Child)?;
    }
    Ok(())
}

/// Ephemeral containers are added to a pod that runs; they cannot be taken away again.
async fn add_ephemeral(shared: &Shared, upper: &Pod, mirror: &Pod) -> Result<(), Error> {
    let of =
        |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.clone()).unwrap_or_default();
    let (wanted, there) = (of(upper), of(mirror));
    if wanted.iter().all(|container| there.iter().any(|known| known.name == container.name)) {
        return Ok(());
    }
    let meta = &mirror.metadata;
    let api: Api<Pod> = Api::namespaced(shared.child.clone(), meta.namespace.as_deref().unwrap_or_default());
    let patch = Patch::Strategic(
        serde_json::json!({"metadata": {"uid": meta.uid}, "spec": {"ephemeralContainers": wanted}}),
    );
    let name = meta.name.as_deref().unwrap_or_default();
    api.patch_subresource("ephemeralcontainers", name, &PatchParams::default(), &patch)
        .await
        .map(drop)
        .map_err(Error::Child)
}

/// A namespace that was just made has no service account yet, and one that ends takes nothing.
fn is_unsettled(message: &str) -> bool {
    message.contains("error looking up service account") || message.contains("is being terminated")
}

/// The name is taken below: by a predecessor, which has to end first, or by something of the child's own.
async fn taken(shared: &Shared, upper: &Arc<Pod>, api: &Api<Pod>, mut object: Pod) -> Result<(), Error> {
    let name = object.metadata.name.clone().unwrap_or_default();
    let uid = PodRef::of(upper).uid;
    let there = api.get_opt(&name).await.map_err(Error::Child)?;
    let Some(there) = there else { return Err(Error::Name(name)) };
    let parent = Some(&shared.config.level.parent);
    let ours =
        there.metadata.labels.as_ref().and_then(|all| all.get(dunlin_api::names::label::MIRROR)) == parent;
    if ours {
        if mirror_of(&there.metadata) == Some(&uid) {
            shared.lock().mirrors.insert(uid, Arc::new(there));
            return Ok(());
        }
        if !shared.lock().uppers.contains_key(mirror_of(&there.metadata).map_or("", String::as_str)) {
            end(shared, &there, None).await?;
        }
        return Err(Error::Name(name));
    }
    object.metadata.name = Some(place::renamed(&name, &uid));
    if let Some(spec) = &mut object.spec {
        // Inside it is called what it is called at home.
        spec.hostname.get_or_insert(name.chars().take(63).collect());
    }
    let made = api.create(&PostParams::default(), &object).await.map_err(Error::Child)?;
    shared.lock().mirrors.insert(uid, Arc::new(made));
    Ok(())
}

/// Sees to what the pod names and to its tokens, for `owner`: the pod, or the DaemonSet it stands for. Gives the names
/// below.
async fn needs(
    shared: &Shared,
    owner: &str,
    upper: &Arc<Pod>,
    namespace: &str,
) -> Result<impl Fn(Kind, &str) -> String + use<>, Error> {
    let spec: PodSpec = upper.spec.clone().unwrap_or_default();
    shared.tokens.ensure(owner, upper, namespace);
    let wanted: BTreeSet<_> = references::references(&spec);
    let above = upper.metadata.namespace.as_deref().unwrap_or_default();
    let names = shared.copies.ensure(owner, above, namespace, &wanted).await?;
    Ok(move |kind: Kind, name: &str| {
        names.get(&(kind, name.to_owned())).cloned().unwrap_or_else(|| place::name(kind, name))
    })
}

/// The claims below that the pod uses, by their names above.
async fn claims(
    shared: &Shared,
    upper: &Pod,
    namespace: &str,
    machine: Option<&Machine>,
) -> Result<BTreeMap<String, String>, claims::Error> {
    let machine = machine.map(|machine| machine.name.as_str());
    let mut all = BTreeMap::new();
    for name in references::claims(upper) {
        let below = shared.claims.ensure(upper, &name, namespace, machine).await?;
        all.insert(name, below);
    }
    Ok(all)
}

async fn namespace(shared: &Shared, upper: &Pod) -> Result<String, Error> {
    let above = upper.metadata.namespace.as_deref().unwrap_or_default();
    let home = upper.metadata.annotations.as_ref().and_then(|all| all.get(annotation::HOME_NAMESPACE));
    shared.namespaces.ensure(above, home.map_or(above, String::as_str)).await.map_err(Error::Child)
}

/// Tells the parent what the mirror says.
fn report(shared: &Shared, upper: &Pod, mirror: &Pod) {
    let reference = PodRef::of(upper);
    let Some(now) = status::of_mirror(mirror, shared.config.level.expose, Timestamp::now()) else { return };
    // The parent judges by itself when it does not hear us; then it has to be told again.
    let is = |pod: Option<&k8s_openapi::api::core::v1::PodStatus>, kind: &str| {
        let conditions = pod.and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|c| c.type_ == kind && c.status == "True")
    };
    for kind in ["Ready", condition::DANGLING] {
        if is(upper.status.as_ref(), kind) != is(Some(&now), kind) {
            shared.status.doubt(&reference);
        }
    }
    shared.status.set(&reference, &now);
}

fn refuse(shared: &Shared, upper: &Pod, message: String) {
    lost(shared, upper, reason::CLUSTER_REFUSED, message);
}

/// The pod has no place here, any more or at all: it fails above, and its mirror ends.
fn lost(shared: &Shared, upper: &Pod, reason: &str, message: String) {
    let reference = PodRef::of(upper);
    tracing::info!(
        pod = reference.name,
        namespace = reference.namespace,
        message,
        "a pod of the parent has no place here"
    );
    let new = shared.lock().refused.insert(reference.uid.clone());
    shared.status.set(&reference, &status::refused(upper, reason, message));
    if new {
        shared.queue.push(Id::Pod(reference.uid));
    }
}

/// Ends a mirror, with its own grace or a shorter one.
async fn end(shared: &Shared, mirror: &Pod, grace: Option<i64>) -> Result<(), Error> {
    let meta = &mirror.metadata;
    let ending = meta.deletion_grace_period_seconds.filter(|_| meta.deletion_timestamp.is_some());
    if ending.is_some_and(|under_way| grace.is_none_or(|wanted| wanted >= under_way)) {
        return Ok(());
    }
    let api: Api<Pod> = Api::namespaced(shared.child.clone(), meta.namespace.as_deref().unwrap_or_default());
    let params =
        DeleteParams { grace_period_seconds: grace.and_then(|g| u32::try_from(g).ok()), ..only(meta) };
    gone(api.delete(meta.name.as_deref().unwrap_or_default(), &params).await).map_err(Error::Child)
}

async fn daemons(shared: &Shared, owner: &str) -> Result<(), Error> {
    let (pods, current, below, listed) = {
        let state = shared.lock();
        if !state.daemons_known {
            return Ok(());
        }
        let pods: Vec<Arc<Pod>> = state
            .uppers
            .values()
            .filter(|pod| daemon::owner(pod).is_some_and(|of| of.uid == owner))
            .cloned()
            .collect();
        let current =
            state.daemon_pod(owner).filter(|pod| pod.metadata.deletion_timestamp.is_none()).cloned();
        (pods, current, state.daemons.get(owner).cloned(), state.all_listed())
    };
    let ending: Vec<&Arc<Pod>> = pods.iter().filter(|p| p.metadata.deletion_timestamp.is_some()).collect();
    if let Some(current) = &current {
        shared.lock().orphaned.remove(owner);
        // The daemons go on under the successor.
        ending.iter().for_each(|pod| shared.status.delete(&PodRef::of(pod)));
        return keep_daemons(shared, owner, current, below).await;
    }
    if !listed {
        return Ok(());
    }
    let Some(below) = below else {
        release(shared, owner).await;
        shared.lock().orphaned.remove(owner);
        ending.iter().for_each(|pod| shared.status.delete(&PodRef::of(pod)));
        return Ok(());
    };
    if let Some(pod) = ending.first()
        && !owner_is_gone(shared, pod).await
    {
        // A successor is to be expected; the pods below wait for it and run on.
        shared.lock().orphaned.entry(owner.to_owned()).or_insert_with(Instant::now);
        ending.iter().for_each(|pod| shared.status.delete(&PodRef::of(pod)));
        return Ok(());
    }
    let since = ending
        .is_empty()
        .then(|| *shared.lock().orphaned.entry(owner.to_owned()).or_insert_with(Instant::now));
    if let Some(since) = since {
        let until = since + shared.config.successor;
        if Instant::now() < until {
            shared.queue.at(Id::Daemon(owner.to_owned()), until);
            return Ok(());
        }
    }
    remove_daemons(shared, &below).await
}

/// Whether the DaemonSet above is gone or going; when it cannot be asked, it is not.
async fn owner_is_gone(shared: &Shared, pod: &Pod) -> bool {
    let Some(owner) = daemon::owner(pod) else { return false };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<DaemonSet> = Api::namespaced(shared.parent.clone(), namespace);
    match api.get_opt(&owner.name).await {
        Ok(None) => true,
        Ok(Some(set)) => {
            set.metadata.uid.as_deref() != Some(&*owner.uid) || set.metadata.deletion_timestamp.is_some()
        }
        Err(_) => false,
    }
}

async fn keep_daemons(
    shared: &Shared,
    owner: &str,
    upper: &Arc<Pod>,
    below: Option<Arc<DaemonSet>>,
) -> Result<(), Error> {
    let Some(reference) = daemon::owner(upper) else { return Ok(()) };
    if let Some(claim) = references::claims(upper).first() {
        refuse(shared, upper, daemon::no_claims(claim));
        return Ok(());
    }
    let namespace = match &below {
        Some(below) => below.metadata.namespace.clone().unwrap_or_default(),
        None => namespace(shared, upper).await?,
    };
    let names = needs(shared, owner, upper, &namespace).await?;
    let mut object = daemon::daemon(&shared.config.level, upper, reference, &namespace, &names);
    if let Some(below) = &below {
        object.metadata.name.clone_from(&below.metadata.name);
    }
    let template = object.spec.as_mut().and_then(|set| set.template.spec.as_mut());
    prioritize(shared, upper, template).await?;
    let api: Api<DaemonSet> = Api::namespaced(shared.child.clone(), &namespace);
    let name = object.metadata.name.clone().unwrap_or_default();
    if below.is_none()
        && let Some(there) = api.get_opt(&name).await.map_err(Error::Child)?
        && mirror_of(&there.metadata).map(String::as_str) != Some(owner)
    {
        object.metadata.name = Some(place::renamed(&name, owner));
    }
    let name = object.metadata.name.clone().unwrap_or_default();
    let params = PatchParams::apply(MANAGER).force();
    let made = api.patch(&name, &params, &Patch::Apply(&object)).await.map_err(Error::Child)?;
    shared.status.set(&PodRef::of(upper), &status::of_daemon(upper, &made, Timestamp::now()));
    Ok(())
}

async fn remove_daemons(shared: &Shared, below: &DaemonSet) -> Result<(), Error> {
    let meta = &below.metadata;
    if meta.deletion_timestamp.is_some() {
        return Ok(());
    }
    let api: Api<DaemonSet> =
        Api::namespaced(shared.child.clone(), meta.namespace.as_deref().unwrap_or_default());
    let params = DeleteParams { preconditions: only(meta).preconditions, ..DeleteParams::foreground() };
    gone(api.delete(meta.name.as_deref().unwrap_or_default(), &params).await).map_err(Error::Child)
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn reason_of(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.reason.as_deref()).unwrap_or_default()
}

/// Whether the parent was told of a machine.
fn was_placed(upper: &Pod) -> bool {
    let conditions = upper.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == condition::PLACED && c.status == "True")
}
