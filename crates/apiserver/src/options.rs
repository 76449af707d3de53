//! `CreateOptions`, `UpdateOptions`, `PatchOptions` and `ListOptions` as the query carries them, checked in Kubernetes'
//! words. `DeleteOptions` are in `handlers::delete`, because they come as a body, too.

use serde_json::json;

use crate::failure::{Cause, Failure, Result};
use dunlin_api::query::Query;

/// The longest name of a manager of fields, in bytes.
const LONGEST_MANAGER: usize = 128;

/// Checks what the query of a write says; `kind` is `CreateOptions` and so on.
pub fn write(kind: &str, query: &Query) -> Result<()> {
    let mut causes = Vec::new();
    manager(query, &mut causes);
    dry_run(&query.all("dryRun").collect::<Vec<_>>(), &mut causes);
    field_validation(query, &mut causes);
    refuse(kind, causes)
}

/// Checks the query of a patch; `apply` tells whether it is a server-side apply.
pub fn patch(query: &Query, apply: bool) -> Result<()> {
    let mut causes = Vec::new();
    if apply && query.get("fieldManager").is_none() {
        let why = "Required value: is required for apply patch";
        causes.push(Cause::new("FieldValueRequired", "fieldManager", why));
    }
    if !apply && query.all("force").next().is_some() {
        let why = "Forbidden: may not be specified for non-apply patch";
        causes.push(Cause::new("FieldValueForbidden", "force", why));
    }
    manager(query, &mut causes);
    dry_run(&query.all("dryRun").collect::<Vec<_>>(), &mut causes);
    field_validation(query, &mut causes);
    refuse("PatchOptions", causes)
}

/// Checks the query of a list or a watch.
pub fn list(query: &Query, watch: bool) -> Result<()> {
    number(query, "limit")?;
    number(query, "timeoutSeconds")?;
    let forbidden =
        |field: &str, why: &str| Cause::new("FieldValueForbidden", field, format!("Forbidden: {why}"));
    let mut causes = Vec::new();
    let field = "resourceVersionMatch";
    let (matching, going_on) = (query.get(field), query.get("continue").is_some());
    let (version, initial) = (query.get("resourceVersion").unwrap_or(""), query.get("sendInitialEvents"));
    let unsupported = |known: &str| {
        let why = format!("Unsupported value: {:?}: supported values: {known}", matching.unwrap_or(""));
        Cause::new("FieldValueNotSupported", field, why)
    };
    let continued = "resourceVersionMatch is forbidden when continue is provided";
    if watch {
        // A watch from the beginning is one with initial events.
        let implied = initial.is_none() && matching.is_none() && matches!(version, "" | "0");
        if initial.is_some() && matching != Some("NotOlderThan") {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            causes.push(forbidden(field, why));
        }
        if matching.is_some() && initial.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            causes.push(forbidden(field, why));
        }
        if matching.is_some_and(|m| m != "NotOlderThan") {
            causes.push(unsupported("\"NotOlderThan\""));
        }
        if going_on && (matching.is_some() || implied) {
            causes.push(forbidden(field, continued));
        }
        return refuse("ListOptions", causes);
    }
    if initial.is_some() {
        causes.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    if let Some(word) = matching {
        if version.is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            causes.push(forbidden(field, why));
        }
        if going_on {
            causes.push(forbidden(field, continued));
        }
        if !matches!(word, "Exact" | "NotOlderThan") {
            causes.push(unsupported("\"Exact\", \"NotOlderThan\", \"\""));
        }
        if word == "Exact" && version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            causes.push(forbidden(field, why));
        }
    }
    refuse("ListOptions", causes)?;
    if going_on && !matches!(version, "" | "0") {
        return Err(Failure::bad_request("specifying resource version is not allowed when using continue"));
    }
    Ok(())
}

/// A revision of the query; none for `0`, which means any.
pub fn revision(query: &Query) -> Result<Option<u64>> {
    match query.get("resourceVersion").unwrap_or("") {
        "" | "0" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
            Failure::new(500, "", format!("resourceVersion: Invalid value: {text:?}: {why}"))
        }),
    }
}

/// Refuses if there are causes.
pub fn refuse(kind: &str, causes: Vec<Cause>) -> Result<()> {
    if causes.is_empty() { Ok(()) } else { Err(Failure::options(kind, &causes)) }
}

fn manager(query: &Query, causes: &mut Vec<Cause>) {
    let Some(name) = query.get("fieldManager") else { return };
    if name.len() > LONGEST_MANAGER {
        let why = format!("Too long: may not be more than {LONGEST_MANAGER} bytes");
        causes.push(Cause::new("FieldValueTooLong", "fieldManager", why));
    }
    if let Some((at, odd)) = name.chars().enumerate().find(|(_, c)| c.is_control()) {
        let why = format!("invalid character U+{:04X} (at position {at})", odd as u32);
        causes.push(Cause::value("fieldManager", &json!(name), &why));
    }
}

/// Checks the values of `dryRun`.
pub fn dry_run(values: &[&str], causes: &mut Vec<Cause>) {
    if values.iter().any(|v| *v != "All") {
        let why = format!("Unsupported value: {}: supported values: \"All\"", json!(values));
        causes.push(Cause::new("FieldValueNotSupported", "dryRun", why));
    }
}

fn field_validation(query: &Query, causes: &mut Vec<Cause>) {
    if let Some(word) = query.get("fieldValidation")
        && !matches!(word, "Ignore" | "Warn" | "Strict")
    {
        let known = "supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"";
        let why = format!("Unsupported value: {word:?}: {known}");
        causes.push(Cause::new("FieldValueNotSupported", "fieldValidation", why));
    }
}

/// A number of the query, if it has one.
pub fn number(query: &Query, name: &str) -> Result<Option<i64>> {
    let Some(text) = query.get(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|e: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let why = match e.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        Failure::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
    })
}
