//! What operators make of values.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{failed, no_overload};
use crate::cel::Failed;
use crate::cel::ast::{Access, Op};
use crate::cel::value::{List, Val};

pub(super) fn select<'a>(base: Val<'a>, field: &str, how: Access) -> Result<Val<'a>, Failed> {
    let (base, through) = match base {
        Val::Optional(None) => {
            return Ok(if how == Access::Test { Val::Bool(false) } else { Val::Optional(None) });
        }
        Val::Optional(Some(value)) => ((*value).clone(), true),
        other => (other, false),
    };
    let Val::Map(map) = &base else { return no_overload() };
    let found = map.field(field).transpose()?;
    match how {
        Access::Test => Ok(Val::Bool(found.is_some())),
        Access::Optional => Ok(Val::Optional(found.map(Arc::new))),
        Access::Plain if through => Ok(Val::Optional(found.map(Arc::new))),
        Access::Plain => found.ok_or_else(|| Failed::Error(format!("no such key: {field}"))),
    }
}

pub(super) fn index_of<'a>(base: Val<'a>, key: &Val<'a>, optional: bool) -> Result<Val<'a>, Failed> {
    let (base, through) = match base {
        Val::Optional(None) => return Ok(Val::Optional(None)),
        Val::Optional(Some(value)) => ((*value).clone(), true),
        other => (other, false),
    };
    let found = match &base {
        Val::List(list) => {
            let at = match key {
                Val::Int(n) => usize::try_from(*n).ok(),
                Val::Uint(n) => usize::try_from(*n).ok(),
                Val::Double(n) if n.fract() == 0.0 && *n >= 0.0 => Some(*n as usize),
                _ => return no_overload(),
            };
            at.and_then(|at| list.get(at)).transpose()?
        }
        Val::Map(map) => map.get(key)?,
        _ => return no_overload(),
    };
    if optional || through {
        return Ok(Val::Optional(found.map(Arc::new)));
    }
    found.ok_or_else(|| {
        let key = match key {
            Val::Text(text) => text.to_string(),
            other => other.to_json().map_or_else(String::new, |v| v.to_string()),
        };
        match base {
            Val::List(_) => Failed::Error(format!("index out of bounds: {key}")),
            _ => Failed::Error(format!("no such key: {key}")),
        }
    })
}

/// An operation on whole numbers, with or without a sign; `None` when its result is too large.
macro_rules! whole {
    ($op:expr, $a:expr, $b:expr) => {
        match $op {
            Op::Add => $a.checked_add($b),
            Op::Subtract => $a.checked_sub($b),
            Op::Multiply => $a.checked_mul($b),
            op if $b == 0 => {
                return failed(if op == Op::Divide { "division by zero" } else { "modulus by zero" });
            }
            Op::Divide => $a.checked_div($b),
            _ => $a.checked_rem($b),
        }
    };
}

pub(super) fn overflow() -> Failed {
    Failed::Error("integer overflow".into())
}

pub(super) fn binary<'a>(op: Op, left: Val<'a>, right: Val<'a>) -> Result<Val<'a>, Failed> {
    match op {
        Op::Equal => return left.equals(&right).map(Val::Bool),
        Op::NotEqual => return left.equals(&right).map(|same| Val::Bool(!same)),
        Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual => {
            let number = |v: &Val<'_>| matches!(v, Val::Int(_) | Val::Uint(_) | Val::Double(_));
            return match left.compare(&right) {
                Some(order) => Ok(Val::Bool(match op {
                    Op::Less => order == Ordering::Less,
                    Op::LessEqual => order != Ordering::Greater,
                    Op::Greater => order == Ordering::Greater,
                    _ => order != Ordering::Less,
                })),
                // Not a number is in no order with any.
                None if number(&left) && number(&right) => Ok(Val::Bool(false)),
                None => no_overload(),
            };
        }
        Op::In => {
            return match &right {
                Val::List(list) => {
                    for item in list.items()? {
                        if item.equals(&left)? {
                            return Ok(Val::Bool(true));
                        }
                    }
                    Ok(Val::Bool(false))
                }
                Val::Map(map) => Ok(Val::Bool(map.get(&left)?.is_some())),
                _ => no_overload(),
            };
        }
        _ => {}
    }
    Ok(match (op, left, right) {
        (op, Val::Int(a), Val::Int(b)) => Val::Int(whole!(op, a, b).ok_or_else(overflow)?),
        (op, Val::Uint(a), Val::Uint(b)) => {
            Val::Uint(whole!(op, a, b).ok_or_else(|| Failed::Error("unsigned integer overflow".into()))?)
        }
        (Op::Add, Val::Double(a), Val::Double(b)) => Val::Double(a + b),
        (Op::Subtract, Val::Double(a), Val::Double(b)) => Val::Double(a - b),
        (Op::Multiply, Val::Double(a), Val::Double(b)) => Val::Double(a * b),
        (Op::Divide, Val::Double(a), Val::Double(b)) => Val::Double(a / b),
        (Op::Add, Val::Text(a), Val::Text(b)) => Val::Text(a + b),
        (Op::Add, Val::Bytes(a), Val::Bytes(b)) => Val::Bytes([&a[..], &b[..]].concat().into()),
        (Op::Add, Val::List(a), Val::List(b)) => return List::concat(&a, &b),
        (Op::Add, Val::Duration(a), Val::Duration(b)) => {
            Val::Duration(a.checked_add(b).ok_or_else(|| Failed::Error("duration overflow".into()))?)
        }
        (Op::Subtract, Val::Duration(a), Val::Duration(b)) => {
            Val::Duration(a.checked_sub(b).ok_or_else(|| Failed::Error("duration overflow".into()))?)
        }
        (Op::Add, Val::Timestamp(t), Val::Duration(d)) | (Op::Add, Val::Duration(d), Val::Timestamp(t)) => {
            shift(t, d)?
        }
        (Op::Subtract, Val::Timestamp(t), Val::Duration(d)) => {
            shift(t, d.checked_neg().ok_or_else(|| Failed::Error("duration overflow".into()))?)?
        }
        (Op::Subtract, Val::Timestamp(a), Val::Timestamp(b)) => {
            let nanos = a.as_nanosecond() - b.as_nanosecond();
            Val::Duration(i64::try_from(nanos).map_err(|_| Failed::Error("duration overflow".into()))?)
        }
        _ => return no_overload(),
    })
}

fn shift<'a>(time: jiff::Timestamp, nanos: i64) -> Result<Val<'a>, Failed> {
    match time.checked_add(jiff::SignedDuration::from_nanos(nanos)) {
        Ok(time) => Ok(Val::Timestamp(time)),
        Err(_) => failed("timestamp overflow"),
    }
}
