//! Child clusters and migrations.

use serde_json::json;

use super::{AGE, NAME, Printer, age, name, or, s, wide};
use crate::object::{int, list, text};

pub const CLUSTER: Printer = Printer {
    columns: &[NAME, s("Machines"), s("Area"), s("Version"), AGE, wide("Architectures")],
    cells: |o, now| {
        let of = |field: &str| int(o, &["status", field]);
        let mut architectures: Vec<&str> =
            list(o, &["status", "pools"]).iter().map(|pool| text(pool, &["architecture"])).collect();
        architectures.sort_unstable();
        architectures.dedup();
        vec![
            name(o),
            json!(format!("{}/{}", of("readyMachines"), of("machines"))),
            json!(or(text(o, &["status", "area"]), "<none>")),
            json!(or(text(o, &["status", "version"]), "<unknown>")),
            age(o, now),
            super::joined(architectures.into_iter()),
        ]
    },
};

pub const MIGRATION: Printer = Printer {
    columns: &[NAME, s("Pod"), s("To"), s("Phase"), AGE, wide("Replacement"), wide("Message")],
    cells: |o, now| {
        let target = [text(o, &["spec", "cluster"]), text(o, &["spec", "machine"])];
        let target = target.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        vec![
            name(o),
            json!(text(o, &["spec", "pod"])),
            json!(target),
            json!(or(text(o, &["status", "phase"]), "Pending")),
            age(o, now),
            json!(or(text(o, &["status", "replacement"]), "<none>")),
            json!(text(o, &["status", "message"])),
        ]
    },
};
