//! The libraries: one file each. A call is found by name, by what it is called on, and by its arguments; the table of
//! functions has refused what cannot be, but values of type `dyn` are only known here.

mod conversions;
mod format;
mod lists;
mod math;
mod network;
mod quantities;
pub(super) mod semver;
mod strings;
mod times;
pub(super) mod urls;

use super::value::Val;
use super::{Budget, Failed, functions, rights};

/// Calls a function.
pub(super) fn call<'a>(
    name: &str,
    target: Option<Val<'a>>,
    args: Vec<Val<'a>>,
    budget: &mut Budget,
) -> Result<Val<'a>, Failed> {
    let mut sizes = target.iter().chain(&args).map(Val::size);
    let (first, second) = (sizes.next().unwrap_or(1), sizes.next().unwrap_or(1));
    let fits = |s: &&functions::Signature| match (&s.receiver, &target) {
        (Some(want), Some(target)) => want.is_of(target),
        (want, target) => want.is_none() && target.is_none(),
    };
    let signature =
        functions::all().iter().filter(|s| s.name == name && s.args.len() == args.len()).find(fits);
    budget.spend(signature.map_or(1, |s| functions::cost(s.cost, first, second)))?;
    let found = match &target {
        None => global(name, &args),
        Some(Val::Text(text)) => strings::call(name, text, &args),
        Some(Val::List(list)) => lists::call(name, list, &args),
        Some(Val::Map(map)) if name == "size" && args.is_empty() => Some(Ok(Val::Int(map.len() as i64))),
        Some(Val::Bytes(bytes)) if name == "size" && args.is_empty() => {
            Some(Ok(Val::Int(bytes.len() as i64)))
        }
        Some(Val::Timestamp(time)) => times::of_timestamp(name, *time, &args),
        Some(Val::Duration(nanos)) => times::of_duration(name, *nanos, &args),
        Some(Val::Optional(value)) => optional(name, value.as_deref(), &args),
        Some(Val::Quantity(quantity)) => quantities::call(name, quantity, &args),
        Some(Val::Url(url)) => urls::call(name, url, &args),
        Some(Val::Ip(ip)) => network::of_ip(name, *ip, &args),
        Some(Val::Cidr(ip, bits)) => network::of_cidr(name, *ip, *bits, &args),
        Some(Val::Semver(version)) => semver::call(name, version, &args),
        Some(Val::Format(form)) => format::call(name, form, &args),
        Some(Val::Asking(what, so_far, answers)) => rights::ask(name, *what, so_far, answers, &args),
        Some(Val::Decision(decision)) => rights::decided(name, decision, &args),
        Some(_) => None,
    };
    found.unwrap_or_else(|| Err(Failed::Error("no such overload".into())))
}

fn global<'a>(name: &str, args: &[Val<'a>]) -> Option<Result<Val<'a>, Failed>> {
    if let Some(name) = name.strip_prefix("math.") {
        return math::call(name, args);
    }
    if let Some(name) = name.strip_prefix("sets.") {
        return lists::sets(name, args);
    }
    if let Some(name) = name.strip_prefix("format.") {
        return format::named(name, args);
    }
    if let Some(name) = name.strip_prefix("optional.") {
        return match (name, args) {
            ("none", []) => Some(Ok(Val::Optional(None))),
            ("of", [value]) => Some(Ok(Val::some(value.clone()))),
            ("ofNonZeroValue", [value]) if is_zero(value) => Some(Ok(Val::Optional(None))),
            ("ofNonZeroValue", [value]) => Some(Ok(Val::some(value.clone()))),
            _ => None,
        };
    }
    conversions::call(name, args)
        .or_else(|| network::global(name, args))
        .or_else(|| quantities::global(name, args))
        .or_else(|| urls::global(name, args))
        .or_else(|| semver::global(name, args))
        .or_else(|| match (name, args) {
            ("matches", [Val::Text(text), pattern]) => {
                strings::call("matches", text, std::slice::from_ref(pattern))
            }
            ("range", [Val::Int(n)]) => Some(lists::range(*n)),
            _ => None,
        })
}

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null => true,
        Val::Bool(b) => !b,
        Val::Int(n) | Val::Duration(n) => *n == 0,
        Val::Uint(n) => *n == 0,
        Val::Double(n) => *n == 0.0,
        Val::Text(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_) => value.size() == 0,
        _ => false,
    }
}

fn optional<'a>(name: &str, value: Option<&Val<'a>>, args: &[Val<'a>]) -> Option<Result<Val<'a>, Failed>> {
    Some(Ok(match (name, args) {
        ("hasValue", []) => Val::Bool(value.is_some()),
        ("value", []) => match value {
            Some(value) => value.clone(),
            None => return Some(Err(Failed::Error("optional.none() dereference".into()))),
        },
        ("orValue", [other]) => value.unwrap_or(other).clone(),
        ("or", [other]) => match value {
            Some(value) => Val::some(value.clone()),
            None => other.clone(),
        },
        _ => return None,
    }))
}
