//! A webhook of admission that both sides call: what it answers is in the path of its URL.
//!
//! | path | answer |
//! |---|---|
//! | `allow`, `deny`, `deny-plain`, `deny-reason`, `deny-details` | yes, or no in several words |
//! | `echo` | no, and the request as the message |
//! | `warn` | yes, with warnings |
//! | `label/NAME` | yes, and a label of that name |
//! | `count` | yes, and a label that counts how often it was asked about the object |
//! | `image`, `wrong-type`, `rename`, `unknown-field`, `no-change` | yes, and such a change |
//! | `bad-patch`, `bad-pointer`, `untyped-patch`, `typed-nothing`, `odd-patch-type` | patches that break something |
//! | `bad-uid`, `no-kind`, `beta`, `odd-kind`, `no-response`, `text`, `list`, `empty` | answers that are none |
//! | `redirect`, `code/NNN`, `slow`, `hang-up` | no answer |

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dunlin_pki::{Authority, tls};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Longer than any test.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// Longer than the shortest patience of a caller.
const SLOW: Duration = Duration::from_secs(3);

type Reply = http::Response<Full<hyper::body::Bytes>>;

/// A running webhook. It ends with its runtime.
#[derive(Debug)]
pub struct Webhook {
    url: String,
    ca: String,
}

impl Webhook {
    /// Serves on any port of `address`, which must be one of the calling thread's network.
    ///
    /// # Errors
    /// When there is no certificate, or no port.
    pub async fn start(address: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::open_or_create(folder.path(), "webhooks")?;
        let identity = authority.issue_server(&[address.to_owned()], LIFE)?;
        let config = tls::server_config(authority.ca_pem(), &identity, &[b"http/1.1"])?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((address, 0)).await.context("a port for the webhook")?;
        let made = Self {
            url: format!("https://{}", listener.local_addr()?),
            ca: STANDARD.encode(authority.ca_pem()),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = hyper::service::service_fn(answer);
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(made)
    }

    /// What calls of the corpus may say.
    pub fn variables(&self) -> [(String, String); 2] {
        [("webhook".to_owned(), self.url.clone()), ("ca".to_owned(), self.ca.clone())]
    }
}

async fn answer(request: http::Request<hyper::body::Incoming>) -> Result<Reply> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let bytes = request.into_body().collect().await?.to_bytes();
    let plain = |code: u16, text: &str| {
        Ok(http::Response::builder().status(code).body(Full::from(text.to_owned()))?)
    };
    match path.split_once('/').unwrap_or((&path, "")) {
        ("code", code) => return plain(code.parse()?, "no such luck"),
        ("redirect", _) => {
            return Ok(http::Response::builder()
                .status(302)
                .header("location", "/allow")
                .body(Full::default())?);
        }
        ("text", _) => return plain(200, "hello"),
        ("list", _) => return plain(200, "[]"),
        ("empty", _) => return plain(200, ""),
        ("hang-up", _) => anyhow::bail!("as it was asked to"),
        ("slow", _) => tokio::time::sleep(SLOW).await,
        _ => {}
    }
    let review: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let body = review_of(&path, &review).to_string();
    Ok(http::Response::builder().header("content-type", "application/json").body(Full::from(body))?)
}

/// The answer to a review. Pure.
fn review_of(path: &str, review: &Value) -> Value {
    let request = &review["request"];
    let (name, rest) = path.split_once('/').unwrap_or((path, ""));
    let mut response = json!({"uid": request["uid"], "allowed": true});
    let mut kind = json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview"});
    let mut patch = |operations: Value| {
        response["patch"] = json!(STANDARD.encode(operations.to_string()));
        response["patchType"] = json!("JSONPatch");
    };
    match name {
        "label" => patch(label(request, rest, "yes")),
        "count" => {
            let before = request["object"]["metadata"]["labels"]["count"].as_str();
            let before: u32 = before.and_then(|text| text.parse().ok()).unwrap_or(0);
            patch(label(request, "count", &(before + 1).to_string()));
        }
        "image" => {
            patch(json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "changed:1"}]))
        }
        "wrong-type" => patch(json!([{"op": "add", "path": "/data", "value": {"a": 1}}])),
        "unknown-field" => patch(json!([{"op": "add", "path": "/odd", "value": 1}])),
        "rename" => patch(json!([{"op": "replace", "path": "/metadata/name", "value": "other"}])),
        "no-change" => patch(
            json!([{"op": "add", "path": "/metadata/name", "value": request["object"]["metadata"]["name"]}]),
        ),
        "bad-pointer" => patch(json!([{"op": "remove", "path": "/no/such/thing"}])),
        "bad-patch" => patch(json!("nonsense")),
        "odd-patch-type" => {
            patch(label(request, "odd", "yes"));
            response["patchType"] = json!("Odd");
        }
        "untyped-patch" => response["patch"] = json!(STANDARD.encode(label(request, "x", "y").to_string())),
        "typed-nothing" => response["patchType"] = json!("JSONPatch"),
        "warn" => response["warnings"] = json!(["mind the gap", "mind the \"quotes\""]),
        "bad-uid" => response["uid"] = json!("nobody"),
        "no-kind" => kind = json!({}),
        "odd-kind" => kind = json!({"apiVersion": "v1", "kind": "Pod"}),
        "beta" => kind["apiVersion"] = json!("admission.k8s.io/v1beta1"),
        "no-response" => return kind,
        _ => {}
    }
    let refused = match name {
        "deny" => Some(json!({"code": 403, "reason": "Forbidden", "message": "not today"})),
        "deny-plain" => Some(Value::Null),
        "deny-reason" => Some(json!({"reason": "Expired"})),
        "deny-details" => Some(json!({"code": 422, "message": "odd", "details": {"name": "n",
            "causes": [{"reason": "FieldValueInvalid", "field": "data", "message": "bad"}]}})),
        "echo" => Some(json!({"code": 403, "message": echo(review)})),
        _ => None,
    };
    if let Some(status) = refused {
        response["allowed"] = json!(false);
        if !status.is_null() {
            response["status"] = status;
        }
    }
    kind["response"] = response;
    kind
}

fn label(request: &Value, name: &str, value: &str) -> Value {
    if request["object"]["metadata"]["labels"].is_object() {
        return json!([{"op": "add", "path": format!("/metadata/labels/{name}"), "value": value}]);
    }
    json!([{"op": "add", "path": "/metadata/labels", "value": {name: value}}])
}

/// The review as text, without what two servers can never agree on.
fn echo(review: &Value) -> String {
    let mut shown = review.clone();
    let request = &mut shown["request"];
    request["userInfo"]["username"] = json!("SOMEBODY");
    request["userInfo"].as_object_mut().map(|info| info.remove("extra"));
    if let Some(audiences) = request["object"].pointer_mut("/spec/audiences").filter(|a| !a.is_null()) {
        *audiences = json!("THERE");
    }
    let mut generated = None;
    for object in ["object", "oldObject"] {
        let metadata = request[object].get_mut("metadata").and_then(Value::as_object_mut);
        let Some(metadata) = metadata else { continue };
        if let Some(prefix) = metadata.get("generateName").and_then(Value::as_str).map(str::to_owned) {
            metadata.insert("name".to_owned(), json!(format!("{prefix}RANDOM")));
            generated = Some(format!("{prefix}RANDOM"));
        }
        for field in ["uid", "resourceVersion", "managedFields", "creationTimestamp"] {
            if let Some(value) = metadata.get_mut(field).filter(|v| !v.is_null()) {
                *value = json!("THERE");
            }
        }
    }
    if let (Some(name), true) = (generated, request["name"].is_string()) {
        request["name"] = json!(name);
    }
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_added_to_those_that_are_there() {
        let review =
            |labels: Value| json!({"request": {"uid": "u", "object": {"metadata": {"labels": labels}}}});
        let patched = |review: &Value| {
            let answer = review_of("label/a", review);
            assert_eq!(answer["response"]["uid"], "u");
            let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
            serde_json::from_slice::<Value>(&patch).unwrap()
        };
        assert_eq!(
            patched(&review(json!({"b": "c"}))),
            json!([{"op": "add", "path": "/metadata/labels/a", "value": "yes"}])
        );
        assert_eq!(
            patched(&review(Value::Null)),
            json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "yes"}}])
        );
    }
}
