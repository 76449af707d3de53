//! What a simulation found out, for programs; everything below a key `measured` depends on the machine that ran it, all
//! else is the same in every run.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::quality::{Sample, share};
use crate::run::Simulation;
use crate::stats::{Count, Level, Sort, percentile};

/// How many reasons for waiting are told.
const REASONS: usize = 5;

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub worlds: Vec<WorldReport>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorldReport {
    pub name: String,
    pub variants: Vec<Compared>,
}

/// One tree, and one scheduler over the same machines with the same pods.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    pub tree: RunReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flat: Option<RunReport>,
    /// Pods that found a place in the tree, of those that did under the flat scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_flat: Option<f64>,
}

impl Compared {
    pub(crate) fn new(tree: RunReport, flat: Option<RunReport>) -> Self {
        let share_of_flat =
            flat.as_ref().map(|flat| round(tree.pods.placed as f64 / flat.pods.placed.max(1) as f64));
        Self { tree, flat, share_of_flat }
    }
}

/// One run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    pub seconds: f64,
    pub machines: u64,
    pub pods: Pods,
    pub quality: Quality,
    /// From the root down; the last are the machines.
    pub levels: Vec<LevelReport>,
}

/// What became of the pods.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// Those that came in time.
    pub made: u64,
    /// Found a machine.
    pub placed: u64,
    /// Of those, have ended.
    pub finished: u64,
    pub waiting: u64,
    /// Lost their place after they were bound, and were made again.
    pub replaced: u64,
    /// Simulated milliseconds from being made to having a machine.
    pub placing_p50_ms: u64,
    pub placing_p99_ms: u64,
    /// Questions to children at every level for each pod that was placed.
    pub offers_per_pod: f64,
    /// Why pods wait, the most frequent reasons first.
    pub reasons: Vec<Reason>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    pub pods: u64,
    pub reason: String,
}

/// The machines when most was requested of them (of 20 looks); shares of 1.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quality {
    pub at_seconds: f64,
    pub used_machines: u64,
    pub overcommitted_machines: u64,
    pub cpu: f64,
    pub memory: f64,
    /// How much of what is free cannot be used by the largest pod of the workload, because it lies in pieces.
    pub fragmentation: f64,
    /// Standard deviation of the requested share of CPU between machines, and between the lowest clusters.
    pub uneven_machines: f64,
    pub uneven_clusters: f64,
}

/// One level: its decisions, and what it sends to the level above.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LevelReport {
    pub name: String,
    pub count: u64,
    pub decisions: u64,
    /// Pods that clusters below were asked about, and refused.
    pub offered: u64,
    pub refused: u64,
    pub traffic: Traffic,
    pub measured: Measured,
}

/// Bodies of requests and answers over the links to the level above.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    pub node_statuses: Sent,
    pub summaries: Sent,
    pub pod_statuses: Sent,
    pub offer_answers: Sent,
    /// Everything that goes up.
    pub report_bytes_per_second: f64,
    pub report_bytes_in_busiest_second: u64,
    /// These come down.
    pub offers: Sent,
}

#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    pub messages: u64,
    pub bytes: u64,
}

/// Times of this machine.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    pub decisions_per_second: f64,
    pub decision_p50_micros: f64,
    pub decision_p99_micros: f64,
    pub summary_p50_micros: f64,
    pub summary_p99_micros: f64,
}

impl RunReport {
    pub(crate) fn of(run: &mut Simulation<'_>) -> Self {
        let fullest = run.fullest.take().unwrap_or_default();
        let seconds = run.world.duration as f64 / 1000.0;
        let mut counts: Vec<(String, u64)> =
            run.world.levels.iter().map(|level| level.name.clone()).zip(run.world.clusters()).collect();
        counts.push(("machines".to_owned(), fullest.machines));
        let pods = Pods::of(run);
        let levels = run.levels.iter_mut().zip(counts);
        let levels =
            levels.map(|(level, (name, count))| LevelReport::of(level, name, count, seconds)).collect();
        Self {
            seconds: round(seconds),
            machines: fullest.machines,
            pods,
            quality: Quality::of(&fullest),
            levels,
        }
    }
}

impl Pods {
    fn of(run: &Simulation<'_>) -> Self {
        let made: Vec<_> =
            run.pods.iter().filter(|pod| pod.made_at <= run.world.duration && !pod.lost).collect();
        let placed = made.iter().filter(|pod| pod.placed_at.is_some()).count() as u64;
        let mut times: Vec<u64> =
            made.iter().filter_map(|pod| Some(pod.placed_at?.saturating_sub(pod.made_at))).collect();
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for pod in made.iter().filter(|pod| pod.placed_at.is_none()) {
            *reasons.entry(pod.why.as_deref().unwrap_or("is on its way")).or_default() += 1;
        }
        let mut reasons: Vec<Reason> =
            reasons.into_iter().map(|(reason, pods)| Reason { pods, reason: reason.to_owned() }).collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.pods));
        reasons.truncate(REASONS);
        let offered: u64 = run.levels.iter().map(|level| level.offered).sum();
        Self {
            made: made.len() as u64,
            placed,
            finished: made.iter().filter(|pod| pod.finished).count() as u64,
            waiting: made.len() as u64 - placed,
            replaced: run.replaced,
            placing_p50_ms: percentile(&mut times, 0.5),
            placing_p99_ms: percentile(&mut times, 0.99),
            offers_per_pod: round(offered as f64 / placed.max(1) as f64),
            reasons,
        }
    }
}

impl Quality {
    fn of(sample: &Sample) -> Self {
        let (fitting, at_best) = sample.fitting;
        Self {
            at_seconds: round(sample.at as f64 / 1000.0),
            used_machines: sample.used,
            overcommitted_machines: sample.overcommitted,
            cpu: round(share(sample.cpu)),
            memory: round(share(sample.memory)),
            fragmentation: round(if at_best > 0 { 1.0 - share((fitting, at_best)) } else { 0.0 }),
            uneven_machines: round(sample.uneven_machines),
            uneven_clusters: round(sample.uneven_clusters),
        }
    }
}

impl LevelReport {
    fn of(level: &mut Level, name: String, count: u64, seconds: f64) -> Self {
        let sent = |sort: Sort| {
            let Count { messages, bytes } = level.count(sort);
            Sent { messages, bytes }
        };
        let traffic = Traffic {
            node_statuses: sent(Sort::NodeStatus),
            summaries: sent(Sort::Summary),
            pod_statuses: sent(Sort::PodStatus),
            offer_answers: sent(Sort::Answer),
            report_bytes_per_second: round(level.up() as f64 / seconds),
            report_bytes_in_busiest_second: level.seconds.values().max().copied().unwrap_or(0),
            offers: sent(Sort::Offer),
        };
        Self {
            name,
            count,
            decisions: level.decisions.len() as u64,
            offered: level.offered,
            refused: level.refused,
            traffic,
            measured: Measured::of(level),
        }
    }
}

impl Measured {
    fn of(level: &mut Level) -> Self {
        let busy: u64 = level.decisions.iter().sum();
        let rate = if busy > 0 { level.decisions.len() as f64 / (busy as f64 / 1e9) } else { 0.0 };
        let micros = |values: &mut [u64], share: f64| round(percentile(values, share) as f64 / 1000.0);
        Self {
            decisions_per_second: rate.round(),
            decision_p50_micros: micros(&mut level.decisions, 0.5),
            decision_p99_micros: micros(&mut level.decisions, 0.99),
            summary_p50_micros: micros(&mut level.summaries, 0.5),
            summary_p99_micros: micros(&mut level.summaries, 0.99),
        }
    }
}

/// Four digits after the point are more than anyone reads.
fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
