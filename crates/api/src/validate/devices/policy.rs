//! How much of a capacity that several claims share one of them may ask for.

use std::cmp::Ordering;

use super::super::field::{At, Errors};
use super::super::{FieldError, resources};
use crate::quantity::Quantity;

const MAX_VALUES: usize = 10;

pub(super) fn capacity(capacity: &At, shared: bool, errors: &mut Errors) {
    let policy = capacity.get("requestPolicy");
    let whole = resources::quantity(&capacity.get("value"), errors);
    if !policy.is_set() {
        return;
    }
    if !shared {
        return errors.forbidden(&policy, "allowMultipleAllocations must be true");
    }
    let (values, range) = (policy.get("validValues"), policy.get("validRange"));
    if !values.is_empty() && range.is_set() {
        let why = r#"exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time"#;
        return errors.forbidden(&policy, why);
    }
    let default = policy.get("default");
    let (Some(whole), Some(usual)) = (whole, resources::quantity(&default, errors)) else {
        for (at, name) in [(&values, "validValues"), (&range, "validRange")] {
            if !at.is_empty() && !default.is_set() {
                errors.required(&default, &format!("required when {name} is defined"));
            }
        }
        return;
    };
    if !values.is_empty() {
        discrete(&values, whole, usual, errors);
    } else if range.is_set() {
        continuous(&range, whole, usual, errors);
    }
}

fn discrete(list: &At, whole: Quantity, usual: Quantity, errors: &mut Errors) {
    let read: Vec<Option<Quantity>> =
        list.items().iter().map(|item| Quantity::from_value(item.value).ok()).collect();
    for (index, pair) in read.windows(2).enumerate() {
        if let [Some(before), Some(after)] = pair
            && before > after
        {
            let at = &list.items()[index + 1];
            errors.invalid_value(at, after.to_string(), "values must be sorted in ascending order");
        }
    }
    let too_large = |item: &At, errors: &mut Errors| {
        if let Some(option) = resources::quantity(item, errors)
            && option > whole
        {
            let why = format!("option is larger than capacity value: {whole}");
            errors.invalid_value(item, option.to_string(), why);
        }
    };
    let key = |item: &At| Quantity::from_value(item.value).map_or_else(|_| String::new(), |q| q.to_string());
    super::set(list, MAX_VALUES, errors, too_large, key);
    if !read.iter().flatten().any(|option| option.cmp(&usual) == Ordering::Equal) {
        let why = "default value is not valid according to the requestPolicy";
        errors.push(FieldError::invalid(&list.path, usual.to_string(), why));
    }
}

fn continuous(range: &At, whole: Quantity, usual: Quantity, errors: &mut Errors) {
    let (low, high, step) = (range.get("min"), range.get("max"), range.get("step"));
    let Some(min) = resources::quantity(&low, errors) else {
        return errors.required(&low, "required when validRange is defined");
    };
    let mut wrong = |at: &At, shown: Quantity, why: String| errors.invalid_value(at, shown.to_string(), why);
    if min > whole {
        wrong(&low, min, format!("min is larger than capacity value: {whole}"));
    }
    if usual < min {
        wrong(&low, usual, format!("default is less than min: {min}"));
    }
    let max = Quantity::from_value(high.value).ok().filter(|_| high.is_set());
    if let Some(max) = max {
        if min > max {
            wrong(&high, min, format!("min is larger than max: {max}"));
        }
        if max > whole {
            wrong(&high, max, format!("max is larger than capacity value: {whole}"));
        }
        if usual > max {
            wrong(&high, usual, format!("default is more than max: {max}"));
        }
    }
    let Some(by) = Quantity::from_value(step.value).ok().filter(|_| step.is_set()) else { return };
    let (from, size) = (min.value(), by.value());
    if size <= 0 {
        return;
    }
    let next = min + by;
    if next > whole {
        wrong(&step, by, format!("one step {next} is larger than capacity value: {whole}"));
    }
    for value in [Some(usual), max].into_iter().flatten() {
        if (value.value() - from) % size != 0 {
            wrong(&step, value, format!("value is not a multiple of a given step ({by}) from ({min})"));
        }
    }
}
