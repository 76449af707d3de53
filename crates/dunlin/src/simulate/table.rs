//! The report as a person reads it: for each world one table of what came of the pods, with a column for each tree and
//! one for the flat scheduler, and one of the levels of each tree.

use std::fmt::Write;

use dunlin_client::get::align;
use dunlin_simulate::{LevelReport, Report, RunReport, WorldReport};

use super::Took;

/// Reasons are as long as kube-scheduler's; more than this says nothing more.
const REASON: usize = 160;

pub fn text(report: &Report, took: &Took) -> String {
    let mut text = String::new();
    for world in &report.worlds {
        let _ = writeln!(text, "{}", self::world(world));
    }
    let mib = took.peak_memory_bytes as f64 / f64::from(1 << 20);
    let _ = writeln!(
        text,
        "simulated in {:.1} s ({:.1} s of the processor) with {mib:.0} MiB at most",
        took.seconds, took.processor_seconds
    );
    text
}

/// A tree by the numbers of its clusters, from the root down.
pub fn tree(clusters: &[u64]) -> String {
    match clusters {
        [] => "flat".to_owned(),
        counts => counts.iter().map(ToString::to_string).collect::<Vec<_>>().join("/"),
    }
}

fn world(world: &WorldReport) -> String {
    // The last level is that of the machines.
    let name = |run: &RunReport| {
        let counts: Vec<u64> = run.levels.iter().map(|level| level.count).collect();
        tree(&counts[..counts.len() - 1])
    };
    let mut columns: Vec<(String, &RunReport, Option<f64>)> =
        world.variants.iter().map(|v| (name(&v.tree), &v.tree, v.share_of_flat)).collect();
    let mut flats = world.variants.iter().filter_map(|v| v.flat.as_ref());
    if let Some(flat) = flats.next() {
        // Where clusters count, there is a flat run for each variant; the first stands for them.
        columns.push(("flat".to_owned(), flat, None));
    }
    let Some((_, first, _)) = columns.first() else { return String::new() };
    let mut text = format!(
        "{}: {} machines, {} pods, {} s\n\n",
        world.name, first.machines, first.pods.made, first.seconds
    );
    text.push_str(&pods(&columns));
    text.push('\n');
    text.push_str(&levels(&columns));
    for (name, run, _) in &columns {
        for reason in &run.pods.reasons {
            let words: String = reason.reason.chars().take(REASON).collect();
            let cut = if reason.reason.chars().count() > REASON { "..." } else { "" };
            let _ = write!(text, "\n{name}: {} pods wait: {words}{cut}", reason.pods);
        }
    }
    text.push('\n');
    text
}

fn pods(columns: &[(String, &RunReport, Option<f64>)]) -> String {
    let mut rows = vec![vec!["CLUSTERS".to_owned()]];
    rows[0].extend(columns.iter().map(|(name, ..)| name.clone()));
    let mut row = |what: &str, cell: &dyn Fn(&RunReport, Option<f64>) -> String| {
        let mut cells = vec![what.to_owned()];
        cells.extend(columns.iter().map(|(_, run, share)| cell(run, *share)));
        rows.push(cells);
    };
    row("pods placed", &|run, _| run.pods.placed.to_string());
    row("of those that the flat scheduler placed", &|_, share| share.map_or("-".to_owned(), percent));
    row("pods waiting", &|run, _| run.pods.waiting.to_string());
    row("pods finished", &|run, _| run.pods.finished.to_string());
    row("pods replaced", &|run, _| run.pods.replaced.to_string());
    row("offers per pod", &|run, _| format!("{:.2}", run.pods.offers_per_pod));
    row("made to placed, simulated, p50 / p99", &|run, _| {
        format!("{} / {} ms", run.pods.placing_p50_ms, run.pods.placing_p99_ms)
    });
    row("cpu / memory requested", &|run, _| {
        format!("{} / {}", percent(run.quality.cpu), percent(run.quality.memory))
    });
    row("machines with pods", &|run, _| run.quality.used_machines.to_string());
    row("machines overcommitted", &|run, _| run.quality.overcommitted_machines.to_string());
    row("free, but in pieces too small", &|run, _| percent(run.quality.fragmentation));
    row("uneven: machines / clusters", &|run, _| {
        format!("{} / {}", percent(run.quality.uneven_machines), percent(run.quality.uneven_clusters))
    });
    align(&rows)
}

fn levels(columns: &[(String, &RunReport, Option<f64>)]) -> String {
    let heads = [
        "CLUSTERS",
        "LEVEL",
        "COUNT",
        "DECISIONS",
        "PER S",
        "P50/P99 US",
        "SUMMARY US",
        "ASKED BELOW",
        "REFUSED",
        "UP B/S",
        "BUSIEST",
        "PODS",
        "SUMMARIES",
        "NODES",
        "ANSWERS",
        "DOWN B/S",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for (name, run, _) in columns {
        rows.extend(run.levels.iter().map(|level| self::level(name, level, run.seconds)));
    }
    align(&rows)
}

/// Of the traffic, bytes a second; how they are made up follows their sum.
fn level(tree: &str, level: &LevelReport, seconds: f64) -> Vec<String> {
    let (traffic, measured) = (&level.traffic, &level.measured);
    let rate = |bytes: u64| format!("{:.0}", bytes as f64 / seconds);
    vec![
        tree.to_owned(),
        level.name.clone(),
        level.count.to_string(),
        level.decisions.to_string(),
        format!("{:.0}", measured.decisions_per_second),
        format!("{:.0}/{:.0}", measured.decision_p50_micros, measured.decision_p99_micros),
        format!("{:.0}", measured.summary_p50_micros),
        level.offered.to_string(),
        level.refused.to_string(),
        format!("{:.0}", traffic.report_bytes_per_second),
        traffic.report_bytes_in_busiest_second.to_string(),
        rate(traffic.pod_statuses.bytes),
        rate(traffic.summaries.bytes),
        rate(traffic.node_statuses.bytes),
        rate(traffic.offer_answers.bytes),
        rate(traffic.offers.bytes),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
