//! Resource quantities.

use crate::cel::Failed;
use crate::cel::value::Val;
use crate::quantity::Quantity;

const NANO: i128 = 1_000_000_000;

type Answer<'a> = Option<Result<Val<'a>, Failed>>;

pub(super) fn global<'a>(name: &str, args: &[Val<'a>]) -> Answer<'a> {
    let [Val::Text(text)] = args else { return None };
    match name {
        "isQuantity" => Some(Ok(Val::Bool(text.parse::<Quantity>().is_ok()))),
        "quantity" => Some(match text.parse() {
            Ok(quantity) => Ok(Val::Quantity(quantity)),
            Err(_) => Err(Failed::Error(format!("quantity: {text:?} is not a quantity"))),
        }),
        _ => None,
    }
}

/// A quantity of thousand-millionths, if it can be held.
fn of_nano<'a>(nano: i128) -> Result<Val<'a>, Failed> {
    let text = if nano % NANO == 0 { format!("{}", nano / NANO) } else { format!("{nano}n") };
    let quantity = text.parse().map_err(|_| Failed::Error("quantity overflow".into()))?;
    Ok(Val::Quantity(quantity))
}

pub(super) fn call<'a>(name: &str, quantity: &Quantity, args: &[Val<'a>]) -> Answer<'a> {
    let own = quantity.nano();
    let value = match (name, args) {
        ("sign", []) => Val::Int(own.signum() as i64),
        ("isInteger", []) => Val::Bool(own % NANO == 0 && i64::try_from(own / NANO).is_ok()),
        ("asInteger", []) => match (own % NANO, i64::try_from(own / NANO)) {
            (0, Ok(n)) => Val::Int(n),
            _ => return Some(Err(Failed::Error("cannot convert value to integer".into()))),
        },
        ("asApproximateFloat", []) => Val::Double(quantity.as_f64()),
        ("add" | "sub", [other]) => {
            let other = match other {
                Val::Quantity(other) => other.nano(),
                Val::Int(n) => i128::from(*n).saturating_mul(NANO),
                _ => return None,
            };
            let sum = if name == "add" { own.saturating_add(other) } else { own.saturating_sub(other) };
            return Some(of_nano(sum));
        }
        ("isLessThan", [Val::Quantity(other)]) => Val::Bool(own < other.nano()),
        ("isGreaterThan", [Val::Quantity(other)]) => Val::Bool(own > other.nano()),
        ("compareTo", [Val::Quantity(other)]) => Val::Int(own.cmp(&other.nano()) as i64),
        _ => return None,
    };
    Some(Ok(value))
}
