//! Named formats: `format.dns1123Label().validate(text)` gives what is wrong, or none.

use crate::cel::Failed;
use crate::cel::value::Val;
use crate::structural::fits;
use crate::validate::syntax::{self, Complaints};

type Answer<'a> = Option<Result<Val<'a>, Failed>>;

const NAMES: [&str; 13] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

pub(super) fn named<'a>(name: &str, args: &[Val<'a>]) -> Answer<'a> {
    let find = |name: &str| NAMES.iter().find(|n| **n == name).map(|n| Val::Format(n));
    match (name, args) {
        ("named", [Val::Text(name)]) => Some(Ok(find(name).map_or(Val::Optional(None), Val::some))),
        (name, []) => find(name).map(Ok),
        _ => None,
    }
}

pub(super) fn call<'a>(name: &str, form: &str, args: &[Val<'a>]) -> Answer<'a> {
    let ("validate", [Val::Text(text)]) = (name, args) else { return None };
    // The beginning of a name may end with a dash.
    let start = format!("{}a", text.strip_suffix('-').map_or(text.to_string(), |s| format!("{s}-")));
    let complaints: Complaints = match form {
        "dns1123Label" => syntax::dns_label(text),
        "dns1123Subdomain" => syntax::dns_subdomain(text),
        "dns1035Label" => syntax::dns1035_label(text),
        "dns1123LabelPrefix" => syntax::dns_label(&start),
        "dns1123SubdomainPrefix" => syntax::dns_subdomain(&start),
        "dns1035LabelPrefix" => syntax::dns1035_label(&start),
        "qualifiedName" => syntax::qualified_name(text),
        "labelValue" => syntax::label_value(text),
        other => {
            let json = if other == "datetime" { "date-time" } else { other };
            if fits(json, text) { Vec::new() } else { vec![format!("invalid {other}")] }
        }
    };
    if complaints.is_empty() {
        return Some(Ok(Val::Optional(None)));
    }
    Some(Ok(Val::some(Val::list(complaints.into_iter().map(Val::text).collect()))))
}
