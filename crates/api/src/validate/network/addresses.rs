//! Ranges of service addresses, and the addresses that are taken of them.

use super::super::field::{At, Errors, same};
use super::super::syntax;

pub(super) fn address(object: &At, errors: &mut Errors) {
    let parent = object.path(&["spec", "parentRef"]);
    if !parent.is_set() {
        return errors.required(&parent, "");
    }
    errors.form(&parent.get("group"), syntax::dns_subdomain);
    errors.need_form(&parent.get("resource"), syntax::path_segment);
    errors.need_form(&parent.get("name"), syntax::path_segment);
    errors.form(&parent.get("namespace"), syntax::path_segment);
}

pub(super) fn address_change(new: &At, old: &At, errors: &mut Errors) {
    errors.immutable(&new.path(&["spec", "parentRef"]), &old.path(&["spec", "parentRef"]));
}

pub(super) fn range(object: &At, errors: &mut Errors) {
    let list = object.path(&["spec", "cidrs"]);
    let items = list.items();
    if items.is_empty() {
        return errors.required(&list, "at least one CIDR required");
    }
    if items.len() > 2 {
        let spec = object.get("spec");
        return errors.invalid(&spec.at(list.path.clone()), "may only hold up to 2 values");
    }
    for item in &items {
        errors.complaints(item, syntax::cidr(item.text()));
    }
    let valid = items.iter().all(|item| syntax::cidr(item.text()).is_empty());
    let families: Vec<bool> = items.iter().map(|item| item.text().contains(':')).collect();
    if valid && families.len() == 2 && families[0] == families[1] {
        errors.invalid(
            &list,
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        );
    }
}

/// A range stays; one of the other family may join it.
pub(super) fn range_change(new: &At, old: &At, errors: &mut Errors) {
    let (list, before) = (new.path(&["spec", "cidrs"]), old.path(&["spec", "cidrs"]).items());
    let items = list.items();
    let grown = before.len() == 1 && items.len() == 2;
    if items.len() != before.len() && !grown {
        return errors.invalid(&list, "field is immutable");
    }
    for (item, before) in items.iter().zip(&before) {
        if !same(item.value, before.value) {
            errors.invalid(item, "field is immutable");
        }
    }
    if grown {
        range(new, errors);
    }
}
