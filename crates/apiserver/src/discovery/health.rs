//! `/livez`, `/readyz`, `/healthz`: a server that answers is alive; it is made only once its store is open.

use crate::reply::{self, Reply};
use dunlin_api::query::Query;

const CHECKS: [&str; 3] = ["ping", "log", "etcd"];

/// The answer, if the path is one of them.
pub fn answer(path: &str, query: &Query) -> Option<Reply> {
    let mut parts = path.split('/').skip(1);
    let name = parts.next().filter(|n| matches!(*n, "livez" | "readyz" | "healthz"))?;
    match parts.next() {
        Some(check) if CHECKS.contains(&check) => return Some(reply::text(200, "ok")),
        Some(_) => return None,
        None => {}
    }
    if !query.flag("verbose") {
        return Some(reply::text(200, "ok"));
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut out = String::new();
    for check in CHECKS {
        let word = if excluded.contains(&check) { "excluded: ok" } else { "ok" };
        out.push_str(&format!("[+]{check} {word}\n"));
    }
    out.push_str(&format!("{name} check passed\n"));
    Some(reply::text(200, out))
}
