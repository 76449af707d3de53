//! Well-known names: labels, annotations, taints, finalizers, namespaces, users and groups, and the address of the API inside pods.
//!
//! A name that two crates must agree on stands here and nowhere else. No logic beyond joining and splitting the
//! names of users and groups.

use std::net::Ipv4Addr;

/// Where pods find the API on every node: a link-local address that the node relays, so that it is the same
/// everywhere and works while the way up changes. It is what `KUBERNETES_SERVICE_HOST` says.
pub const API_SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 72, 1);
/// The port beside [`API_SERVICE_ADDRESS`]: `KUBERNETES_SERVICE_PORT`.
pub const API_SERVICE_PORT: u16 = 443;

/// Namespaces that every cluster has.
pub mod namespace {
    pub const DEFAULT: &str = "default";
    pub const SYSTEM: &str = "kube-system";
    pub const PUBLIC: &str = "kube-public";
    pub const NODE_LEASE: &str = "kube-node-lease";
    /// All of them, in the order in which they are created.
    pub const ALL: [&str; 4] = [DEFAULT, SYSTEM, PUBLIC, NODE_LEASE];
}

/// Well-known labels.
pub mod label {
    pub const HOSTNAME: &str = "kubernetes.io/hostname";
    pub const OS: &str = "kubernetes.io/os";
    pub const ARCH: &str = "kubernetes.io/arch";
    pub const ZONE: &str = "topology.kubernetes.io/zone";
    pub const REGION: &str = "topology.kubernetes.io/region";
    pub const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
    pub const METADATA_NAME: &str = "kubernetes.io/metadata.name";
    pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
    pub const HEADLESS_SERVICE: &str = "service.kubernetes.io/headless";
    pub const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
    pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
    pub const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
    pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
    pub const CONTROLLER_REVISION_HASH: &str = "controller-revision-hash";
    pub const POD_TEMPLATE_GENERATION: &str = "pod-template-generation";
    pub const STATEFULSET_POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
    pub const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
    pub const JOB_NAME: &str = "batch.kubernetes.io/job-name";
    pub const JOB_NAME_LEGACY: &str = "job-name";
    pub const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
    pub const CONTROLLER_UID_LEGACY: &str = "controller-uid";
    pub const JOB_COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
    pub const AGGREGATE_PREFIX: &str = "rbac.authorization.k8s.io/aggregate-to-";
    pub const BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";
    pub const EXCLUDE_LOAD_BALANCER: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
    pub const POD_SECURITY_ENFORCE: &str = "pod-security.kubernetes.io/enforce";
    pub const NODE_ROLE_CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
    /// Set on the `Node` that stands for a child cluster.
    pub const VIRTUAL_NODE: &str = "dunlin.io/virtual-node";
    /// The area a node is in, by name.
    pub const AREA: &str = "dunlin.io/area";
    /// The cluster that a node stands for, or that a machine belongs to: a pod that selects it is pinned to that cluster.
    pub const CLUSTER: &str = "dunlin.io/cluster";
    /// On everything that an uplink made below: the name of the parent it was made for.
    pub const MIRROR: &str = "dunlin.io/mirror";
    /// On a DaemonSet that an uplink made, and on its pods: the uid of the DaemonSet one level above.
    pub const DAEMON_OF: &str = "dunlin.io/daemon-of";
    /// On the pods and objects of a job: what `dunlin jobs` groups by.
    pub const JOB: &str = "dunlin.io/job";
    /// On a volume that was provisioned on a node: that node as far as a label holds its name, so that it can select its
    /// own.
    pub const VOLUME_NODE: &str = "dunlin.io/volume-node";
    /// On a pod: the pods with the same value in one namespace are placed together or not at all (policy `group`).
    pub const GROUP: &str = "dunlin.io/group";

    /// Labels of Kubernetes' own domains that a node may set on itself.
    const OF_NODES: [&str; 13] = [
        HOSTNAME,
        ARCH,
        OS,
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        INSTANCE_TYPE,
        REGION,
        ZONE,
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.kubernetes.io/region",
        "failure-domain.kubernetes.io/zone",
    ];
    /// And all labels of these domains and of those below them.
    const DOMAINS_OF_NODES: [&str; 2] = ["node.kubernetes.io", "kubelet.kubernetes.io"];

    /// Whether a node may give itself the label `key`: Kubernetes keeps its own domains, but for these, to its
    /// administrators. What stands for clusters is not among them.
    pub fn is_of_nodes(key: &str) -> bool {
        if matches!(key, VIRTUAL_NODE | CLUSTER) {
            return false;
        }
        let Some((domain, _)) = key.split_once('/') else { return true };
        let within =
            |wide: &str| domain.strip_suffix(wide).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if !within("kubernetes.io") && !within("k8s.io") {
            return true;
        }
        OF_NODES.contains(&key) || DOMAINS_OF_NODES.into_iter().any(within)
    }
}

/// Well-known annotations.
pub mod annotation {
    pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
    pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
    pub const DEPLOYMENT_REVISION: &str = "deployment.kubernetes.io/revision";
    pub const DEPLOYMENT_REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
    pub const DEPLOYMENT_DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
    pub const DEPLOYMENT_MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
    pub const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
    pub const DAEMONSET_TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
    pub const POD_DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    pub const JOB_COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
    pub const CRONJOB_SCHEDULED_TIME: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
    pub const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
    pub const SERVICE_ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
    pub const MIRROR_POD: &str = "kubernetes.io/config.mirror";
    pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
    pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
    pub const NODE_TTL: &str = "node.alpha.kubernetes.io/ttl";
    pub const LAST_CHANGE_TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";
    pub const DEFAULT_STORAGE_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
    pub const DEFAULT_INGRESS_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
    pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
    pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
    pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
    pub const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
    pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
    pub const RBAC_AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
    /// How long a side that lost contact waits before it stops the pod itself.
    pub const FENCE_AFTER: &str = "dunlin.io/fence-after";
    /// On a mirror: the uid of the object one level above that it stands for.
    pub const MIRROR_OF: &str = "dunlin.io/mirror-of";
    /// On a mirror: uid of the object in its home API, however many levels above.
    pub const HOME_UID: &str = "dunlin.io/home-uid";
    /// On a mirror: namespace of the object in its home API.
    pub const HOME_NAMESPACE: &str = "dunlin.io/home-namespace";
    /// On a mirrored pod: the node that it is bound to in its home API.
    pub const HOME_NODE: &str = "dunlin.io/home-node";
    /// On a pod: the scheduling policy it asks for instead of its cluster's.
    pub const SCHEDULER_POLICY: &str = "dunlin.io/scheduler-policy";
    /// On a pod: how many pods its group has; none is placed before all can be (policy `group`).
    pub const GROUP_SIZE: &str = "dunlin.io/group-size";
    /// On a pod: where it wants to be near, an area's name or `LAT,LON` in degrees (policy `nearest`).
    pub const NEAR: &str = "dunlin.io/near";
    /// On a node: the keys of the labels that it has given itself, so that it can take them back.
    pub const OWN_LABELS: &str = "dunlin.io/own-labels";
    /// On a volume that was provisioned on a node: that node.
    pub const VOLUME_NODE: &str = "dunlin.io/volume-node";
    /// On a node: the directory in which it makes volumes.
    pub const VOLUMES: &str = "dunlin.io/volumes";
    /// On a node that is a machine of a child cluster: the node that the cluster is here. It gives that node the rights
    /// of this one; set when the node is made.
    pub const EXPOSED_BY: &str = "dunlin.io/exposed-by";
    /// On such a node: the taints that it has from its machine, so that it can take them back.
    pub const OWN_TAINTS: &str = "dunlin.io/own-taints";
    /// On a node: its position, `LAT,LON` in degrees.
    pub const POSITION: &str = "dunlin.io/position";
    /// On a node: measured round trips to areas in milliseconds, as in `north=3.5,south=40`.
    pub const LATENCY: &str = "dunlin.io/latency";
    /// On a pod: the uid of the pod that it takes the place of in a migration.
    pub const REPLACES: &str = "dunlin.io/replaces";
    /// On a pod: the machine, by path below its cluster's node, that it must run on.
    pub const MACHINE: &str = "dunlin.io/machine";
}

/// Names around persistent volumes.
pub mod storage {
    /// The provisioner of directories on the machine that a pod was placed on; also the finalizer by which a volume
    /// waits until its machine, or its child cluster, has removed what it stands for.
    pub const LOCAL_PATH: &str = "dunlin.io/local-path";
    /// The storage class that every cluster has.
    pub const LOCAL_PATH_CLASS: &str = "local-path";
    /// `csi.driver` of a volume that is a claim in a child cluster.
    pub const CLUSTER_DRIVER: &str = "cluster.dunlin.io";
    /// The provisioner of classes whose volumes people make.
    pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
    /// The longest value of a label.
    const LONGEST: usize = 63;

    /// The value of [`super::label::VOLUME_NODE`] for a node: its name, shortened with a hash if no label holds it.
    pub fn node_label(node: &str) -> String {
        if node.len() <= LONGEST {
            return node.to_owned();
        }
        let hash = node.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        // Names of nodes are ASCII, so any cut is a character's.
        format!("{}-{hash:016x}", node[..LONGEST - 17].trim_end_matches(['-', '.']))
    }
}

/// Well-known conditions of pods, beyond Kubernetes' own.
pub mod condition {
    /// The pod's machine is out of reach for longer than the pod tolerates; it may still run there.
    pub const DANGLING: &str = "dunlin.io/Dangling";
    /// The pod has a place below the node it is bound to; the message is the path from there, as in `site/board`.
    pub const PLACED: &str = "dunlin.io/Placed";
}

/// Reasons of failed pods, and of conditions.
pub mod reason {
    /// A child cluster has no place, or no place any more, for a pod that was bound to it.
    pub const CLUSTER_REFUSED: &str = "ClusterRefused";
    /// The side of the pod that lost contact has stopped it after `dunlin.io/fence-after`.
    pub const FENCED: &str = "Fenced";
    /// Of the conditions of a node that is a machine of a child cluster: its own cluster does not hear it.
    pub const MACHINE_UNREACHABLE: &str = "MachineUnreachable";
}

/// Well-known taints.
pub mod taint {
    pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
    pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
    pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
    pub const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";
    pub const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
    pub const PID_PRESSURE: &str = "node.kubernetes.io/pid-pressure";
    pub const NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";
    pub const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

    /// A taint of a node as text, as kubectl takes it: `key=value:effect`.
    pub fn text(taint: &serde_json::Value) -> String {
        let field = |name: &str| taint[name].as_str().unwrap_or_default();
        let value = Some(field("value")).filter(|value| !value.is_empty());
        let value = value.map(|value| format!("={value}")).unwrap_or_default();
        format!("{}{value}:{}", field("key"), field("effect"))
    }
}

/// Well-known finalizers.
pub mod finalizer {
    /// In `spec.finalizers` of a namespace: its contents are not gone yet.
    pub const NAMESPACE: &str = "kubernetes";
    pub const FOREGROUND: &str = "foregroundDeletion";
    pub const ORPHAN: &str = "orphan";
    pub const PVC_PROTECTION: &str = "kubernetes.io/pvc-protection";
    pub const PV_PROTECTION: &str = "kubernetes.io/pv-protection";
    pub const JOB_TRACKING: &str = "batch.kubernetes.io/job-tracking";
    pub const LOAD_BALANCER_CLEANUP: &str = "service.kubernetes.io/load-balancer-cleanup";
    pub const CRD_CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
}

/// Types of secrets.
pub mod secret_type {
    pub const OPAQUE: &str = "Opaque";
    pub const SERVICE_ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
    pub const DOCKERCFG: &str = "kubernetes.io/dockercfg";
    pub const DOCKER_CONFIG_JSON: &str = "kubernetes.io/dockerconfigjson";
    pub const BASIC_AUTH: &str = "kubernetes.io/basic-auth";
    pub const SSH_AUTH: &str = "kubernetes.io/ssh-auth";
    pub const TLS: &str = "kubernetes.io/tls";
    pub const BOOTSTRAP_TOKEN: &str = "bootstrap.kubernetes.io/token";
    /// Which certificates a node may use; deleting it ends them.
    pub const NODE_CERTIFICATE: &str = "dunlin.io/node-certificate";
}

/// Names of signers of certificate signing requests.
pub mod signer {
    pub const KUBE_API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
    pub const KUBE_API_CLIENT_KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
    pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
}

/// Users and groups, and how their names are built.
pub mod user {
    pub const ADMIN: &str = "system:admin";
    pub const ANONYMOUS: &str = "system:anonymous";
    pub const API_SERVER: &str = "system:apiserver";
    pub const SCHEDULER: &str = "system:kube-scheduler";
    pub const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
    pub const GROUP_MASTERS: &str = "system:masters";
    pub const GROUP_NODES: &str = "system:nodes";
    pub const GROUP_BOOTSTRAPPERS: &str = "system:bootstrappers";
    /// Of join tokens that are for clusters, besides [`GROUP_BOOTSTRAPPERS`].
    pub const GROUP_BOOTSTRAP_CLUSTERS: &str = "system:bootstrappers:dunlin:clusters";
    /// Of nodes that stand for a cluster, besides [`GROUP_NODES`].
    pub const GROUP_CLUSTERS: &str = "dunlin:clusters";
    /// Of a node whose certificate has expired: it may ask for the next one, and nothing else.
    pub const GROUP_RENEWAL: &str = "dunlin:renewal";
    /// Where Kubernetes notes by which certificate a user has shown who it is: `X509SHA256=<hexadecimal>`.
    pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
    pub const GROUP_AUTHENTICATED: &str = "system:authenticated";
    pub const GROUP_UNAUTHENTICATED: &str = "system:unauthenticated";
    pub const GROUP_SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
    pub const GROUP_MONITORING: &str = "system:monitoring";
    const NODE_PREFIX: &str = "system:node:";
    const BOOTSTRAP_PREFIX: &str = "system:bootstrap:";
    const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

    /// The user a node is: `system:node:<name>`.
    pub fn node(name: &str) -> String {
        format!("{NODE_PREFIX}{name}")
    }

    /// The node that a user is, if it is one.
    pub fn node_name(user: &str) -> Option<&str> {
        user.strip_prefix(NODE_PREFIX).filter(|name| !name.is_empty())
    }

    /// The user behind a bootstrap token: `system:bootstrap:<id>`.
    pub fn bootstrap(id: &str) -> String {
        format!("{BOOTSTRAP_PREFIX}{id}")
    }

    /// The id of the bootstrap token behind a user, if there is one.
    pub fn bootstrap_id(user: &str) -> Option<&str> {
        user.strip_prefix(BOOTSTRAP_PREFIX).filter(|id| !id.is_empty())
    }

    /// The user a service account is: `system:serviceaccount:<namespace>:<name>`.
    pub fn service_account(namespace: &str, name: &str) -> String {
        format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}")
    }

    /// Namespace and name of the service account that a user is, if it is one.
    pub fn service_account_of(user: &str) -> Option<(&str, &str)> {
        let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
    }

    /// The group of all service accounts of a namespace.
    pub fn service_accounts_group(namespace: &str) -> String {
        format!("{GROUP_SERVICE_ACCOUNTS}:{namespace}")
    }
}

#[cfg(test)]
mod tests {
    use super::user;

    #[test]
    fn every_node_has_a_label_of_its_own() {
        use super::storage::node_label;
        assert_eq!(node_label("board-7.example"), "board-7.example");
        let (one, two) =
            (node_label(&format!("{}1", "a".repeat(80))), node_label(&format!("{}2", "a".repeat(80))));
        assert!(one != two && one.len() <= 63);
    }

    #[test]
    fn users_round_trip() {
        assert_eq!(user::node_name(&user::node("n1")), Some("n1"));
        assert_eq!(user::node_name("system:node:"), None);
        assert_eq!(user::bootstrap_id(&user::bootstrap("abcdef")), Some("abcdef"));
        assert_eq!(user::service_account_of(&user::service_account("ns", "sa")), Some(("ns", "sa")));
        for wrong in
            ["system:serviceaccount:ns", "system:serviceaccount::sa", "system:serviceaccount:a:b:c", "bob"]
        {
            assert_eq!(user::service_account_of(wrong), None, "{wrong}");
        }
    }
}
