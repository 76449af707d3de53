//! The loop: one event after the other, on a clock that jumps from each to the next.
//!
//! Whatever a driver's loop does between two looks at its events takes no simulated time; links do, and so do the delays
//! that production has: how long changes are gathered before a summary, how long refusals hold and places are kept.

use std::time::Duration;

use dunlin_uplink::Config;
use dunlin_uplink::Level as Uplink;
use dunlin_uplink::plan::mirror::Expose;

use crate::cluster::{Cluster, ClusterId};
use crate::event::{Agenda, Event};
use crate::pods::{self, Simulated, Templates};
use crate::quality::{self, Sample};
use crate::random::Random;
use crate::report::{Compared, Report, RunReport, WorldReport};
use crate::stats::{Level, nanos};
use crate::tree;
use crate::world::{File, World};

/// How often the machines are looked at.
const SAMPLES: u64 = 20;

/// Time that passes for the one who measures.
pub type Clock<'a> = &'a dyn Fn() -> Duration;

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    pub world: &'a str,
    /// How many clusters each level has; empty for the flat scheduler.
    pub clusters: &'a [u64],
    /// Simulated milliseconds.
    pub at: u64,
    pub of: u64,
}

/// Simulates every world of the file, in every variant, and under a flat scheduler where it asks for one.
pub fn simulate(file: &File, clock: Clock<'_>, progress: &mut dyn FnMut(Progress<'_>)) -> Report {
    let mut worlds = Vec::new();
    for scenario in &file.worlds {
        let mut flat: Option<RunReport> = None;
        let mut variants = Vec::new();
        for world in &scenario.variants {
            if scenario.flat && (flat.is_none() || !world.is_flat_alike()) {
                let simulation = Simulation::flat(world, clock);
                flat = Some(simulation.run(&mut |at, of| {
                    progress(Progress { world: &scenario.name, clusters: &[], at, of });
                }));
            }
            let clusters = world.clusters();
            let tree = Simulation::tree(world, clock).run(&mut |at, of| {
                progress(Progress { world: &scenario.name, clusters: &clusters, at, of });
            });
            variants.push(Compared::new(tree, flat.clone()));
        }
        worlds.push(WorldReport { name: scenario.name.clone(), variants });
    }
    Report { worlds }
}

/// A world in motion.
pub struct Simulation<'a> {
    pub(crate) world: World,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) pods: Vec<Simulated>,
    pub(crate) templates: Templates,
    pub(crate) agenda: Agenda,
    /// Milliseconds.
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) clock: Clock<'a>,
    /// By depth; machines come last.
    pub(crate) levels: Vec<Level>,
    pub(crate) questions: crate::offering::Questions,
    /// Times of production.
    pub(crate) times: Config,
    pub(crate) fullest: Option<Sample>,
    /// Pods that lost their place and were made again.
    pub(crate) replaced: u64,
}

impl<'a> Simulation<'a> {
    pub fn tree(world: &World, clock: Clock<'a>) -> Self {
        let clusters = tree::grow(world);
        let homes = (0..world.levels.len()).map(|depth| {
            let of_level = clusters.iter().enumerate().filter(|(_, cluster)| cluster.depth == depth);
            of_level.map(|(id, _)| (id, None)).collect()
        });
        let homes: Vec<_> = homes.collect();
        Self::new(world.clone(), clusters, &homes, clock)
    }

    /// The same machines and pods under one scheduler.
    pub fn flat(world: &World, clock: Clock<'a>) -> Self {
        let clusters = tree::grow(world);
        let homes: Vec<_> = (0..world.levels.len())
            .map(|depth| {
                let of_level = clusters.iter().filter(|cluster| cluster.depth == depth);
                of_level.map(|cluster| (0, Some(cluster.name.clone()).filter(|_| depth > 0))).collect()
            })
            .collect();
        let flat = world.flat();
        let name = flat.levels[0].name.as_str().into();
        let policy = flat.levels[0].policy;
        let snapshot = tree::flatten(clusters);
        let root = Cluster { name, policy, snapshot, ..Cluster::default() };
        Self::new(flat, vec![root], &homes, clock)
    }

    fn new(world: World, clusters: Vec<Cluster>, homes: &[Vec<pods::Home>], clock: Clock<'a>) -> Self {
        let pods = pods::make(&world, homes);
        let level =
            Uplink { parent: String::new(), node: String::new(), area: None, expose: Expose::Cluster };
        let mut this = Self {
            templates: Templates::new(&world),
            agenda: Agenda::default(),
            now: 0,
            random: Random::new(world.seed, 3),
            clock,
            levels: (0..=world.levels.len()).map(|_| Level::default()).collect(),
            questions: crate::offering::Questions::default(),
            times: Config::new(level),
            fullest: None,
            replaced: 0,
            world,
            clusters,
            pods,
        };
        this.register();
        for id in 0..this.pods.len() {
            this.agenda.set(this.pods[id].made_at, Event::Made(id));
        }
        for sample in 1..=SAMPLES {
            this.agenda.set(this.world.duration * sample / SAMPLES, Event::Sample);
        }
        this
    }

    /// Runs to the end of the time; `progress` hears of every hundredth.
    pub fn run(mut self, progress: &mut dyn FnMut(u64, u64)) -> RunReport {
        let duration = self.world.duration;
        for hundredth in 0..=100 {
            progress(duration * hundredth / 100, duration);
            self.run_until(duration * (hundredth + 1) / 100);
        }
        RunReport::of(&mut self)
    }

    /// Takes all events until `end` (milliseconds), and at most to the end of the time.
    pub fn run_until(&mut self, end: u64) {
        let end = end.min(self.world.duration);
        while let Some((at, event)) = self.agenda.next_until(end) {
            self.now = at;
            self.take(event);
        }
        self.now = self.now.max(end);
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Made(pod) => self.made(pod),
            Event::Turn(cluster) => self.turn(cluster),
            Event::Offered(cluster, asked) => self.offered(cluster, asked),
            Event::Answered(cluster, node, answers) => self.answered(cluster, &node, answers),
            Event::Bound(cluster, pod) => self.bound_to_child(cluster, pod),
            Event::Arrived(pod) => self.arrived(pod),
            Event::Running(pod) => self.running(pod),
            Event::Changed(pod, ready) => self.readiness(pod, ready),
            Event::Finished(pod) => self.finished(pod),
            Event::Status(cluster, pod, status) => self.status(cluster, pod, *status),
            Event::Unplaced(cluster, pod) => self.unplaced(cluster, pod),
            Event::Summary(cluster) => self.summary(cluster),
            Event::Node(cluster, node) => self.take_node(cluster, node),
            Event::Told(cluster, told) => self.take_told(cluster, told),
            Event::Expire(cluster) => self.expire(cluster),
            Event::Sample => {
                let sample = quality::look(&self.clusters, &self.world, self.now);
                if self.fullest.as_ref().is_none_or(|fullest| sample.is_fuller(fullest)) {
                    self.fullest = Some(sample);
                }
            }
        }
    }

    /// Seconds, as refusals count them.
    pub(crate) fn seconds(&self) -> i64 {
        i64::try_from(self.now / 1000).unwrap_or(i64::MAX)
    }

    /// Does one decision of a cluster and keeps how long it took.
    pub(crate) fn decide<T>(&mut self, cluster: ClusterId, decision: impl FnOnce(&Cluster, u64) -> T) -> T {
        let seed = self.random.next();
        let began = (self.clock)();
        let decided = decision(&self.clusters[cluster], seed);
        let took = nanos((self.clock)().saturating_sub(began));
        let depth = self.clusters[cluster].depth;
        self.levels[depth].decisions.push(took);
        decided
    }

    /// Milliseconds between a cluster and its parent.
    pub(crate) fn link(&self, cluster: ClusterId) -> u64 {
        self.world.levels[self.clusters[cluster].depth].link
    }
}
