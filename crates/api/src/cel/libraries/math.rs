//! The math extension.

use std::cmp::Ordering;

use crate::cel::Failed;
use crate::cel::value::{List, Val};

pub(super) fn call<'a>(name: &str, args: &[Val<'a>]) -> Option<Result<Val<'a>, Failed>> {
    let value = match (name, args) {
        ("greatest" | "least", [Val::List(list)]) => return Some(pick(name, list)),
        ("greatest" | "least", args) if !args.is_empty() => {
            return Some(pick(name, &List::Made(args.into())));
        }
        ("abs", [Val::Int(n)]) => match n.checked_abs() {
            Some(n) => Val::Int(n),
            None => return Some(Err(Failed::Error("integer overflow".into()))),
        },
        ("abs" | "sign", [Val::Uint(n)]) => Val::Uint(if name == "abs" { *n } else { u64::from(*n > 0) }),
        ("abs", [Val::Double(n)]) => Val::Double(n.abs()),
        ("sign", [Val::Int(n)]) => Val::Int(n.signum()),
        ("sign", [Val::Double(n)]) => Val::Double(if *n == 0.0 || n.is_nan() { *n } else { n.signum() }),
        ("ceil", [Val::Double(n)]) => Val::Double(n.ceil()),
        ("floor", [Val::Double(n)]) => Val::Double(n.floor()),
        ("round", [Val::Double(n)]) => Val::Double(n.round()),
        ("trunc", [Val::Double(n)]) => Val::Double(n.trunc()),
        ("isNaN", [Val::Double(n)]) => Val::Bool(n.is_nan()),
        ("isInf", [Val::Double(n)]) => Val::Bool(n.is_infinite()),
        ("isFinite", [Val::Double(n)]) => Val::Bool(n.is_finite()),
        _ => return None,
    };
    Some(Ok(value))
}

fn pick<'a>(name: &str, list: &List<'a>) -> Result<Val<'a>, Failed> {
    let wanted = if name == "greatest" { Ordering::Greater } else { Ordering::Less };
    let mut found: Option<Val<'a>> = None;
    for item in list.items()? {
        if !matches!(item, Val::Int(_) | Val::Uint(_) | Val::Double(_)) {
            return Err(Failed::Error("no such overload".into()));
        }
        found = match found {
            Some(known) if item.compare(&known) != Some(wanted) => Some(known),
            _ => Some(item),
        };
    }
    found.ok_or_else(|| Failed::Error(format!("math.@{name} argument must not be empty")))
}
