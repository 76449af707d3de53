//! `serviceaccounts/x/token`: a token that dies with what it is bound to.

use bytes::Bytes;
use dunlin_api::gvk::GroupVersionKind;
use dunlin_pki::jwt::{Bound, Claims, Reference};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::admission::attributes::Operation;
use crate::admission::dynamic;
use crate::auth::node::{acts_for, node_of};
use crate::failure::{Cause, Failure, Result};
use crate::handlers::decode;
use crate::object::{self, at, list, text};
use crate::options;
use crate::reply::{self, Reply};
use crate::resources::known;
use crate::server::Call;
use crate::time;

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;
const SHORTEST: i64 = 600;

pub async fn request(call: &mut Call, body: Bytes) -> Result<Reply> {
    let kind = GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest");
    let mut value = decode::object_of(call, &kind, &body)?;
    options::write("CreateOptions", &call.query)?;
    dunlin_api::apply::track_update(&kind, None, &mut value, &call.manager(), "token", &time::now());
    let mut rounds = dynamic::Rounds::default();
    while dynamic::mutate(call, Operation::Create, None, &mut value, &mut rounds).await? {}
    let account = call.server.read(&call.resource, call.ns(), call.name()).await?.value;
    let seconds = match at(&value, &["spec", "expirationSeconds"]).and_then(Value::as_i64) {
        None => HOUR,
        Some(seconds) if seconds < SHORTEST => {
            let why = "may not specify a duration less than 10 minutes";
            let cause = Cause::value("spec.expirationSeconds", &json!(seconds), why);
            return Err(Failure::refused("authentication.k8s.io", "TokenRequest", "", &[cause]));
        }
        Some(seconds) => seconds.min(YEAR),
    };
    let mut audiences: Vec<String> =
        list(&value, &["spec", "audiences"]).iter().filter_map(|a| a.as_str().map(str::to_owned)).collect();
    if audiences.is_empty() {
        audiences.push(call.server.config.issuer_url.clone());
    }
    let now = Timestamp::now();
    value["spec"]["audiences"] = json!(audiences);
    value["spec"]["expirationSeconds"] = json!(seconds);
    value["metadata"]["name"] = json!(call.name());
    value["metadata"]["namespace"] = json!(call.ns());
    value["metadata"]["uid"] = json!(object::uid(&account));
    value["metadata"]["creationTimestamp"] = json!(time::seconds(now));
    dynamic::validate(call, Operation::Create, None, &value).await?;
    let mut bound = Bound {
        namespace: call.ns().to_owned(),
        serviceaccount: reference(&account),
        pod: None,
        secret: None,
        node: None,
    };
    bind(call, &value["spec"]["boundObjectRef"], &mut bound).await?;
    let end = now.checked_add(SignedDuration::from_secs(seconds)).map_err(Failure::internal)?;
    let claims = Claims {
        iss: call.server.config.issuer_url.clone(),
        sub: format!("system:serviceaccount:{}:{}", call.ns(), call.name()),
        aud: audiences.clone(),
        exp: end.as_second(),
        iat: now.as_second(),
        nbf: now.as_second(),
        jti: Some(object::new_uid()),
        kubernetes: bound,
    };
    if let Some(id) = &claims.jti {
        call.trail.annotate("authentication.kubernetes.io/issued-credential-id", format!("JTI={id}"));
    }
    let token = call.server.config.issuer.issue(&claims).map_err(Failure::internal)?;
    value["status"] = json!({"token": token, "expirationTimestamp": time::seconds(end)});
    reply::value_in(201, &value, call.form)
}

fn reference(value: &Value) -> Reference {
    Reference { name: object::name(value).to_owned(), uid: object::uid(value).to_owned() }
}

/// Binds the token to a pod (and its node) or a secret. A node gets tokens only for pods that it runs.
async fn bind(call: &Call, wanted: &Value, bound: &mut Bound) -> Result<()> {
    let name = text(wanted, &["name"]);
    let node = node_of(&call.user);
    let refuse = |why: &str| Failure::forbidden(&call.resource, call.name(), why);
    match text(wanted, &["kind"]) {
        "" if node.is_some() => Err(refuse("node requested token not bound to a pod")),
        "" => Ok(()),
        "Pod" => {
            let pod = call.server.read(known("", "pods"), call.ns(), name).await?.value;
            check(call, wanted, &pod)?;
            if text(&pod, &["spec", "serviceAccountName"]) != call.name() {
                let why = format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    call.name()
                );
                return Err(Failure::bad_request(why));
            }
            let runs_on = text(&pod, &["spec", "nodeName"]);
            if let Some(node) = node
                && !acts_for(&call.server, &call.user, node, runs_on).await?
            {
                return Err(refuse("node requested token bound to a pod scheduled on a different node"));
            }
            bound.pod = Some(reference(&pod));
            if !runs_on.is_empty()
                && let Some(node) = call.server.find(known("", "nodes"), "", runs_on).await?
            {
                bound.node = Some(reference(&node.value));
            }
            Ok(())
        }
        "Secret" if node.is_none() => {
            let secret = call.server.read(known("", "secrets"), call.ns(), name).await?.value;
            check(call, wanted, &secret)?;
            bound.secret = Some(reference(&secret));
            Ok(())
        }
        other => {
            let (group, version) =
                text(wanted, &["apiVersion"]).rsplit_once('/').unwrap_or(("", text(wanted, &["apiVersion"])));
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={other}");
            Err(Failure::bad_request(why))
        }
    }
}

fn check(call: &Call, wanted: &Value, found: &Value) -> Result<()> {
    let uid = text(wanted, &["uid"]);
    if uid.is_empty() || uid == object::uid(found) {
        return Ok(());
    }
    let why = format!(
        "the UID in the bound object reference ({uid}) does not match the UID in record. \
        The object might have been deleted and then recreated"
    );
    Err(Failure::conflict(&call.resource, text(wanted, &["name"]), &why))
}
