//! Reviews: questions about identity and rights, asked as objects that are never stored.

use bytes::Bytes;
use dunlin_pki::jws::Token;
use serde_json::{Value, json};

use crate::admission::attributes::Operation;
use crate::admission::dynamic;
use crate::auth;
use crate::config::User;
use crate::failure::{Cause, Failure, Result};
use crate::handlers::decode;
use crate::model;
use crate::object::{at, list, map, text};
use crate::options;
use crate::reply::{self, Reply};
use crate::request::Asked;
use crate::server::Call;
use crate::time;

pub async fn answer(call: &mut Call, body: Bytes) -> Result<Reply> {
    let mut value = decode::body(call, &body)?;
    if call.resource.plural == "bindings" {
        return crate::subresource::binding::bind_named(call, value).await;
    }
    options::write("CreateOptions", &call.query)?;
    let resource = &call.resource.clone();
    let manager = call.manager();
    model::track(resource, None, &mut value, &manager, "");
    let mut rounds = dynamic::Rounds::default();
    while dynamic::mutate(call, Operation::Create, None, &mut value, &mut rounds).await? {}
    dynamic::validate(call, Operation::Create, None, &value).await?;
    let status = match &*resource.plural {
        "tokenreviews" => token(call, &value).await?,
        "selfsubjectreviews" => {
            map(&mut value, "metadata").insert("creationTimestamp".into(), json!(time::now()));
            json!({"userInfo": info(&call.user)})
        }
        "selfsubjectaccessreviews" => {
            check(&value, false)?;
            access(call, &call.user, &value).await?
        }
        "selfsubjectrulesreviews" => {
            let namespace = text(&value, &["spec", "namespace"]).to_owned();
            if namespace.is_empty() {
                return Err(Failure::bad_request("no namespace on request"));
            }
            value = model::empty(resource);
            value["apiVersion"] = json!(resource.api_version());
            value["kind"] = json!(resource.kind);
            rules(call, &namespace).await?
        }
        "subjectaccessreviews" | "localsubjectaccessreviews" => {
            check(&value, true)?;
            access(call, &subject(&value), &value).await?
        }
        _ => return Err(Failure::method_not_allowed()),
    };
    value["status"] = status;
    reply::value_in(201, &value, call.form)
}

/// Whether an access review asks one thing, of somebody if `of_subject`.
fn check(value: &Value, of_subject: bool) -> Result<()> {
    let spec = &value["spec"];
    let (resource, page) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut causes = Vec::new();
    if !resource.is_null() && !page.is_null() {
        let shown = json!({"Path": page["path"], "Verb": page["verb"]});
        let why = "cannot be specified in combination with resourceAttributes";
        causes.push(Cause::value("spec.nonResourceAttributes", &shown, why));
    }
    if resource.is_null() && page.is_null() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        causes.push(Cause::value("spec.resourceAttributes", &Value::Null, why));
    }
    if of_subject && text(spec, &["user"]).is_empty() && list(spec, &["groups"]).is_empty() {
        causes.push(Cause::value("spec.user", &json!(""), "at least one of user or group must be specified"));
    }
    if text(value, &["kind"]) == "LocalSubjectAccessReview" {
        let namespace = &resource["namespace"];
        if !page.is_null() {
            let shown = json!({"Path": page["path"], "Verb": page["verb"]});
            causes.push(Cause::value(
                "spec.nonResourceAttributes",
                &shown,
                "disallowed on this kind of request",
            ));
        } else if namespace.as_str().unwrap_or("") != text(value, &["metadata", "namespace"]) {
            let field = "spec.resourceAttributes.namespace";
            causes.push(Cause::value(field, namespace, "must match metadata.namespace"));
        }
    }
    if causes.is_empty() { Ok(()) } else { Err(Failure::refused("authorization.k8s.io", "", "", &causes)) }
}

fn info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn subject(value: &Value) -> User {
    let spec = &value["spec"];
    let groups: Vec<&str> = list(spec, &["groups"]).iter().filter_map(Value::as_str).collect();
    User::new(text(spec, &["user"]), &groups)
}

async fn token(call: &Call, value: &Value) -> Result<Value> {
    if text(value, &["spec", "token"]).is_empty() {
        return Err(Failure::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> =
        list(value, &["spec", "audiences"]).iter().filter_map(|a| a.as_str().map(str::to_owned)).collect();
    Ok(match auth::token(&call.server, text(value, &["spec", "token"]), &audiences).await {
        Ok(Some(mut user)) => {
            if !user.in_group("system:authenticated") {
                user.groups.push("system:authenticated".to_owned());
            }
            let api = &call.server.config.issuer_url;
            let asked = if audiences.is_empty() { vec![api.clone()] } else { audiences };
            let held = held(&user, text(value, &["spec", "token"]), api);
            let audiences: Vec<String> = asked.into_iter().filter(|one| held.contains(one)).collect();
            if audiences.is_empty() {
                return Ok(json!({"user": {}, "error": "invalid bearer token"}));
            }
            json!({"authenticated": true, "user": info(&user), "audiences": audiences})
        }
        Ok(None) => json!({"user": {}, "error": "invalid bearer token"}),
        Err(failure) if failure.code >= 500 => return Err(failure),
        Err(failure) => json!({"user": {}, "error": failure.message}),
    })
}

/// For whom a token is that was verified: tokens of service accounts say it, all others are for the API.
fn held(user: &User, token: &str, api: &str) -> Vec<String> {
    if auth::service_account::named(&user.name).is_some()
        && let Ok(token) = Token::parse(token)
        && let Ok(claims) = serde_json::from_slice::<Value>(&token.payload)
    {
        return list(&claims, &["aud"]).iter().filter_map(|a| a.as_str().map(str::to_owned)).collect();
    }
    vec![api.to_owned()]
}

async fn access(call: &Call, user: &User, value: &Value) -> Result<Value> {
    let own = |v: &Value, f: &str| Some(text(v, &[f]).to_owned()).filter(|t| !t.is_empty());
    let (asked, path) = if let Some(of) = at(value, &["spec", "resourceAttributes"]) {
        let asked = Asked {
            is_resource: true,
            group: text(of, &["group"]).to_owned(),
            version: text(of, &["version"]).to_owned(),
            namespace: own(of, "namespace"),
            resource: text(of, &["resource"]).to_owned(),
            name: own(of, "name"),
            sub: own(of, "subresource"),
            ..Asked::of_verb(text(of, &["verb"]))
        };
        (asked, String::new())
    } else {
        let of = &value["spec"]["nonResourceAttributes"];
        (Asked::of_verb(text(of, &["verb"])), text(of, &["path"]).to_owned())
    };
    let allowed = auth::allowed(&call.server, user, &asked, &path).await?;
    let mut status = json!({"allowed": allowed});
    if allowed && let Some(why) = auth::reason(&call.server, user, &asked, &path).await? {
        status["reason"] = json!(why);
    }
    Ok(status)
}

async fn rules(call: &Call, namespace: &str) -> Result<Value> {
    let (mut resources, mut others) = (Vec::new(), Vec::new());
    if call.user.in_group("system:masters")
        || call.user.name.starts_with("system:serviceaccount:kube-system:")
    {
        resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        others.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    for rule in call.server.rbac.policy().await?.of(&call.user, namespace) {
        if rule.urls.is_empty() { resources.push(rule.shown()) } else { others.push(rule.shown()) }
    }
    Ok(json!({"resourceRules": resources, "nonResourceRules": others, "incomplete": false}))
}
