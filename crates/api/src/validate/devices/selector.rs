//! Expressions that choose devices.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::super::FieldError;
use super::super::field::{At, Errors};
use crate::cel::types::{Field, Object, Opaque, Type};
use crate::cel::{self, Environment};

const LONGEST: usize = 10 * 1024;
/// The most that one expression may cost for one device, by estimate.
const MOST: u64 = 1_000_000;
/// The most attributes and capacities of a device.
const ENTRIES: u64 = 32;

static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    let text = |longest| Type::String(Some(longest));
    let map = |key, to| Type::Map(Arc::new(key), Arc::new(to), Some(ENTRIES));
    let named = |to| map(text(63), map(text(32), to));
    let field = |name: &str, ty| (name.into(), Field { json: name.into(), ty });
    let fields = BTreeMap::from([
        field("driver", text(63)),
        field("allowMultipleAllocations", Type::Bool),
        field("attributes", named(Type::Dyn)),
        field("capacity", named(Type::Opaque(Opaque::Quantity))),
    ]);
    let device = Object { name: "kubernetes.DRADevice".into(), fields, open: false };
    Environment::default().with("device", Type::Object(Arc::new(device)))
});

pub(super) fn check(at: &At, errors: &mut Errors) {
    let expression = at.text();
    if expression.len() > LONGEST {
        return errors.push(FieldError::too_long(&at.path, LONGEST));
    }
    match cel::compile(expression, &ENVIRONMENT) {
        Err(issue) => {
            errors.invalid_value(at, expression, format!("compilation failed: {}", issue.print(expression)));
        }
        Ok(program) => match program.ty() {
            Type::Bool | Type::Dyn if program.cost() > MOST => {
                errors.forbidden(at, "too complex, exceeds cost limit");
            }
            Type::Bool | Type::Dyn => {}
            other => {
                let why = format!("must evaluate to bool or the unknown type, not {other}");
                errors.invalid_value(at, expression, why);
            }
        },
    }
}
