//! Where things of the parent live below: namespaces and names that never touch what is the child's own.

use dunlin_api::names::namespace;

use super::mirror::short;
use super::references::{Kind, ROOT_CA};

/// The longest name of a namespace (RFC 1123 label).
const LONGEST: usize = 63;

/// Whether the child always has a namespace of this name itself.
pub fn is_always_own(name: &str) -> bool {
    name == namespace::DEFAULT || name.starts_with("kube-")
}

/// The name of a parent's namespace below where the child has one of that name itself.
pub fn beside(name: &str, parent: &str) -> String {
    let whole = format!("{name}--{parent}");
    if whole.len() <= LONGEST {
        return whole;
    }
    // A hash keeps two long names apart; names are ASCII, so any cut is a character's.
    let tail = short(&whole);
    format!("{}-{tail}", whole[..LONGEST - tail.len() - 1].trim_end_matches('-'))
}

/// The name below of something that a pod names, where nothing of the child's own stands in the way.
pub fn name(kind: Kind, name: &str) -> String {
    match kind {
        Kind::ConfigMap if name == ROOT_CA => "home-root-ca.crt".to_owned(),
        _ => name.to_owned(),
    }
}

/// The name below of something whose plain name the child has given to something of its own.
pub fn renamed(name: &str, uid: &str) -> String {
    // Kept as short as a namespace's name has to be.
    let room = LONGEST - 17;
    format!("{}-{}", name[..name.len().min(room)].trim_end_matches(['-', '.']), short(uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_stay_valid_and_apart() {
        assert_eq!(beside("default", "root"), "default--root");
        let (a, b) = (beside(&"a".repeat(62), "root"), beside(&format!("{}b", "a".repeat(61)), "root"));
        assert!(a.len() <= LONGEST && b.len() <= LONGEST && a != b);
        assert!(is_always_own("kube-system") && is_always_own("default") && !is_always_own("shop"));
    }
}
