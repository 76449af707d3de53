//! Custom resource definitions: names, versions, conversion, what is printed and selected; the schemas are in `schema`.
//!
//! Kubernetes reports errors in its internal form, in which what all versions have in common stands once and not in each
//! of them: with one version, its schema is `spec.validation.openAPIV3Schema`. Clients know these paths.

mod conversion;
mod paths;
mod schema;

use serde_json::Value;

use super::field::{At, Errors};
use super::{FieldError, syntax};
use crate::structural::Schema;

/// Groups that only Kubernetes itself may add to, and the annotation that says that it did.
const PROTECTED: [&str; 2] = ["k8s.io", "kubernetes.io"];
const APPROVED: &str = "api-approved.kubernetes.io";

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// More fields than these cannot be selected by.
const SELECTABLE: usize = 8;

/// What is asked of new definitions only.
pub(super) fn create_only(object: &At, errors: &mut Errors) {
    let (name, group) = (object.path(&["metadata", "name"]), object.path(&["spec", "group"]));
    let plural = object.path(&["spec", "names", "plural"]);
    if name.text() != format!("{}.{}", plural.text(), group.text()) {
        errors.invalid(&name, "must be spec.names.plural+\".\"+spec.group");
    }
    approval(object, group.text(), errors);
}

pub(super) fn kind(object: &At, errors: &mut Errors) {
    let spec = object.get("spec");
    let (group, names) = (spec.get("group"), spec.get("names"));
    if errors.need(&group) {
        errors.complaints(&group, syntax::dns_subdomain(group.text()));
        if !group.text().contains('.') {
            errors.invalid(&group, "should be a domain with at least one dot");
        }
    }
    errors.need_supported(&spec.get("scope"), &["Cluster", "Namespaced"]);
    self::names(&names, errors);
    if spec.get("preserveUnknownFields").is_true() {
        errors.invalid(
            &spec.get("preserveUnknownFields"),
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        );
    }
    versions(&spec, errors);
    conversion::check(&spec.get("conversion"), errors);
}

pub(super) fn change(new: &At, old: &At, errors: &mut Errors) {
    for path in
        [&["spec", "scope"][..], &["spec", "names", "kind"], &["spec", "names", "plural"], &["spec", "group"]]
    {
        errors.immutable(&new.path(path), &old.path(path));
    }
    let served: Vec<At> = new.path(&["spec", "versions"]).items();
    for stored in new.path(&["status", "storedVersions"]).items() {
        let version = stored.text();
        if !served.iter().any(|v| v.get("name").text() == version) {
            errors.invalid(
                &stored,
                format!(
                    "missing from spec.versions; {version} was previously a storage version, and must remain in \
                     spec.versions until a storage migration ensures no data remains persisted in {version} and \
                     removes {version} from status.storedVersions"
                ),
            );
        }
    }
}

fn approval(object: &At, group: &str, errors: &mut Errors) {
    if !PROTECTED.iter().any(|p| group == *p || group.ends_with(&format!(".{p}"))) {
        return;
    }
    let path = format!("metadata.annotations[{APPROVED}]");
    match object.path(&["metadata", "annotations"]).value.get(APPROVED).and_then(Value::as_str) {
        None | Some("") => errors.push(FieldError::required(
            &path,
            format!(
                "protected groups must have approval annotation {APPROVED:?}, see \
                 https://github.com/kubernetes/enhancements/pull/1111"
            ),
        )),
        Some(text) if text.starts_with("unapproved") || text.contains("://") => {}
        Some(text) => errors.push(FieldError::invalid(
            &path,
            text,
            "protected groups must have approval annotation with either a URL or a reason starting with \"unapproved\"",
        )),
    }
}

fn names(names: &At, errors: &mut Errors) {
    errors.need_form(&names.get("plural"), syntax::dns1035_label);
    errors.need_form(&names.get("singular"), syntax::dns1035_label);
    for kind in ["kind", "listKind"] {
        let at = names.get(kind);
        if errors.need(&at) {
            let found = syntax::dns1035_label(&at.text().to_lowercase());
            for text in found {
                errors.invalid(&at, format!("may have mixed case, but should otherwise match: {text}"));
            }
        }
    }
    if !names.get("kind").is_empty() && names.get("kind").text() == names.get("listKind").text() {
        errors.invalid(&names.get("listKind"), "kind and listKind may not be the same");
    }
    for list in ["shortNames", "categories"] {
        for name in names.get(list).items() {
            errors.complaints(&name, syntax::dns1035_label(name.text()));
        }
    }
}

/// A field of a version: in each version, or once for all if it is the same in all of them.
fn hoisted<'a>(spec: &At<'a>, name: &str, shared: &str) -> Vec<(At<'a>, At<'a>)> {
    let versions = spec.path(&["versions"]).items();
    let same = versions.windows(2).all(|pair| pair[0].get(name).value == pair[1].get(name).value);
    if same && let Some(first) = versions.into_iter().next() {
        let at = At { path: format!("spec.{shared}"), value: first.get(name).value };
        return vec![(first, at)];
    }
    spec.path(&["versions"]).items().into_iter().map(|v| (v.clone(), v.get(name))).collect()
}

fn versions(spec: &At, errors: &mut Errors) {
    let versions = spec.get("versions");
    let mut seen = Vec::new();
    let mut stored = 0;
    for version in versions.items() {
        let name = version.get("name");
        errors.need_form(&name, syntax::dns1035_label);
        if seen.is_empty() {
            // The first version stands in the internal form a second time.
            errors.form(&At { path: "spec.version".into(), value: name.value }, syntax::dns1035_label);
        }
        if seen.contains(&name.text()) {
            errors.invalid(&versions, "must contain unique version names");
        }
        seen.push(name.text());
        stored += usize::from(version.get("storage").is_true());
        let warning = version.get("deprecationWarning");
        if warning.is_set() {
            if !version.get("deprecated").is_true() {
                errors.invalid(&warning, "can only be set for deprecated versions");
            }
            if warning.text().is_empty() {
                errors.invalid(&warning, "must not be an empty string");
            }
            if warning.text().len() > 256 {
                errors.push(FieldError::too_long(&warning.path, 256));
            }
            if warning.text().chars().any(char::is_control) {
                errors.invalid(
                    &warning,
                    "must only contain printable UTF-8 characters; non-printable character found",
                );
            }
        }
    }
    if stored != 1 {
        errors.invalid(&versions, "must have exactly one version marked as storage version");
    }
    for (version, at) in hoisted(spec, "schema", "validation") {
        let schema = at.get("openAPIV3Schema");
        if schema.is_set() {
            self::schema::check(&schema, errors);
            continue;
        }
        errors.push(FieldError::required(&version.path(&["schema", "openAPIV3Schema"]).path, ""));
    }
    for (_, at) in hoisted(spec, "subresources", "subresources") {
        scale(&at.get("scale"), errors);
    }
    for (_, at) in hoisted(spec, "additionalPrinterColumns", "additionalPrinterColumns") {
        at.items().iter().for_each(|column| self::column(column, errors));
    }
    for (version, at) in hoisted(spec, "selectableFields", "selectableFields") {
        let schema = Schema::parse(version.path(&["schema", "openAPIV3Schema"]).value);
        selectable(&at, &schema, errors);
    }
}

fn scale(scale: &At, errors: &mut Errors) {
    if !scale.is_set() {
        return;
    }
    for (name, roots, needed) in [
        ("specReplicasPath", &["spec"][..], true),
        ("statusReplicasPath", &["status"], true),
        ("labelSelectorPath", &["status", "spec"], false),
    ] {
        let at = scale.get(name);
        if at.is_empty() {
            if needed {
                errors.required(&at, "");
            }
            continue;
        }
        let under = |root: &&str| at.text().starts_with(&format!(".{root}."));
        if !roots.iter().any(under) {
            let place = match roots {
                [root] => format!(".{root}"),
                _ => "either .spec or .status".to_owned(),
            };
            errors.invalid(&at, format!("should be a json path under {place}"));
        } else if paths::simple(at.text()).is_none() {
            errors.invalid(&at, "should be a simple json path without [] notation");
        }
    }
}

fn column(column: &At, errors: &mut Errors) {
    errors.need(&column.get("name"));
    let (ty, format) = (column.get("type"), column.get("format"));
    if ty.is_empty() {
        errors.required(&ty, &format!("must be one of {}", COLUMN_TYPES.join(",")));
    } else if !COLUMN_TYPES.contains(&ty.text()) {
        errors.invalid(&ty, format!("must be one of {}", COLUMN_TYPES.join(",")));
    }
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format.text()) {
        errors.invalid(&format, format!("must be one of {}", COLUMN_FORMATS.join(",")));
    }
    let path = At { path: format!("{}.JSONPath", column.path), value: column.get("jsonPath").value };
    if errors.need(&path)
        && let Err(why) = crate::jsonpath::Path::parse(path.text())
    {
        errors.invalid(&path, why);
    }
}

fn selectable(fields: &At, schema: &Schema, errors: &mut Errors) {
    let items = fields.items();
    if items.len() > SELECTABLE {
        errors.push(FieldError::too_many(&fields.path, items.len(), SELECTABLE));
    }
    let mut seen = Vec::new();
    for field in items {
        let at = field.get("jsonPath");
        if !errors.need(&at) {
            continue;
        }
        if seen.contains(&at.text()) {
            errors.duplicate(&at);
        }
        seen.push(at.text());
        let Some(parts) = paths::simple(at.text()) else {
            errors.invalid(&at, "is an invalid path: must be a simple json path without [] notation");
            continue;
        };
        let names: Vec<&str> = parts.iter().map(String::as_str).collect();
        // Metadata is implicit, and selected by in ways of its own.
        let found = schema.at(&names).filter(|_| parts[0] != "metadata");
        match found.map(|s| s.ty) {
            None => errors.invalid(&at, "is an invalid path: does not refer to a valid field"),
            Some(Some(
                crate::structural::Type::String | crate::structural::Type::Integer | crate::structural::Type::Boolean,
            )) => {}
            Some(_) => errors.invalid(
                &at,
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats \
                 are allowed.",
            ),
        }
    }
}
