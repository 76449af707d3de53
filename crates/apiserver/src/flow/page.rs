//! What Prometheus reads of priority and fairness.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Flow, Running};

/// A number of a level.
type Gauge = fn(&Running) -> usize;

impl Flow {
    /// Counters in Prometheus' text form.
    pub fn page(&self) -> String {
        let state = self.lock();
        let mut out = String::new();
        let head = |out: &mut String, name: &str, kind: &str| {
            let _ = writeln!(out, "# TYPE apiserver_flowcontrol_{name} {kind}");
        };
        head(&mut out, "dispatched_requests_total", "counter");
        for ((schema, level), count) in &state.counts.dispatched {
            let _ = writeln!(
                out,
                "apiserver_flowcontrol_dispatched_requests_total{{flow_schema=\"{schema}\",priority_level=\"{level}\"}} {count}"
            );
        }
        head(&mut out, "rejected_requests_total", "counter");
        for ((schema, level, reason), count) in &state.counts.rejected {
            let _ = writeln!(
                out,
                "apiserver_flowcontrol_rejected_requests_total{{flow_schema=\"{schema}\",priority_level=\"{level}\",reason=\"{reason}\"}} {count}"
            );
        }
        let levels: BTreeMap<_, _> = state.levels.iter().collect();
        let gauges: [(&str, Gauge); 3] = [
            ("current_executing_requests", |r| r.level.running()),
            ("current_inqueue_requests", |r| r.level.waiting()),
            ("nominal_limit_seats", |r| r.seats),
        ];
        for (name, value) in gauges {
            head(&mut out, name, "gauge");
            for (level, running) in &levels {
                let _ = writeln!(
                    out,
                    "apiserver_flowcontrol_{name}{{priority_level=\"{level}\"}} {}",
                    value(running)
                );
            }
        }
        out
    }
}
