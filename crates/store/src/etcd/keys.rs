//! Where things lie in etcd, below one prefix that is all ours.
//!
//! `objects/<resource>/<namespace>/<name>` are the entries. `deleted` is written with every deletion, in the same
//! transaction: it carries the last state for those who watch, and its revision says when something was last deleted.
//! `compacted` is how the servers agree who compacts.

use bytes::Bytes;

use crate::Key;

const OBJECTS: &str = "objects/";

/// Makes and reads keys.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

/// What a key is.
#[derive(Debug, PartialEq, Eq)]
pub enum Name {
    Object(Key),
    Deleted,
    /// Nothing that readers see.
    Other,
}

impl Keys {
    /// Below `prefix`, which gets a slash at its end if it has none.
    pub fn new(prefix: &str) -> Self {
        let slash = if prefix.ends_with('/') { "" } else { "/" };
        Self { prefix: format!("{prefix}{slash}") }
    }

    /// All keys: the first one, and the first that is none of them.
    pub fn range(&self) -> (Bytes, Bytes) {
        let first = self.prefix.clone().into_bytes();
        let mut end = first.clone();
        // The prefix ends with a slash, so that there is always a next byte.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        (first.into(), end.into())
    }

    pub fn object(&self, key: &Key) -> Bytes {
        format!("{}{OBJECTS}{}/{}/{}", self.prefix, key.resource, key.namespace, key.name).into()
    }

    pub fn deleted(&self) -> Bytes {
        format!("{}deleted", self.prefix).into()
    }

    pub fn compacted(&self) -> Bytes {
        format!("{}compacted", self.prefix).into()
    }

    pub fn read(&self, key: &[u8]) -> Name {
        let Some(rest) = key.strip_prefix(self.prefix.as_bytes()) else { return Name::Other };
        if rest == b"deleted" {
            return Name::Deleted;
        }
        let object = std::str::from_utf8(rest).ok().and_then(|rest| rest.strip_prefix(OBJECTS));
        let mut parts = object.unwrap_or_default().splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(resource), Some(namespace), Some(name)) => {
                Name::Object(Key::new(resource, namespace, name))
            }
            _ => Name::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_were_made() {
        let keys = Keys::new("/dunlin");
        for key in
            [Key::new("pods", "n", "a"), Key::new("nodes", "", "n1"), Key::new("roles.rbac", "n", "a/b:c")]
        {
            assert_eq!(keys.read(&keys.object(&key)), Name::Object(key));
        }
        assert_eq!(keys.read(&keys.deleted()), Name::Deleted);
        assert_eq!(keys.read(&keys.compacted()), Name::Other);
        for other in ["/dunlin/objects/pods/a", "/other/objects/pods/n/a", "/dunlin/objects2/pods/n/a", ""] {
            assert_eq!(keys.read(other.as_bytes()), Name::Other, "{other}");
        }
        let (first, end) = keys.range();
        let inside = keys.object(&Key::new("zz", "zz", "~"));
        assert!(first < inside && inside < end && end[..] == b"/dunlin0"[..]);
    }
}
