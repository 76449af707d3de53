//! Functions of lists, and of lists as sets.

use std::cmp::Ordering;
use std::sync::Arc;

use super::strings;
use crate::cel::Failed;
use crate::cel::value::{List, Val};

type Answer<'a> = Option<Result<Val<'a>, Failed>>;

/// The longest list that `range` makes.
const LONGEST: i64 = 100_000;

fn error<T>(message: impl Into<String>) -> Result<T, Failed> {
    Err(Failed::Error(message.into()))
}

pub(super) fn range<'a>(n: i64) -> Result<Val<'a>, Failed> {
    if n > LONGEST {
        return error(format!("range of more than {LONGEST}"));
    }
    Ok(Val::list((0..n.max(0)).map(Val::Int).collect()))
}

pub(super) fn call<'a>(name: &str, list: &List<'a>, args: &[Val<'a>]) -> Answer<'a> {
    if name == "size" && args.is_empty() {
        return Some(Ok(Val::Int(list.len() as i64)));
    }
    let items = match list.items() {
        Ok(items) => items,
        Err(failed) => return Some(Err(failed)),
    };
    Some(match (name, args) {
        ("first", []) => Ok(Val::Optional(items.first().cloned().map(Arc::new))),
        ("last", []) => Ok(Val::Optional(items.last().cloned().map(Arc::new))),
        ("reverse", []) => Ok(Val::list(items.into_iter().rev().collect())),
        ("join", []) => join(&items, ""),
        ("join", [Val::Text(between)]) => join(&items, between),
        ("isSorted", []) => ordered(&items)
            .map(|all| Val::Bool(all.windows(2).all(|w| less(&w[0], &w[1]) != Ordering::Greater))),
        ("sort", []) => ordered(&items).map(|all| {
            let mut all = all.to_vec();
            all.sort_by(less);
            Val::list(all)
        }),
        ("min" | "max", []) if items.is_empty() => error(format!("{name} called on empty list")),
        ("min", []) => {
            ordered(&items).map(|all| all.iter().min_by(|a, b| less(a, b)).cloned().unwrap_or(Val::Null))
        }
        ("max", []) => {
            ordered(&items).map(|all| all.iter().max_by(|a, b| less(a, b)).cloned().unwrap_or(Val::Null))
        }
        ("sum", []) => sum(&items),
        ("indexOf", [wanted]) => index(&items, wanted, false),
        ("lastIndexOf", [wanted]) => index(&items, wanted, true),
        ("distinct", []) => distinct(items),
        ("slice", [Val::Int(from), Val::Int(end)]) => match (usize::try_from(*from), usize::try_from(*end)) {
            (Ok(from), Ok(end)) if from <= end && end <= items.len() => {
                Ok(Val::list(items[from..end].to_vec()))
            }
            _ => error(format!("cannot slice({from}, {end}), list is length {}", items.len())),
        },
        ("flatten", []) => flatten(items, 1).map(Val::list),
        ("flatten", [Val::Int(depth)]) if *depth >= 0 => flatten(items, (*depth).min(16)).map(Val::list),
        ("flatten", [Val::Int(_)]) => error("level must be non-negative"),
        _ => return None,
    })
}

fn join<'a>(items: &[Val<'a>], between: &str) -> Result<Val<'a>, Failed> {
    if items.iter().any(|i| !matches!(i, Val::Text(_))) {
        return error("no such overload");
    }
    let size: usize = items.iter().map(|i| i.size() as usize + between.len()).sum();
    if size > crate::cel::types::REQUEST as usize {
        return error("the joined text is too long");
    }
    Ok(Val::text(items.iter().map(strings::plain).collect::<Vec<_>>().join(between)))
}

/// The items, if they can be put into an order.
fn ordered<'v, 'a>(items: &'v [Val<'a>]) -> Result<&'v [Val<'a>], Failed> {
    match items.windows(2).all(|w| w[0].compare(&w[1]).is_some()) {
        true => Ok(items),
        false => error("no such overload"),
    }
}

fn less(a: &Val<'_>, b: &Val<'_>) -> Ordering {
    // The same lifetimes are not needed to compare.
    a.compare(b).unwrap_or(Ordering::Equal)
}

fn sum<'a>(items: &[Val<'a>]) -> Result<Val<'a>, Failed> {
    let overflow = || Failed::Error("integer overflow".into());
    let mut total: Option<Val<'a>> = None;
    for item in items {
        total = Some(match (total, item) {
            (None, item) => item.clone(),
            (Some(Val::Int(a)), Val::Int(b)) => Val::Int(a.checked_add(*b).ok_or_else(overflow)?),
            (Some(Val::Uint(a)), Val::Uint(b)) => Val::Uint(a.checked_add(*b).ok_or_else(overflow)?),
            (Some(Val::Duration(a)), Val::Duration(b)) => {
                Val::Duration(a.checked_add(*b).ok_or_else(overflow)?)
            }
            (Some(Val::Double(a)), Val::Double(b)) => Val::Double(a + b),
            _ => return error("no such overload"),
        });
    }
    Ok(total.unwrap_or(Val::Int(0)))
}

fn index<'a>(items: &[Val<'a>], wanted: &Val<'a>, last: bool) -> Result<Val<'a>, Failed> {
    let mut found = -1;
    for (at, item) in items.iter().enumerate() {
        if item.equals(wanted)? {
            found = at as i64;
            if !last {
                break;
            }
        }
    }
    Ok(Val::Int(found))
}

fn distinct<'a>(items: Vec<Val<'a>>) -> Result<Val<'a>, Failed> {
    let mut kept: Vec<Val<'a>> = Vec::new();
    'items: for item in items {
        for known in &kept {
            if known.equals(&item)? {
                continue 'items;
            }
        }
        kept.push(item);
    }
    Ok(Val::list(kept))
}

fn flatten<'a>(items: Vec<Val<'a>>, depth: i64) -> Result<Vec<Val<'a>>, Failed> {
    let mut all = Vec::new();
    for item in items {
        match item {
            Val::List(list) if depth > 0 => all.extend(flatten(list.items()?, depth - 1)?),
            other => all.push(other),
        }
    }
    Ok(all)
}

/// `sets.contains` and its siblings.
pub(super) fn sets<'a>(name: &str, args: &[Val<'a>]) -> Answer<'a> {
    let [Val::List(a), Val::List(b)] = args else { return None };
    let contains = |a: &List<'a>, b: &List<'a>| -> Result<bool, Failed> {
        let all = a.items()?;
        for wanted in b.items()? {
            let mut found = false;
            for item in &all {
                found |= item.equals(&wanted)?;
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let found = match name {
        "contains" => contains(a, b),
        "equivalent" => contains(a, b).and_then(|one| Ok(one && contains(b, a)?)),
        "intersects" => (|| {
            let all = b.items()?;
            for item in a.items()? {
                for other in &all {
                    if item.equals(other)? {
                        return Ok(true);
                    }
                }
            }
            Ok(false)
        })(),
        _ => return None,
    };
    Some(found.map(Val::Bool))
}
