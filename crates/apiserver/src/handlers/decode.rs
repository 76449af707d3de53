//! From a request's body to an object: syntax, kind, types, unknown fields.

use bytes::Bytes;
use serde_json::Value;

use crate::failure::{Cause, Failure, Result};
use crate::handlers::protobuf;
use crate::model;
use crate::negotiate::Media;
use crate::resources::Resource;
use crate::server::Call;

/// Parses a body by its content type.
pub fn syntax(call: &mut Call, body: &Bytes) -> Result<Value> {
    let header = call.headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let (value, duplicate) = parse(Media::parse(header).kind, body)?;
    complain(call, duplicate)?;
    Ok(value)
}

/// Parses a body of a media type; gives back complaints about duplicate fields.
pub fn parse(media: &str, body: &[u8]) -> Result<(Value, Vec<String>)> {
    let yaml = match media {
        "" | "application/json" => false,
        "application/yaml" => true,
        "application/vnd.kubernetes.protobuf" => {
            let value = protobuf::decode(body).map_err(|e| Failure::bad_request(e.to_string()))?;
            return Ok((value, Vec::new()));
        }
        // curl's default; harmless, as the body still has to be JSON.
        "application/x-www-form-urlencoded" | "text/plain" => false,
        other => {
            return Err(Failure::unsupported(format!(
                "the body of the request was in an unknown format - accepted media types include: application/json, \
                 application/yaml; got {other:?}"
            )));
        }
    };
    if yaml {
        let text = std::str::from_utf8(body).map_err(|e| Failure::bad_request(format!("yaml: {e}")))?;
        let value = serde_saphyr::from_str(text);
        value.map(|v| (v, Vec::new())).map_err(|e| Failure::bad_request(format!("error parsing YAML: {e}")))
    } else {
        dunlin_api::decode::parse(body)
            .map_err(|e| Failure::bad_request(format!("couldn't get version/kind; json parse error: {e}")))
    }
}

/// Refuses, tells, or ignores what `fieldValidation` is about.
fn complain(call: &mut Call, complaints: Vec<String>) -> Result<()> {
    if complaints.is_empty() {
        return Ok(());
    }
    match call.query.get("fieldValidation").unwrap_or("Warn") {
        "Ignore" => {}
        "Strict" => {
            let resource = &call.resource;
            return Err(Failure::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
                resource.kind,
                resource.version,
                resource.kind,
                complaints.join(", ")
            )));
        }
        _ => call.warnings.extend(complaints),
    }
    Ok(())
}

/// An object of the resource, with its kind checked and its fields read by type.
pub fn object(call: &mut Call, mut value: Value) -> Result<Value> {
    let resource = call.resource.clone();
    if resource.custom.is_some() {
        same_kind(&resource, &value)?;
    }
    kind(&resource.group, &resource.version, &resource.kind, &mut value)?;
    typed(call, &resource, value)
}

/// Refuses a custom object of another kind or version as Kubernetes does, where that is a rule of the object.
fn same_kind(resource: &Resource, value: &Value) -> Result<()> {
    let mut causes = Vec::new();
    for (field, wanted) in [("apiVersion", resource.api_version()), ("kind", resource.kind.to_string())] {
        match value.get(field) {
            Some(Value::String(given)) if !given.is_empty() && *given != wanted => {
                causes.push(Cause::value(field, &value[field], &format!("must be {wanted}")));
            }
            _ => {}
        }
    }
    if causes.is_empty() {
        return Ok(());
    }
    let kind = value["kind"].as_str().unwrap_or(&resource.kind).to_owned();
    let named = Resource { kind: kind.into(), ..resource.clone() };
    Err(Failure::invalid(&named, crate::object::name(value), &causes))
}

/// Checks `apiVersion` and `kind`, and fills them in when both are missing.
pub fn kind(group: &str, version: &str, kind: &str, value: &mut Value) -> Result<()> {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let map = value.as_object_mut().ok_or_else(|| Failure::bad_request("the body is not an object"))?;
    for (field, expected) in [("apiVersion", api_version.as_str()), ("kind", kind)] {
        match map.get(field).and_then(Value::as_str) {
            None | Some("") => {
                map.insert(field.to_owned(), Value::String(expected.to_owned()));
            }
            Some(got) if got == expected => {}
            Some(got) => {
                return Err(Failure::bad_request(format!(
                    "the {} in the data ({got}) does not match the expected {} ({expected})",
                    if field == "kind" { "kind" } else { "API version" },
                    if field == "kind" { "kind" } else { "API version" },
                )));
            }
        }
    }
    Ok(())
}

/// Reads the fields by type; unknown ones are refused, told, or dropped as `fieldValidation` says.
pub fn typed(call: &mut Call, resource: &Resource, value: Value) -> Result<Value> {
    let (value, unknown) = model::decode(resource, value)?;
    complain(call, unknown)?;
    Ok(value)
}
