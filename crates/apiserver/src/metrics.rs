//! Counters of the server itself, in Prometheus' text form.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::audit::Audit;
use crate::request::Asked;

/// How many different (verb, resource, code) are counted; further ones are counted as `other`, so that a client
/// cannot make the map grow.
const SERIES: usize = 2000;

/// Verb, resource and status code.
type Series = (&'static str, String, u16);

#[derive(Debug, Default)]
pub struct Metrics {
    /// How many requests, and how many seconds they took together.
    requests: Mutex<BTreeMap<Series, (u64, f64)>>,
    running: Arc<AtomicI64>,
    watches: Arc<AtomicI64>,
    started: AtomicU64,
}

/// Counts something as long as it lives.
#[derive(Debug)]
pub struct Watching(Arc<AtomicI64>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub fn enter(&self) -> Watching {
        self.started.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        Watching(self.running.clone())
    }

    pub fn watching(&self) -> Watching {
        self.watches.fetch_add(1, Ordering::Relaxed);
        Watching(self.watches.clone())
    }

    pub fn done(&self, asked: &Asked, code: u16, took: Duration) {
        let mut map = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let resource =
            if map.len() < SERIES && code != 404 { asked.resource.clone() } else { "other".to_owned() };
        let slot = map.entry((asked.verb, resource, code)).or_default();
        slot.0 += 1;
        slot.1 += took.as_secs_f64();
    }

    /// The page that Prometheus reads.
    pub fn page(&self, audit: Option<&Audit>) -> String {
        let mut out = String::new();
        let map = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        out.push_str("# TYPE apiserver_request_total counter\n");
        for ((verb, resource, code), (count, _)) in map.iter() {
            let _ = writeln!(
                out,
                "apiserver_request_total{{verb=\"{verb}\",resource=\"{}\",code=\"{code}\"}} {count}",
                clean(resource)
            );
        }
        out.push_str("# TYPE apiserver_request_duration_seconds summary\n");
        for ((verb, resource, code), (count, sum)) in map.iter() {
            let labels = format!("verb=\"{verb}\",resource=\"{}\",code=\"{code}\"", clean(resource));
            let _ = writeln!(out, "apiserver_request_duration_seconds_sum{{{labels}}} {sum:.6}");
            let _ = writeln!(out, "apiserver_request_duration_seconds_count{{{labels}}} {count}");
        }
        let gauges = [
            ("apiserver_current_inflight_requests", self.running.load(Ordering::Relaxed)),
            ("apiserver_longrunning_requests", self.watches.load(Ordering::Relaxed)),
        ];
        for (name, value) in gauges {
            let _ = writeln!(out, "# TYPE {name} gauge\n{name} {value}");
        }
        if let Some(counters) = audit.map(Audit::counters) {
            let (written, lost) = (counters.written(), counters.lost());
            let _ = writeln!(
                out,
                "# TYPE apiserver_audit_event_total counter\napiserver_audit_event_total {}",
                written + lost
            );
            let _ = writeln!(
                out,
                "# TYPE apiserver_audit_error_total counter\napiserver_audit_error_total{{plugin=\"log\"}} {lost}"
            );
        }
        out
    }
}

fn clean(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect()
}
