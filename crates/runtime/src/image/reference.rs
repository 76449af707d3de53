//! Names of images, normalised as Docker does it: `busybox` is `docker.io/library/busybox:latest`.
//!
//! The grammar is the distribution project's: registry host, path of lower-case components, tag, digest. Two names are the
//! same image here when their normalised forms are equal.

use std::fmt;

/// A name that is no image name: Kubernetes' `InvalidImageName`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image name {name:?} is invalid: {reason}")]
pub struct InvalidName {
    /// The name as it was given.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A whole, valid name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// `docker.io`, `localhost:5000`.
    pub registry: String,
    /// `library/busybox`.
    pub repository: String,
    /// The tag; `latest` if neither tag nor digest was given, none with a digest alone.
    pub tag: Option<String>,
    /// `sha256:<64 hex digits>`.
    pub digest: Option<String>,
}

const DEFAULT_REGISTRY: &str = "docker.io";
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;

impl Reference {
    /// Reads and normalises a name.
    ///
    /// # Errors
    /// [`InvalidName`] says which rule it breaks.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let wrong = |reason: &str| InvalidName { name: name.to_owned(), reason: reason.to_owned() };
        if name.is_empty() {
            return Err(wrong("it is empty"));
        }
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (name, None),
        };
        if let Some(digest) = digest
            && !is_digest(digest)
        {
            return Err(wrong("after @ stands sha256: and 64 lower-case hexadecimal digits"));
        }
        // A colon after the last slash begins the tag; one before it is the registry's port.
        let after_slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (path, tag) = match rest[after_slash..].find(':') {
            Some(at) => (&rest[..after_slash + at], Some(&rest[after_slash + at + 1..])),
            None => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(wrong(
                "a tag has at most 128 letters, digits, `_`, `.` and `-`, and begins with no `.` or `-`",
            ));
        }
        let (registry, repository) = split_registry(path);
        if !is_registry(registry) {
            return Err(wrong("the registry is no host name or address with an optional port"));
        }
        if repository.is_empty() {
            return Err(wrong("it has no repository"));
        }
        let mut repository = repository.to_owned();
        if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            repository = format!("library/{repository}");
        }
        if repository.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(wrong("the repository must be in lower case"));
        }
        if !repository.split('/').all(is_component) {
            return Err(wrong(
                "each part of the repository is made of lower-case letters and digits, joined by `.`, `_`, `__` or `-`",
            ));
        }
        if registry.len() + repository.len() + 1 > LONGEST_NAME {
            return Err(wrong("it is longer than 255 characters"));
        }
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some("latest".to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest: digest.map(str::to_owned) })
    }

    /// `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository by digest.
    pub fn with_digest(&self, digest: &str) -> Self {
        Self { tag: None, digest: Some(digest.to_owned()), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The first component is a registry when it looks like a host: a dot, a port, `localhost`, or a capital letter.
fn split_registry(path: &str) -> (&str, &str) {
    match path.split_once('/') {
        Some((first, rest))
            if first.contains('.')
                || first.contains(':')
                || first == "localhost"
                || first.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            let registry = if first == "index.docker.io" { DEFAULT_REGISTRY } else { first };
            (registry, rest)
        }
        _ => (DEFAULT_REGISTRY, path),
    }
}

fn is_registry(registry: &str) -> bool {
    if let Some(rest) = registry.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok()));
    }
    let (host, port) = match registry.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    port.is_none_or(|p| p.parse::<u16>().is_ok())
        && !host.is_empty()
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// Runs of lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !component.starts_with(plain) || !component.ends_with(plain) {
        return false;
    }
    component
        .split(plain)
        .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    !tag.is_empty()
        && tag.len() <= LONGEST_TAG
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && !tag.starts_with(['.', '-'])
}

/// `sha256:` and 64 lower-case hexadecimal digits; no other algorithm is taken. What passes is safe as a file name.
pub(crate) fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn normalises_like_docker() {
        let with_digest = format!("quay.io/a/b@{DIGEST}");
        let both = format!("docker.io/library/busybox:1@{DIGEST}");
        let short_both = format!("busybox:1@{DIGEST}");
        for (given, whole) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("rancher/k3s", "docker.io/rancher/k3s:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x:t", "localhost:5000/x:t"),
            ("10.0.0.1:5000/a/b/c", "10.0.0.1:5000/a/b/c:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f:latest"),
            (with_digest.as_str(), with_digest.as_str()),
            (short_both.as_str(), both.as_str()),
        ] {
            let parsed = Reference::parse(given).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(parsed.to_string(), whole);
            assert_eq!(Reference::parse(whole).as_ref(), Ok(&parsed), "the normal form must be stable");
        }
    }

    #[test]
    fn refuses_what_docker_refuses() {
        for name in [
            "",
            " busybox",
            "Busybox",
            "a b",
            "busybox:",
            "busybox:.x",
            "busybox:a:b",
            "a//b",
            "/a",
            "a/",
            "a.-b",
            "a___b",
            "-a",
            "x@sha256:12",
            "x@md5:0123",
            "exam ple.com/x",
            "host:port/x",
            "localhost:99999/x",
            "..",
            "a/../b",
            "https://example.com/x",
        ] {
            assert!(Reference::parse(name).is_err(), "{name:?} must be refused");
        }
        assert!(Reference::parse(&"a".repeat(300)).is_err());
        assert!(Reference::parse(&format!("a:{}", "t".repeat(129))).is_err());
    }
}
