//! Names in devices: of pools, of attributes and capacities.

use super::super::field::{At, Errors};
use super::super::{FieldError, syntax};

const LONGEST_POOL: usize = 253;
const LONGEST_DOMAIN: usize = 63;
const LONGEST_IDENTIFIER: usize = 32;

/// DNS subdomains with slashes between them.
pub(super) fn pool(at: &At, errors: &mut Errors) {
    if !errors.need(at) {
        return;
    }
    if at.text().len() > LONGEST_POOL {
        errors.push(FieldError::too_long(&at.path, LONGEST_POOL));
    }
    for part in at.text().split('/') {
        errors.complaints_about(at, part, syntax::dns_subdomain(part));
    }
}

/// `name` or `domain/name`; the driver's own names have no domain.
pub(super) fn qualified(at: &At, name: &str, errors: &mut Errors) {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [name] => identifier(at, name, errors),
        [domain, name] => {
            if domain.is_empty() {
                errors.invalid_value(at, "", "the domain must not be empty");
            } else {
                if domain.len() > LONGEST_DOMAIN {
                    errors.push(FieldError::too_long(&at.path, LONGEST_DOMAIN));
                }
                errors.complaints_about(at, domain, syntax::dns_subdomain(&domain.to_lowercase()));
            }
            if name.is_empty() {
                errors.invalid_value(at, "", "the name must not be empty");
            } else {
                identifier(at, name, errors);
            }
        }
        _ => {}
    }
}

pub(super) fn fully_qualified(at: &At, errors: &mut Errors) {
    qualified(at, at.text(), errors);
    if !at.text().contains('/') {
        errors.invalid(at, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

fn identifier(at: &At, name: &str, errors: &mut Errors) {
    if name.len() > LONGEST_IDENTIFIER {
        errors.push(FieldError::too_long(&at.path, LONGEST_IDENTIFIER));
    }
    let start = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !start || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let words = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
        let form = "[A-Za-z_][A-Za-z0-9_]*";
        errors.invalid_value(at, name, syntax::regex_words(words, form, &["my_name", "MY_NAME", "MyName"]));
    }
}
