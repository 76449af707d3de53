//! From a request's body to an object: syntax, kind, types, unknown fields.

use bytes::Bytes;
use dunlin_api::decode::VERSION_AND_KIND;
use dunlin_api::gvk::GroupVersionKind;
use dunlin_api::schema::schema;
use serde_json::Value;

use crate::failure::{Cause, Failure, Result};
use crate::handlers::{protobuf, yaml};
use crate::model;
use crate::negotiate::Media;
use crate::resources::Resource;
use crate::server::Call;

/// What bodies of objects may be.
const SYNTAXES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// How much of a body that cannot be read is shown, in bytes.
const SHOWN: usize = 30;

/// What stands before each complaint about JSON.
pub const JSON_ERROR: &str = "couldn't get version/kind; json parse error: ";

/// Groups and versions that Kubernetes no longer serves but still reads.
const LEGACY: &[(&str, &str)] = &[
    ("extensions", "v1beta1"),
    ("apps", "v1beta1"),
    ("apps", "v1beta2"),
    ("batch", "v1beta1"),
    ("policy", "v1beta1"),
    ("networking.k8s.io", "v1beta1"),
    ("rbac.authorization.k8s.io", "v1beta1"),
    ("storage.k8s.io", "v1beta1"),
    ("events.k8s.io", "v1beta1"),
    ("discovery.k8s.io", "v1beta1"),
    ("coordination.k8s.io", "v1beta1"),
    ("node.k8s.io", "v1beta1"),
    ("scheduling.k8s.io", "v1beta1"),
    ("authentication.k8s.io", "v1beta1"),
    ("authorization.k8s.io", "v1beta1"),
];

/// What a body was before it was fitted to a kind.
struct Parsed {
    value: Value,
    /// Fields that occur twice.
    duplicates: Vec<String>,
    /// As `duplicates`, as one complaint of a strict reader.
    strict: Option<String>,
}

/// The object of the resource in a body.
pub fn body(call: &mut Call, body: &Bytes) -> Result<Value> {
    let kind = call.resource.gvk();
    object_of(call, &kind, body)
}

/// The object of this kind in a body, with its fields read by type.
pub fn object_of(call: &mut Call, wanted: &GroupVersionKind, body: &Bytes) -> Result<Value> {
    let header = call.headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let media = Media::parse(header).kind.to_owned();
    let unrecognized = |why: String| {
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            wanted.kind,
            summary(body)
        ))
    };
    let mut parsed = parse(&media, body)?.map_err(unrecognized)?;
    let resource = call.resource.clone();
    let own = *wanted == resource.gvk();
    if own && resource.custom.is_some() {
        same_kind(&resource, &parsed.value)?;
    }
    identify(wanted, &mut parsed.value).map_err(|wrong| match wrong {
        Wrong::Unreadable(why) => unrecognized(why),
        Wrong::Kind(failure) => failure,
    })?;
    let refuse = |why: &str| cannot(&wanted.version, &wanted.kind, &wanted.kind, why);
    let (value, unknown) = if own {
        fit(&resource, parsed.value)?
    } else {
        let decoded = dunlin_api::decode::decode_owned(wanted, parsed.value);
        let decoded = decoded.map_err(|e| refuse(&e.to_string()))?;
        (decoded.value, decoded.unknown)
    };
    let strict = call.query.get("fieldValidation") == Some("Strict");
    let mut complaints = match parsed.strict {
        Some(once) if strict => vec![once],
        _ => parsed.duplicates,
    };
    complaints.extend(unknown);
    if strict && !complaints.is_empty() {
        let why = format!("strict decoding error: {}", complaints.join(", "));
        return Err(cannot(&wanted.version, &wanted.kind, &wanted.kind, &why));
    }
    tell(call, complaints);
    call.trail.object(&value, |value| match own {
        true => model::defaults(&resource, value),
        false => dunlin_api::defaults::apply(wanted, value),
    });
    Ok(value)
}

/// Warns of what `fieldValidation` is about, unless the client does not want to know.
fn tell(call: &mut Call, complaints: Vec<String>) {
    if call.query.get("fieldValidation") != Some("Ignore") {
        call.warnings.extend(complaints);
    }
}

/// Fits the outcome of a patch to its kind. `duplicates` were found in the patch; `shown` is how a refusal shows
/// what was patched, and `words` how it says what is wrong with it.
pub fn patched(
    call: &mut Call,
    value: Value,
    duplicates: &[String],
    shown: impl Fn(&Value) -> String,
    words: impl Fn(&str) -> String,
) -> Result<Value> {
    let resource = &call.resource.clone();
    let text = shown(&value);
    let mut value = value;
    kind(&resource.gvk(), &mut value).map_err(|e| Failure::bad_patch(&text, &e.message))?;
    let (value, unknown) = model::decode(resource, value).map_err(|f| {
        if resource.custom.is_some() { f } else { Failure::bad_patch(&text, &words(&f.message)) }
    })?;
    let complaints: Vec<String> = duplicates.iter().cloned().chain(unknown).collect();
    if call.query.get("fieldValidation") == Some("Strict") && !complaints.is_empty() {
        return Err(Failure::bad_patch(&text, &format!("strict decoding error: {}", complaints.join(", "))));
    }
    tell(call, complaints);
    Ok(value)
}

/// A value of a body that is no object of a resource: `DeleteOptions`, a patch.
pub fn plain(media: &str, body: &Bytes) -> Result<(Value, Vec<String>)> {
    let parsed = parse(media, body)?.map_err(Failure::bad_request)?;
    Ok((parsed.value, parsed.duplicates))
}

/// Parses a body by its media type; the inner error says why it is not of that type.
fn parse(media: &str, body: &Bytes) -> Result<Result<Parsed, String>> {
    let json = |body: &[u8]| {
        let parsed = dunlin_api::decode::parse(body);
        parsed
            .map(|(value, duplicates)| Parsed { value, duplicates, strict: None })
            .map_err(|e| format!("{JSON_ERROR}{e}"))
    };
    Ok(match media {
        // curl's default is harmless, as the body still has to be JSON.
        "" | "application/json" | "application/x-www-form-urlencoded" => json(body),
        // YAML too, and read much faster.
        "application/yaml"
            if body.first() == Some(&b'{') && json(body).is_ok_and(|p| p.duplicates.is_empty()) =>
        {
            json(body)
        }
        "application/yaml" => yaml::parse(body).map(|(value, duplicates)| Parsed {
            value,
            strict: yaml::strict(&duplicates),
            duplicates,
        }),
        "application/vnd.kubernetes.protobuf" => protobuf::decode(body)
            .map(|value| Parsed { value, duplicates: Vec::new(), strict: None })
            .map_err(|e| e.to_string()),
        _ => {
            let why = "the body of the request was in an unknown format - accepted media types include";
            return Err(Failure::unsupported(format!("{why}: {SYNTAXES}")));
        }
    })
}

/// The beginning of a body that cannot be read: as text if it may be JSON.
fn summary(body: &[u8]) -> String {
    let cut = &body[..body.len().min(SHOWN)];
    let end = if cut.len() < body.len() { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{end}", String::from_utf8_lossy(cut)),
        Some(_) => format!("{}{end}", cut.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

/// What is wrong with the kind of a body.
enum Wrong {
    /// It cannot be read.
    Unreadable(String),
    /// It is not the one that is wanted.
    Kind(Failure),
}

/// `ConfigMap in version "v1" cannot be handled as a Secret: why`.
fn cannot(version: &str, kind: &str, wanted: &str, why: &str) -> Failure {
    Failure::bad_request(format!("{kind} in version {version:?} cannot be handled as a {wanted}: {why}"))
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

/// Checks `apiVersion` and `kind`, and fills them in where they are missing.
pub fn kind(wanted: &GroupVersionKind, value: &mut Value) -> Result<()> {
    identify(wanted, value).map_err(|wrong| match wrong {
        Wrong::Unreadable(why) => Failure::bad_request(why),
        Wrong::Kind(failure) => failure,
    })
}

fn identify(wanted: &GroupVersionKind, value: &mut Value) -> Result<(), Wrong> {
    if value.is_null() {
        *value = Value::Object(Default::default());
    }
    let unreadable = |found: &Value, place: String| {
        let what = match found {
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            _ => "object",
        };
        let why = format!("json: cannot unmarshal {what} into {place}");
        Wrong::Unreadable(format!("{JSON_ERROR}{why}"))
    };
    let Some(map) = value.as_object_mut() else {
        return Err(unreadable(value, format!("Go value of type {VERSION_AND_KIND}")));
    };
    for field in ["apiVersion", "kind"] {
        if let Some(found) = map.get(field).filter(|v| !v.is_string() && !v.is_null()) {
            return Err(unreadable(found, format!("Go struct field .{field} of type string")));
        }
    }
    let text = |field: &str| map.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let (mut api_version, mut kind) = (text("apiVersion"), text("kind"));
    if api_version.matches('/').count() > 1 {
        return Err(Wrong::Unreadable(format!("unexpected GroupVersion string: {api_version}")));
    }
    if api_version.is_empty() {
        api_version = wanted.api_version();
    }
    if kind.is_empty() {
        kind.clone_from(&wanted.kind);
    }
    if kind == wanted.kind && api_version == wanted.api_version() {
        map.insert("apiVersion".to_owned(), Value::String(api_version));
        map.insert("kind".to_owned(), Value::String(kind));
        return Ok(());
    }
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let found = GroupVersionKind::new(group, version, &kind);
    Err(Wrong::Kind(other_kind(wanted, &found, &api_version)))
}

/// Refuses a kind that is not the wanted one.
fn other_kind(wanted: &GroupVersionKind, found: &GroupVersionKind, api_version: &str) -> Failure {
    let (kind, version) = (&found.kind, &found.version);
    let known = LEGACY.contains(&(found.group.as_str(), version.as_str())) && *kind == wanted.kind;
    if !known && schema().of(found).is_none() && !(kind == "List" && api_version == "v1") {
        let scheme = "scheme \"pkg/runtime/scheme.go:111\"";
        let why = format!("no kind {kind:?} is registered for version {api_version:?} in {scheme}");
        return cannot(version, kind, &wanted.kind, &why);
    }
    // Events are one kind in two groups.
    let alike = found.group == wanted.group || known || kind == "Event";
    if *kind == wanted.kind && alike {
        let expected = wanted.api_version();
        return Failure::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        ));
    }
    let package = match wanted.group.split('.').next() {
        None | Some("" | "events") => "core",
        Some(package) => package,
    };
    let why = format!("converting ({version}.{kind}) to ({package}.{}): unknown conversion", wanted.kind);
    cannot(version, kind, &wanted.kind, &why)
}

/// Reads the fields by type, and drops those that are not known without a word.
pub fn typed(resource: &Resource, value: Value) -> Result<Value> {
    fit(resource, value).map(|(value, _)| value)
}

/// Reads the fields by type; gives back complaints about those that are not known.
fn fit(resource: &Resource, value: Value) -> Result<(Value, Vec<String>)> {
    model::decode(resource, value).map_err(|failure| match resource.custom {
        Some(_) => failure,
        None => cannot(&resource.version, &resource.kind, &resource.kind, &failure.message),
    })
}
