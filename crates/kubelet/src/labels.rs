//! Which labels a node may give itself: the admission plugin NodeRestriction refuses others, and the whole Node with them.

/// Labels outside of the prefixes below that a node may set.
const KNOWN: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];
/// Namespaces of labels that a node may set.
const OURS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];

/// Whether a node may give itself the label of this name.
pub fn allowed(name: &str) -> bool {
    let Some((namespace, _)) = name.split_once('/') else { return true };
    let within = |domain: &str| {
        namespace.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let reserved = within("kubernetes.io") || within("k8s.io");
    !reserved || KNOWN.contains(&name) || OURS.iter().any(|ours| within(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kubernetes_are_not_free() {
        for name in
            ["place", "example.com/place", "node.kubernetes.io/size", "a.kubelet.kubernetes.io/b", KNOWN[0]]
        {
            assert!(allowed(name), "{name}");
        }
        for name in [
            "node-role.kubernetes.io/worker",
            "kubernetes.io/x",
            "node-restriction.kubernetes.io/a",
            "k8s.io/a",
        ] {
            assert!(!allowed(name), "{name}");
        }
        assert!(allowed("notkubernetes.io/a"));
    }
}
