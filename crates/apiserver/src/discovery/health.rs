//! `/livez`, `/readyz`, `/healthz`: a server that answers is alive; it is ready while its store answers, too.

use crate::reply::{self, Reply};
use dunlin_api::query::Query;

const CHECKS: [&str; 3] = ["ping", "log", "etcd"];

/// The answer, if the path is one of them. `stored`: whether the store has answered lately. One that does not is no reason
/// to start this program again, so that it counts against readiness and not against life.
pub fn answer(path: &str, query: &Query, stored: bool) -> Option<Reply> {
    let mut parts = path.split('/').skip(1);
    let name = parts.next().filter(|n| matches!(*n, "livez" | "readyz" | "healthz"))?;
    let excluded: Vec<&str> = query.all("exclude").collect();
    let fails = |check: &str| check == "etcd" && !stored && name != "livez";
    match parts.next() {
        Some(check) if fails(check) => {
            return Some(reply::text(500, format!("internal server error: {check} does not answer\n")));
        }
        Some(check) if CHECKS.contains(&check) => return Some(reply::text(200, "ok")),
        Some(_) => return None,
        None => {}
    }
    let failed = CHECKS.iter().any(|check| fails(check) && !excluded.contains(check));
    if !query.flag("verbose") && !failed {
        return Some(reply::text(200, "ok"));
    }
    let mut out = String::new();
    for check in CHECKS {
        match (excluded.contains(&check), fails(check)) {
            (true, _) => out.push_str(&format!("[+]{check} excluded: ok\n")),
            (false, true) => out.push_str(&format!("[-]{check} failed: reason withheld\n")),
            (false, false) => out.push_str(&format!("[+]{check} ok\n")),
        }
    }
    out.push_str(&format!("{name} check {}\n", if failed { "failed" } else { "passed" }));
    Some(reply::text(if failed { 500 } else { 200 }, out))
}
