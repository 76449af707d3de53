//! The number behind a pod's priority class.

use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::object::{self, at, int, map, text};
use crate::resources::known;
use crate::server::Call;

pub async fn create(call: &Call, pod: &mut Value) -> Result<()> {
    let classes = known("scheduling.k8s.io", "priorityclasses");
    let wanted = text(pod, &["spec", "priorityClassName"]).to_owned();
    let class = if wanted.is_empty() {
        let all = call.server.all(classes, None).await?;
        all.into_iter().filter(|c| c["globalDefault"] == json!(true)).max_by_key(|c| int(c, &["value"]))
    } else {
        let found = call.server.find(classes, "", &wanted).await?.ok_or_else(|| {
            let why = format!("no PriorityClass with name {wanted} was found");
            Failure::forbidden(&call.resource, object::name(pod), &why)
        })?;
        Some(found.value)
    };
    let computed = class.as_ref().map_or(0, |class| int(class, &["value"]));
    if let Some(own) = at(pod, &["spec", "priority"]).and_then(Value::as_i64)
        && own != computed
    {
        let why = format!(
            "the integer value of priority ({own}) must not be provided in pod spec; priority admission controller \
             computed {computed} from the given PriorityClass name"
        );
        return Err(Failure::forbidden(&call.resource, object::name(pod), &why));
    }
    let spec = map(pod, "spec");
    match class {
        Some(class) => {
            spec.insert("priorityClassName".into(), json!(object::name(&class)));
            spec.insert("priority".into(), json!(int(&class, &["value"])));
            let policy = text(&class, &["preemptionPolicy"]);
            let policy = if policy.is_empty() { "PreemptLowerPriority" } else { policy };
            spec.entry("preemptionPolicy").or_insert_with(|| json!(policy));
        }
        None => {
            spec.insert("priority".into(), json!(0));
            spec.entry("preemptionPolicy").or_insert_with(|| json!("PreemptLowerPriority"));
        }
    }
    Ok(())
}
