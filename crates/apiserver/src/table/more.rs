//! Leases, policies, classes, requests and bindings.

use serde_json::{Value, json};

use super::{AGE, NAME, Printer, age, containers, int, joined, name, or, s, selector, wide};
use crate::object::{self, at, list, text};
use crate::time;

pub const LEASE: Printer = Printer {
    columns: &[NAME, s("Holder"), AGE],
    cells: |o, now| vec![name(o), json!(text(o, &["spec", "holderIdentity"])), age(o, now)],
};

pub const BUDGET: Printer = Printer {
    columns: &[NAME, s("Min Available"), s("Max Unavailable"), int("Allowed Disruptions"), AGE],
    cells: |o, now| {
        let show = |field: &str| match at(o, &["spec", field]) {
            None | Some(Value::Null) => json!("N/A"),
            Some(Value::String(text)) => json!(text),
            Some(other) => json!(other.to_string()),
        };
        let allowed = object::int(o, &["status", "disruptionsAllowed"]);
        vec![name(o), show("minAvailable"), show("maxUnavailable"), json!(allowed), age(o, now)]
    },
};

pub const INGRESS: Printer = Printer {
    columns: &[NAME, s("Class"), s("Hosts"), s("Address"), s("Ports"), AGE],
    cells: |o, now| {
        let hosts: Vec<&str> = list(o, &["spec", "rules"])
            .iter()
            .map(|r| text(r, &["host"]))
            .filter(|h| !h.is_empty())
            .collect();
        let address: Vec<&str> = list(o, &["status", "loadBalancer", "ingress"])
            .iter()
            .map(|i| or(text(i, &["ip"]), text(i, &["hostname"])))
            .collect();
        let secure = !list(o, &["spec", "tls"]).is_empty();
        vec![
            name(o),
            json!(or(text(o, &["spec", "ingressClassName"]), "<none>")),
            json!(if hosts.is_empty() { "*".to_owned() } else { hosts.join(",") }),
            json!(address.join(",")),
            json!(if secure { "80, 443" } else { "80" }),
            age(o, now),
        ]
    },
};

pub const INGRESS_CLASS: Printer = Printer {
    columns: &[NAME, s("Controller"), s("Parameters"), AGE],
    cells: |o, now| {
        let parameters = at(o, &["spec", "parameters"]).map_or("<none>".to_owned(), |p| {
            let kind = text(p, &["kind"]);
            let group = text(p, &["apiGroup"]);
            let dot = if group.is_empty() { "" } else { "." };
            format!("{kind}{dot}{group}/{}", text(p, &["name"]))
        });
        vec![name(o), json!(text(o, &["spec", "controller"])), json!(parameters), age(o, now)]
    },
};

pub const NETWORK_POLICY: Printer = Printer {
    columns: &[NAME, s("Pod-Selector"), AGE],
    cells: |o, now| vec![name(o), selector(at(o, &["spec", "podSelector"])), age(o, now)],
};

pub const RUNTIME_CLASS: Printer = Printer {
    columns: &[NAME, s("Handler"), AGE],
    cells: |o, now| vec![name(o), json!(text(o, &["handler"])), age(o, now)],
};

pub const PRIORITY_CLASS: Printer = Printer {
    columns: &[NAME, int("Value"), ("Global-Default", "boolean", "", 0), AGE, s("PreemptionPolicy")],
    cells: |o, now| {
        vec![
            name(o),
            json!(object::int(o, &["value"])),
            json!(o.get("globalDefault") == Some(&json!(true))),
            age(o, now),
            json!(or(text(o, &["preemptionPolicy"]), "PreemptLowerPriority")),
        ]
    },
};

pub const STORAGE_CLASS: Printer = Printer {
    columns: &[
        NAME,
        s("Provisioner"),
        s("ReclaimPolicy"),
        s("VolumeBindingMode"),
        s("AllowVolumeExpansion"),
        AGE,
    ],
    cells: |o, now| {
        let default = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ]
        .iter()
        .any(|a| text(o, &["metadata", "annotations", a]) == "true");
        let shown =
            if default { format!("{} (default)", object::name(o)) } else { object::name(o).to_owned() };
        vec![
            json!(shown),
            json!(text(o, &["provisioner"])),
            json!(or(text(o, &["reclaimPolicy"]), "Delete")),
            json!(or(text(o, &["volumeBindingMode"]), "Immediate")),
            json!((o.get("allowVolumeExpansion") == Some(&json!(true))).to_string()),
            age(o, now),
        ]
    },
};

pub const CSR: Printer = Printer {
    columns: &[NAME, AGE, s("SignerName"), s("Requestor"), s("RequestedDuration"), s("Condition")],
    cells: |o, now| {
        let mut states: Vec<&str> =
            list(o, &["status", "conditions"]).iter().map(|c| text(c, &["type"])).collect();
        if states.is_empty() {
            states.push("Pending");
        }
        if !text(o, &["status", "certificate"]).is_empty() {
            states.push("Issued");
        }
        let wanted = at(o, &["spec", "expirationSeconds"]).and_then(Value::as_i64);
        vec![
            name(o),
            age(o, now),
            json!(text(o, &["spec", "signerName"])),
            json!(text(o, &["spec", "username"])),
            json!(wanted.map_or("<none>".to_owned(), time::human)),
            json!(states.join(",")),
        ]
    },
};

pub const BINDING: Printer = Printer {
    columns: &[NAME, s("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")],
    cells: |o, now| {
        let role = format!("{}/{}", text(o, &["roleRef", "kind"]), text(o, &["roleRef", "name"]));
        let of = |kind: &str| {
            let all: Vec<String> = list(o, &["subjects"])
                .iter()
                .filter(|s| text(s, &["kind"]) == kind)
                .map(|s| match text(s, &["namespace"]) {
                    "" => text(s, &["name"]).to_owned(),
                    namespace => format!("{namespace}/{}", text(s, &["name"])),
                })
                .collect();
            joined([all.join(", ")].iter().map(String::as_str))
        };
        vec![name(o), json!(role), age(o, now), of("User"), of("Group"), of("ServiceAccount")]
    },
};

pub const POD_TEMPLATE: Printer = Printer {
    columns: &[NAME, s("Containers"), s("Images"), s("Pod Labels")],
    cells: |o, _| {
        let [names, images] = containers(&o["template"]["spec"]);
        let labels = at(o, &["template", "metadata", "labels"]).and_then(Value::as_object);
        let all: Vec<String> =
            labels.into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
        vec![name(o), names, images, json!(if all.is_empty() { "<none>".to_owned() } else { all.join(",") })]
    },
};

pub const CSI_NODE: Printer = Printer {
    columns: &[NAME, int("Drivers"), AGE],
    cells: |o, now| vec![name(o), json!(list(o, &["spec", "drivers"]).len()), age(o, now)],
};

pub const CSI_DRIVER: Printer = Printer {
    columns: &[
        NAME,
        flag("AttachRequired"),
        flag("PodInfoOnMount"),
        flag("StorageCapacity"),
        s("TokenRequests"),
        flag("RequiresRepublish"),
        s("Modes"),
        AGE,
    ],
    cells: |o, now| {
        let yes = |field: &str, default: bool| {
            json!(at(o, &["spec", field]).and_then(Value::as_bool).unwrap_or(default))
        };
        let audiences = list(o, &["spec", "tokenRequests"]).iter().map(|r| text(r, &["audience"]));
        let modes = list(o, &["spec", "volumeLifecycleModes"]).iter().filter_map(Value::as_str);
        let audiences = audiences.collect::<Vec<_>>().join(",");
        let modes = modes.collect::<Vec<_>>().join(",");
        vec![
            name(o),
            yes("attachRequired", true),
            yes("podInfoOnMount", false),
            yes("storageCapacity", false),
            json!(or(&audiences, "<unset>")),
            yes("requiresRepublish", false),
            json!(or(&modes, "<none>")),
            age(o, now),
        ]
    },
};

pub const VOLUME_ATTACHMENT: Printer = Printer {
    columns: &[NAME, ("Attacher", "string", "name", 0), s("PV"), s("Node"), flag("Attached"), AGE],
    cells: |o, now| {
        vec![
            name(o),
            json!(text(o, &["spec", "attacher"])),
            json!(text(o, &["spec", "source", "persistentVolumeName"])),
            json!(text(o, &["spec", "nodeName"])),
            json!(at(o, &["status", "attached"]).and_then(Value::as_bool).unwrap_or(false)),
            age(o, now),
        ]
    },
};

const fn flag(name: &'static str) -> super::Column {
    (name, "boolean", "", 0)
}

pub const WEBHOOKS: Printer = Printer {
    columns: &[NAME, int("Webhooks"), AGE],
    cells: |o, now| vec![name(o), json!(list(o, &["webhooks"]).len()), age(o, now)],
};
