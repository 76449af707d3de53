//! The rules of the standards one by one, in the order in which Kubernetes reports them: those of `baseline`, then those that
//! only `restricted` has.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Version, Violation};
use crate::status::quote;

/// What a rule found.
type Found = Option<(&'static str, String)>;

/// All rules of a version that the pod breaks.
pub(super) fn all(version: Version, restricted: bool, metadata: &Value, spec: &Value) -> Vec<Violation> {
    let pod = Pod { spec, metadata, version };
    let unless = |replaced: bool, found: Found| found.filter(|_| !(restricted && replaced));
    let mut found = vec![
        pod.app_armor(),
        unless(version.since(22), pod.capabilities()),
        pod.host_namespaces(),
        unless(true, pod.host_path()),
        pod.host_ports(),
        pod.probe_hosts().filter(|_| version.since(34)),
        pod.privileged(),
        unless(version.since(35), pod.proc_mount(version.since(35))),
        pod.se_linux(),
        unless(version.since(19), pod.seccomp(false)),
        pod.sysctls(),
        pod.host_process(),
    ];
    if restricted {
        // Windows has no such thing.
        let linux = !(version.since(25) && spec["os"]["name"] == "windows");
        let own_users = version.since(35) && spec["hostUsers"] == false;
        found.extend([
            pod.escalation().filter(|_| version.since(8) && linux),
            pod.restricted_capabilities().filter(|_| version.since(22) && linux),
            pod.proc_mount(false).filter(|_| version.since(35)),
            pod.restricted_volumes(),
            pod.non_root().filter(|_| !own_users),
            pod.root_user().filter(|_| version.since(23) && !own_users),
            pod.seccomp(true).filter(|_| version.since(19) && linux),
        ]);
    }
    found.into_iter().flatten().map(|(reason, details)| Violation { reason, details }).collect()
}

fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| quote(item.as_ref())).collect::<Vec<_>>().join(", ")
}

fn plural(one: &'static str, many: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`.
fn named(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// `pod and container "a"`.
fn setters(pod: bool, containers: &[&str]) -> String {
    match (pod, containers.is_empty()) {
        (true, true) => "pod".to_owned(),
        (true, false) => format!("pod and {}", named(containers)),
        (false, _) => named(containers),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

struct Pod<'a> {
    spec: &'a Value,
    metadata: &'a Value,
    version: Version,
}

impl<'a> Pod<'a> {
    fn containers(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |field| list(&spec[field]))
            .map(|container| (container["name"].as_str().unwrap_or_default(), container))
    }

    /// Names of the containers for which something holds.
    fn those(&self, mut is: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|(_, container)| is(container)).map(|(name, _)| name).collect()
    }

    /// Whether the pod, and which containers, have a value in their security contexts that is not allowed; and the values.
    fn setting(
        &self,
        path: &[&str],
        allowed: impl Fn(&Value) -> bool,
    ) -> (bool, Vec<&'a str>, BTreeSet<String>) {
        let mut values = BTreeSet::new();
        let mut bad = |place: &Value| {
            let context = &place["securityContext"];
            let value = path.iter().fold(context, |value, field| &value[*field]);
            let bad = !value.is_null() && !allowed(value);
            if bad {
                values.insert(value.as_str().unwrap_or_default().to_owned());
            }
            bad
        };
        let whole = bad(self.spec);
        let containers = self.those(&mut bad);
        (whole, containers, values)
    }

    fn app_armor(&self) -> Found {
        let allowed = |kind: &Value| matches!(kind.as_str(), Some("RuntimeDefault" | "Localhost"));
        let (pod, containers, values) = self.setting(&["appArmorProfile", "type"], allowed);
        let mut values: Vec<String> = values.into_iter().collect();
        let mut who: Vec<String> = Vec::new();
        if pod || !containers.is_empty() {
            who.push(setters(pod, &containers));
        }
        let notes = self.metadata["annotations"].as_object();
        let forbidden: Vec<String> = notes
            .into_iter()
            .flatten()
            .filter(|(key, _)| key.starts_with("container.apparmor.security.beta.kubernetes.io/"))
            .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
            .filter(|(_, value)| {
                !value.is_empty() && *value != "runtime/default" && !value.starts_with("localhost/")
            })
            .map(|(key, value)| format!("{key}={}", quote(value)))
            .collect();
        if !forbidden.is_empty() {
            who.push(plural("annotation", "annotations", forbidden.len()).to_owned());
            values.extend(forbidden);
        }
        let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
        (!who.is_empty()).then(|| {
            (
                reason,
                format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(values)),
            )
        })
    }

    fn added(&self, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
        let mut forbidden = BTreeSet::new();
        let names = self.those(|container| {
            let added = list(&container["securityContext"]["capabilities"]["add"]);
            let bad: Vec<&str> =
                added.iter().filter_map(Value::as_str).filter(|c| !allowed.contains(c)).collect();
            forbidden.extend(bad.iter().copied());
            !bad.is_empty()
        });
        (names, forbidden)
    }

    fn capabilities(&self) -> Found {
        const ALLOWED: [&str; 13] = [
            "AUDIT_WRITE",
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "FSETID",
            "KILL",
            "MKNOD",
            "NET_BIND_SERVICE",
            "SETFCAP",
            "SETGID",
            "SETPCAP",
            "SETUID",
            "SYS_CHROOT",
        ];
        let (names, forbidden) = self.added(&ALLOWED);
        (!names.is_empty()).then(|| {
            let (who, what) = (named(&names), quoted(forbidden));
            (
                "non-default capabilities",
                format!("{who} must not include {what} in securityContext.capabilities.add"),
            )
        })
    }

    fn host_namespaces(&self) -> Found {
        let found: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
            .iter()
            .filter(|field| self.spec[**field] == true)
            .map(|field| format!("{field}=true"))
            .collect();
        (!found.is_empty()).then(|| ("host namespaces", found.join(", ")))
    }

    fn host_path(&self) -> Found {
        let volumes = list(&self.spec["volumes"]).iter().filter(|volume| !volume["hostPath"].is_null());
        let names: Vec<&str> = volumes.map(|volume| volume["name"].as_str().unwrap_or_default()).collect();
        (!names.is_empty()).then(|| {
            ("hostPath volumes", format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names)))
        })
    }

    fn host_ports(&self) -> Found {
        let mut ports = BTreeSet::new();
        let names = self.those(|container| {
            let numbers = list(&container["ports"]).iter().filter_map(|port| port["hostPort"].as_i64());
            let bad: Vec<String> = numbers.filter(|n| *n != 0).map(|n| n.to_string()).collect();
            ports.extend(bad.iter().cloned());
            !bad.is_empty()
        });
        (!names.is_empty()).then(|| {
            let list = ports.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let (verb, noun) =
                (plural("uses", "use", names.len()), plural("hostPort", "hostPorts", ports.len()));
            ("hostPort", format!("{} {verb} {noun} {list}", named(&names)))
        })
    }

    fn probe_hosts(&self) -> Found {
        let mut hosts = BTreeSet::new();
        let mut names = self.those(|container| {
            let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|probe| &container[probe]);
            let hooks = ["postStart", "preStop"].map(|hook| &container["lifecycle"][hook]);
            let bad: Vec<&str> = probes
                .into_iter()
                .chain(hooks)
                .flat_map(|handler| [&handler["httpGet"]["host"], &handler["tcpSocket"]["host"]])
                .filter_map(Value::as_str)
                .filter(|host| !host.is_empty())
                .collect();
            hosts.extend(bad.iter().copied());
            !bad.is_empty()
        });
        names.sort_unstable();
        (!names.is_empty()).then(|| {
            let noun = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
            let verb = plural("uses", "use", names.len());
            ("probe or lifecycle host", format!("{} {verb} {noun} {}", named(&names), quoted(hosts)))
        })
    }

    fn privileged(&self) -> Found {
        let names = self.those(|container| container["securityContext"]["privileged"] == true);
        (!names.is_empty()).then(|| {
            ("privileged", format!("{} must not set securityContext.privileged=true", named(&names)))
        })
    }

    /// `relaxed`: pods with users of their own may see all of `/proc`.
    fn proc_mount(&self, relaxed: bool) -> Found {
        if relaxed && self.spec["hostUsers"] == false {
            return None;
        }
        let mut kinds = BTreeSet::new();
        let names = self.those(|container| {
            let kind = container["securityContext"]["procMount"].as_str().filter(|kind| *kind != "Default");
            kinds.extend(kind);
            kind.is_some()
        });
        (!names.is_empty()).then(|| {
            let (who, what) = (named(&names), quoted(kinds));
            ("procMount", format!("{who} must not set securityContext.procMount to {what}"))
        })
    }

    fn se_linux(&self) -> Found {
        let (mut kinds, mut user, mut role) = (BTreeSet::new(), false, false);
        let mut bad = |place: &'a Value| {
            let options = &place["securityContext"]["seLinuxOptions"];
            let text = |field: &str| options[field].as_str().unwrap_or_default();
            let kind = options["type"].as_str().unwrap_or_default();
            let known = match kind {
                "" | "container_t" | "container_init_t" | "container_kvm_t" => true,
                "container_engine_t" => self.version.since(31),
                _ => false,
            };
            if !known {
                kinds.insert(kind);
            }
            let (has_user, has_role) = (!text("user").is_empty(), !text("role").is_empty());
            user |= has_user;
            role |= has_role;
            !known || has_user || has_role
        };
        let pod = bad(self.spec);
        let containers = self.those(&mut bad);
        if !pod && containers.is_empty() {
            return None;
        }
        let mut what = Vec::new();
        if !kinds.is_empty() {
            what.push(format!("{} {}", plural("type", "types", kinds.len()), quoted(&kinds)));
        }
        for (set, words) in [(user, "user may not be set"), (role, "role may not be set")] {
            if set {
                what.push(words.to_owned());
            }
        }
        let who = setters(pod, &containers);
        let details = format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; "));
        Some(("seLinuxOptions", details))
    }

    /// `needed`: every container must have a profile, not only none that is forbidden.
    fn seccomp(&self, needed: bool) -> Found {
        let allowed = |kind: &Value| matches!(kind.as_str(), Some("RuntimeDefault" | "Localhost"));
        let path = ["seccompProfile", "type"];
        let (pod, containers, values) = self.setting(&path, allowed);
        if pod || !containers.is_empty() {
            let who = setters(pod, &containers);
            let what = quoted(values);
            let details = format!("{who} must not set securityContext.seccompProfile.type to {what}");
            return Some(("seccompProfile", details));
        }
        let profile = |place: &Value| !place["securityContext"]["seccompProfile"].is_null();
        if !needed || profile(self.spec) {
            return None;
        }
        let names = self.those(|container| !profile(container));
        (!names.is_empty()).then(|| {
            let words = r#"must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost""#;
            ("seccompProfile", format!("pod or {} {words}", named(&names)))
        })
    }

    fn sysctls(&self) -> Found {
        let allowed = |name: &str| match name {
            "kernel.shm_rmid_forced"
            | "net.ipv4.ip_local_port_range"
            | "net.ipv4.tcp_syncookies"
            | "net.ipv4.ping_group_range"
            | "net.ipv4.ip_unprivileged_port_start" => true,
            "net.ipv4.ip_local_reserved_ports" => self.version.since(27),
            "net.ipv4.tcp_keepalive_time"
            | "net.ipv4.tcp_fin_timeout"
            | "net.ipv4.tcp_keepalive_intvl"
            | "net.ipv4.tcp_keepalive_probes" => self.version.since(29),
            "net.ipv4.tcp_rmem" | "net.ipv4.tcp_wmem" => self.version.since(32),
            _ => false,
        };
        let all = list(&self.spec["securityContext"]["sysctls"]);
        let names: Vec<&str> =
            all.iter().filter_map(|sysctl| sysctl["name"].as_str()).filter(|name| !allowed(name)).collect();
        (!names.is_empty()).then(|| ("forbidden sysctls", names.join(", ")))
    }

    fn host_process(&self) -> Found {
        let is = |place: &Value| place["securityContext"]["windowsOptions"]["hostProcess"] == true;
        let (pod, names) = (is(self.spec), self.those(is));
        (pod || !names.is_empty()).then(|| {
            let who = setters(pod, &names);
            ("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
        })
    }

    fn escalation(&self) -> Found {
        let names = self.those(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
        (!names.is_empty()).then(|| {
            let who = named(&names);
            (
                "allowPrivilegeEscalation != false",
                format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
            )
        })
    }

    fn restricted_capabilities(&self) -> Found {
        let mut details = Vec::new();
        let keeping = self.those(|container| {
            !list(&container["securityContext"]["capabilities"]["drop"])
                .iter()
                .any(|dropped| dropped == "ALL")
        });
        if !keeping.is_empty() {
            details
                .push(format!(r#"{} must set securityContext.capabilities.drop=["ALL"]"#, named(&keeping)));
        }
        let (names, forbidden) = self.added(&["NET_BIND_SERVICE"]);
        if !names.is_empty() {
            let (who, what) = (named(&names), quoted(forbidden));
            details.push(format!("{who} must not include {what} in securityContext.capabilities.add"));
        }
        (!details.is_empty()).then(|| ("unrestricted capabilities", details.join("; ")))
    }

    fn restricted_volumes(&self) -> Found {
        const ALLOWED: [&str; 9] = [
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "image",
            "persistentVolumeClaim",
            "projected",
            "secret",
        ];
        let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
        for volume in list(&self.spec["volumes"]) {
            let set = |field: &&str| !volume[*field].is_null();
            if ALLOWED.iter().any(set) {
                continue;
            }
            names.push(volume["name"].as_str().unwrap_or_default());
            let fields = volume.as_object().into_iter().flat_map(|volume| volume.keys().map(String::as_str));
            kinds.insert(fields.filter(|field| *field != "name").find(set).unwrap_or("unknown"));
        }
        (!names.is_empty()).then(|| {
            let (verb, noun) = (
                plural("uses", "use", names.len()),
                plural("restricted volume type", "restricted volume types", kinds.len()),
            );
            let what = plural("volume", "volumes", names.len());
            ("restricted volume types", format!("{what} {} {verb} {noun} {}", quoted(&names), quoted(kinds)))
        })
    }

    fn non_root(&self) -> Found {
        let of = |place: &Value| place["securityContext"]["runAsNonRoot"].as_bool();
        let pod = of(self.spec);
        let explicit = self.those(|container| of(container) == Some(false));
        if pod == Some(false) || !explicit.is_empty() {
            let who = setters(pod == Some(false), &explicit);
            let details = format!("{who} must not set securityContext.runAsNonRoot=false");
            return Some(("runAsNonRoot != true", details));
        }
        let implicit = self.those(|container| of(container).is_none() && pod != Some(true));
        (!implicit.is_empty()).then(|| {
            let who = named(&implicit);
            ("runAsNonRoot != true", format!("pod or {who} must set securityContext.runAsNonRoot=true"))
        })
    }

    fn root_user(&self) -> Found {
        let is = |place: &Value| place["securityContext"]["runAsUser"].as_i64() == Some(0);
        let (pod, names) = (is(self.spec), self.those(is));
        (pod || !names.is_empty())
            .then(|| ("runAsUser=0", format!("{} must not set runAsUser=0", setters(pod, &names))))
    }
}
