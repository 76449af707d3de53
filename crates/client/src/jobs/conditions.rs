//! What pods and controllers say of themselves: conditions, and what became of containers.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::text;

/// Reasons for which a container waits without an end in sight.
const STUCK: &[&str] = &[
    "CrashLoopBackOff",
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// The condition of a type.
pub(super) fn find<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

/// Whether a condition is `True`.
pub(super) fn is(object: &Value, kind: &str) -> bool {
    find(object, kind).is_some_and(|c| c["status"] == "True")
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainerStatuses", "containerStatuses"];
    lists.into_iter().filter_map(|list| pod["status"][list].as_array()).flatten()
}

/// When a pod was deleted: its timestamp says when it has to be gone, which is one grace period later.
pub(super) fn asked_to_end(pod: &Value) -> String {
    let at = text(pod, "/metadata/deletionTimestamp");
    let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let asked = at.parse::<Timestamp>().and_then(|at| at.checked_sub(SignedDuration::from_secs(grace)));
    asked.map_or_else(|_| at.to_owned(), |asked| format!("{asked:.0}"))
}

/// Why a container cannot run.
pub(super) fn stuck(pod: &Value) -> Option<String> {
    let stuck = containers(pod)
        .map(|c| &c["state"]["waiting"])
        .find(|waiting| waiting["reason"].as_str().is_some_and(|reason| STUCK.contains(&reason)))?;
    Some(format!("{} {}", text(stuck, "/reason"), text(stuck, "/message")).trim().to_owned())
}

/// How a container of a failed pod ended.
pub(super) fn ended(pod: &Value) -> String {
    let ended =
        containers(pod).map(|c| &c["state"]["terminated"]).find(|t| t["exitCode"].as_i64().unwrap_or(0) != 0);
    ended.map_or(String::new(), |t| format!("{} (exit code {})", text(t, "/reason"), t["exitCode"]))
}
