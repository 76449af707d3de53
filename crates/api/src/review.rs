//! `AdmissionReview` as a webhook answers it: read, and held against what was asked.

use base64::Engine;
use serde_json::Value;

use crate::decode::{self, VERSION_AND_KIND};
use crate::patch::not_an;

/// The group of reviews.
pub const GROUP: &str = "admission.k8s.io";
/// Their kind.
pub const KIND: &str = "AdmissionReview";

/// The version of the review that is spoken with a webhook. Both have the same form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `v1`.
    V1,
    /// `v1beta1`.
    V1beta1,
}

impl Version {
    /// The first of the webhook's versions that is known.
    pub fn of(versions: &[Value]) -> Self {
        let known = versions.iter().find(|v| *v == "v1" || *v == "v1beta1");
        if known.is_some_and(|v| v == "v1beta1") { Self::V1beta1 } else { Self::V1 }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1beta1 => "v1beta1",
        }
    }
}

/// What a webhook answered.
#[derive(Debug, Default)]
pub struct Response {
    /// Whether the request may go on.
    pub allowed: bool,
    /// The `metav1.Status` of a refusal, null if it gave none.
    pub status: Value,
    /// A JSON patch, as it came.
    pub patch: Vec<u8>,
    /// How `patch` is meant.
    pub patch_type: String,
    /// For the audit log.
    pub annotations: Vec<(String, String)>,
    /// For the client.
    pub warnings: Vec<String>,
}

/// Reads the answer to the request `uid`.
///
/// # Errors
/// The outer one says why it is none at all, the inner one what it breaks of the protocol.
pub fn read(
    version: Version,
    uid: &str,
    mutating: bool,
    body: &[u8],
) -> Result<Result<Response, String>, String> {
    let (value, _) =
        decode::parse(body).map_err(|e| format!("couldn't get version/kind; json parse error: {e}"))?;
    let kind = identify(version, &value)?;
    let response = &value["response"];
    if response.is_null() {
        return Ok(Err("webhook response was absent".to_owned()));
    }
    let (read, given) = fields(response)?;
    if version == Version::V1 {
        if given != uid {
            return Ok(Err(format!("expected response.uid={uid:?}, got {given:?}")));
        }
        let wanted = format!("{GROUP}/v1, Kind={KIND}");
        if kind != wanted {
            return Ok(Err(format!("expected webhook response of {wanted}, got {kind}")));
        }
        return Ok(check(&read, mutating, response["patchType"].is_string()).map(|()| read));
    }
    let patch_type = if read.patch.is_empty() { String::new() } else { "JSONPatch".to_owned() };
    Ok(Ok(Response { patch_type, ..read }))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The kind of the answer as it says it; another one that is named is refused.
fn identify(version: Version, value: &Value) -> Result<String, String> {
    if !value.is_object() {
        let why = not_an(value, VERSION_AND_KIND);
        return Err(format!("couldn't get version/kind; json parse error: {why}"));
    }
    let (api_version, kind) = (text(value, "apiVersion"), text(value, "kind"));
    let (group, found) = api_version.split_once('/').unwrap_or(("", api_version));
    if kind.is_empty() && api_version.is_empty() {
        return Ok("/, Kind=".to_owned());
    }
    let own = format!("{GROUP}/{}", version.name());
    if (kind == KIND || kind.is_empty()) && (api_version == own || api_version.is_empty()) {
        return Ok(format!("{group}/{found}, Kind={kind}"));
    }
    if kind == KIND && group == GROUP && matches!(found, "v1" | "v1beta1") {
        return Err(format!(
            "converting ({found}.{KIND}) to ({}.{KIND}): unknown conversion",
            version.name()
        ));
    }
    Err(format!(
        "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:111\""
    ))
}

/// The fields of a response, and its uid.
fn fields(response: &Value) -> Result<(Response, String), String> {
    let wrong = |field: &str, ty: &str| {
        Err(format!(
            "json: cannot unmarshal the field AdmissionReview.response.{field}: it is not of type {ty}"
        ))
    };
    let own = |field: &str| match &response[field] {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        _ => wrong(field, "string").map(|()| String::new()),
    };
    if !response.is_object() {
        return wrong("", "AdmissionResponse").map(|()| Default::default());
    }
    let mut read = Response { patch_type: own("patchType")?, ..Response::default() };
    match &response["allowed"] {
        Value::Null => {}
        Value::Bool(allowed) => read.allowed = *allowed,
        _ => wrong("allowed", "bool")?,
    }
    match &response["status"] {
        Value::Null => {}
        status @ Value::Object(_) => read.status = status.clone(),
        _ => wrong("status", "Status")?,
    }
    let patch = own("patch")?;
    read.patch = base64::engine::general_purpose::STANDARD
        .decode(patch.as_bytes())
        .map_err(|e| format!("illegal base64 data in response.patch: {e}"))?;
    match &response["auditAnnotations"] {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                let Some(value) = value.as_str() else {
                    return wrong("auditAnnotations", "string").map(|()| Default::default());
                };
                read.annotations.push((key.clone(), value.to_owned()));
            }
        }
        _ => wrong("auditAnnotations", "map[string]string")?,
    }
    match &response["warnings"] {
        Value::Null => {}
        Value::Array(list) => {
            for item in list {
                let Some(item) = item.as_str() else {
                    return wrong("warnings", "string").map(|()| Default::default());
                };
                read.warnings.push(item.to_owned());
            }
        }
        _ => wrong("warnings", "[]string")?,
    }
    Ok((read, own("uid")?))
}

/// What belongs together, and who may say what. `typed` tells whether there is a `patchType` at all.
fn check(read: &Response, mutating: bool, typed: bool) -> Result<(), String> {
    let patched = !read.patch.is_empty();
    let why = match (mutating, patched, typed) {
        (true, true, false) => "webhook returned response.patch but not response.patchType",
        (true, false, true) => "webhook returned response.patchType but not response.patch",
        (true, _, true) if read.patch_type.is_empty() => {
            "webhook returned invalid response.patchType of \"\""
        }
        (true, ..) => return Ok(()),
        (false, true, _) => "validating webhook may not return response.patch",
        (false, _, true) => "validating webhook may not return response.patchType",
        (false, ..) => return Ok(()),
    };
    Err(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(mutating: bool, body: &str) -> String {
        match read(Version::V1, "u", mutating, body.as_bytes()) {
            Ok(Ok(response)) => format!("{} {}", response.allowed, String::from_utf8_lossy(&response.patch)),
            Ok(Err(why)) => format!("breaks: {why}"),
            Err(why) => format!("unreadable: {why}"),
        }
    }

    fn review(response: &str) -> String {
        format!(r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{response}}}"#)
    }

    #[test]
    fn answers_are_read_or_refused() {
        for (mutating, response, expected) in [
            (true, r#"{"uid":"u","allowed":true}"#, "true "),
            (true, r#"{"uid":"u","allowed":true,"patch":"W10=","patchType":"JSONPatch"}"#, "true []"),
            (false, r#"{"uid":"u"}"#, "false "),
            (false, r#"{"uid":"v","allowed":true}"#, "breaks: expected response.uid=\"u\", got \"v\""),
            (
                true,
                r#"{"uid":"u","patch":"W10="}"#,
                "breaks: webhook returned response.patch but not response.patchType",
            ),
            (
                true,
                r#"{"uid":"u","patchType":"JSONPatch"}"#,
                "breaks: webhook returned response.patchType but not response.patch",
            ),
            (
                false,
                r#"{"uid":"u","patch":"W10=","patchType":"JSONPatch"}"#,
                "breaks: validating webhook may not return response.patch",
            ),
            (true, "null", "breaks: webhook response was absent"),
            (
                true,
                r#"{"uid":"u","allowed":"yes"}"#,
                "unreadable: json: cannot unmarshal the field AdmissionReview.response.allowed: it is not of type bool",
            ),
        ] {
            assert_eq!(outcome(mutating, &review(response)), expected, "{response}");
        }
    }

    #[test]
    fn another_kind_is_no_answer() {
        let nameless = r#"{"response":{"uid":"u","allowed":true}}"#;
        assert_eq!(
            outcome(true, nameless),
            "breaks: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind="
        );
        let old = review("{}").replace("/v1", "/v1beta1");
        assert_eq!(
            outcome(true, &old),
            "unreadable: converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion"
        );
        let read = read(Version::V1beta1, "u", true, nameless.as_bytes());
        assert!(
            read.unwrap().unwrap().allowed,
            "the older version says neither its kind nor whom it answers"
        );
    }
}
