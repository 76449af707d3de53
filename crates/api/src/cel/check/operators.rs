//! The types that operators take and give, and what they cost.

use std::sync::Arc;

use super::issue;
use crate::cel::Issue;
use crate::cel::ast::Op;
use crate::cel::types::{Max, Type};

pub(super) fn no_overload<T>(at: u32, name: &str, types: &[&Type]) -> Result<T, Issue> {
    let types: Vec<String> = types.iter().map(ToString::to_string).collect();
    issue(at, format!("found no matching overload for '{name}' applied to '({})'", types.join(", ")))
}

/// What an operator costs, from the sizes of its sides; the same before and during evaluation.
pub(in crate::cel) fn binary_cost(op: Op, left: u64, right: u64) -> u64 {
    let tenth = |n: u64| n.div_ceil(10).max(1);
    match op {
        Op::Add => tenth(left.saturating_add(right)),
        Op::In => right.max(1),
        Op::Equal | Op::NotEqual | Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual => {
            tenth(left.min(right))
        }
        _ => 1,
    }
}

pub(super) fn binary(at: u32, op: Op, left: &Type, right: &Type) -> Result<Type, Issue> {
    let refuse = || no_overload(at, op.name(), &[left, right]);
    if left.is_dyn() || right.is_dyn() {
        return match op {
            Op::Add | Op::Subtract | Op::Multiply | Op::Divide | Op::Modulo => {
                half_known(op, left, right).map_or_else(refuse, Ok)
            }
            Op::In if !matches!(right, Type::Dyn | Type::List(..) | Type::Map(..)) => refuse(),
            _ => Ok(Type::Bool),
        };
    }
    let sum = |a: &Max, b: &Max| a.zip(*b).map(|(a, b)| a.saturating_add(b));
    match op {
        Op::Equal | Op::NotEqual => {
            let optional = |a: &Type, b: &Type| matches!(a, Type::Null) || matches!(b, Type::Null);
            if left.fits(right) || optional(left, right) { Ok(Type::Bool) } else { refuse() }
        }
        Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual => {
            let number = |t: &Type| matches!(t, Type::Int | Type::Uint | Type::Double);
            let ordered = matches!(
                left,
                Type::Bool | Type::String(_) | Type::Bytes(_) | Type::Timestamp | Type::Duration
            );
            if (number(left) && number(right)) || (ordered && left.fits(right)) {
                Ok(Type::Bool)
            } else {
                refuse()
            }
        }
        Op::In => match right {
            Type::List(item, ..) if item.fits(left) => Ok(Type::Bool),
            Type::Map(key, ..) if key.fits(left) => Ok(Type::Bool),
            _ => refuse(),
        },
        Op::Add => match (left, right) {
            (Type::String(a), Type::String(b)) => Ok(Type::String(sum(a, b))),
            (Type::Bytes(a), Type::Bytes(b)) => Ok(Type::Bytes(sum(a, b))),
            (Type::List(a, m, items), Type::List(b, n, _)) if a.fits(b) => {
                Ok(Type::List(Arc::new(a.either(b)), sum(m, n), items.clone()))
            }
            (Type::Int, Type::Int) => Ok(Type::Int),
            (Type::Uint, Type::Uint) => Ok(Type::Uint),
            (Type::Double, Type::Double) => Ok(Type::Double),
            (Type::Duration, Type::Duration) => Ok(Type::Duration),
            (Type::Timestamp, Type::Duration) | (Type::Duration, Type::Timestamp) => Ok(Type::Timestamp),
            _ => refuse(),
        },
        Op::Subtract => match (left, right) {
            (Type::Int, Type::Int) => Ok(Type::Int),
            (Type::Uint, Type::Uint) => Ok(Type::Uint),
            (Type::Double, Type::Double) => Ok(Type::Double),
            (Type::Duration, Type::Duration) | (Type::Timestamp, Type::Timestamp) => Ok(Type::Duration),
            (Type::Timestamp, Type::Duration) => Ok(Type::Timestamp),
            _ => refuse(),
        },
        Op::Multiply | Op::Divide | Op::Modulo => match (left, right) {
            (Type::Int, Type::Int) => Ok(Type::Int),
            (Type::Uint, Type::Uint) => Ok(Type::Uint),
            (Type::Double, Type::Double) if op != Op::Modulo => Ok(Type::Double),
            _ => refuse(),
        },
    }
}

/// The type of an arithmetic operation of which the type of one side is not known: that of the only way to do it, if there is
/// only one. `None`: there is none.
fn half_known(op: Op, left: &Type, right: &Type) -> Option<Type> {
    let known = match (left.is_dyn(), right.is_dyn()) {
        (true, true) => return Some(Type::Dyn),
        (true, false) => right,
        _ => left,
    };
    Some(match (op, known) {
        (_, Type::Int | Type::Uint) => known.clone(),
        (Op::Add | Op::Subtract | Op::Multiply | Op::Divide, Type::Double) => Type::Double,
        (Op::Add, Type::String(_)) => Type::String(None),
        (Op::Add, Type::Bytes(_)) => Type::Bytes(None),
        (Op::Add, Type::List(of, _, items)) => Type::List(of.clone(), None, items.clone()),
        (Op::Add, Type::Timestamp) => Type::Timestamp,
        // A length of time is added to another or to a moment.
        (Op::Add, Type::Duration) => Type::Dyn,
        (Op::Subtract, Type::Timestamp) if right.is_dyn() => Type::Dyn,
        (Op::Subtract, Type::Timestamp) => Type::Duration,
        (Op::Subtract, Type::Duration) if right.is_dyn() => Type::Duration,
        (Op::Subtract, Type::Duration) => Type::Dyn,
        _ => return None,
    })
}
