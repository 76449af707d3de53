//! A signing request says who made it; the requestor does not get to choose.

use serde_json::{Value, json};

use crate::object::map;
use crate::server::Call;

pub fn create(call: &Call, value: &mut Value) {
    let spec = map(value, "spec");
    spec.insert("username".into(), json!(call.user.name));
    spec.insert("groups".into(), json!(call.user.groups));
    for (field, empty, given) in [
        ("uid", call.user.uid.is_empty(), json!(call.user.uid)),
        ("extra", call.user.extra.is_empty(), json!(call.user.extra)),
    ] {
        if empty {
            spec.remove(field);
        } else {
            spec.insert(field.into(), given);
        }
    }
}
