//! A world file: what is simulated, read strictly and checked before anything runs.
//!
//! It comes as raw text and becomes a [`World`] for every variant; an error names the field and what to write
//! instead. Sizes are bounded, because a world takes memory for each of its machines and pods.

mod check;
mod raw;

use dunlin_control::scheduler::Policy;

use crate::amount::Range;

/// The largest file, bytes.
pub const LARGEST: usize = 1 << 20;
const MOST_WORLDS: usize = 32;
const MOST_VARIANTS: usize = 16;
const MOST_LEVELS: usize = 6;
const MOST_CLUSTERS: u64 = 10_000;
const MOST_MACHINES: u64 = 200_000;
const MOST_PODS: u64 = 500_000;
/// Status changes, over all pods and the whole time.
const MOST_CHANGES: u64 = 5_000_000;
const LONGEST: i64 = 24 * 3_600_000;

/// Why a file is refused: the field by its path, and what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Wrong {
    #[error("the file has {0} bytes, which is more than {LARGEST}")]
    TooLarge(usize),
    #[error("{0}")]
    Yaml(String),
    #[error("{field}: {what}")]
    Field { field: String, what: String },
}

/// All that a file describes.
#[derive(Debug, Clone)]
pub struct File {
    pub worlds: Vec<Scenario>,
}

/// One entry of `worlds`: the same machines and pods under one tree or several.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: String,
    /// Whether a single scheduler over all machines is simulated, too.
    pub flat: bool,
    pub variants: Vec<World>,
}

/// One tree with its machines and what is asked of it.
#[derive(Debug, Clone)]
pub struct World {
    pub seed: u64,
    /// Milliseconds.
    pub duration: u64,
    /// From the root down.
    pub levels: Vec<Level>,
    pub machines: Vec<Machines>,
    pub workload: Vec<Workload>,
    /// Milliseconds from a machine to its cluster.
    pub machine_link: u64,
    /// Milliseconds from a pod's coming to a machine until it runs.
    pub start: Range,
}

/// The clusters of one depth.
#[derive(Debug, Clone)]
pub struct Level {
    pub name: String,
    /// Below each cluster of the level above; 1 for the root.
    pub count: u64,
    pub policy: Policy,
    /// Milliseconds to the level above, one way.
    pub link: u64,
    /// Where its clusters lie.
    pub area: Option<Area>,
    /// Of the lowest level: how many machines a cluster has, in proportion to the others.
    pub sizes: Range,
}

/// Thousandths of a degree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    pub latitude: Range,
    pub longitude: Range,
}

/// Machines of one kind.
#[derive(Debug, Clone)]
pub struct Machines {
    pub name: String,
    /// In the whole world.
    pub count: u64,
    /// Thousandths of a core.
    pub cpu: Range,
    /// Bytes.
    pub memory: Range,
    /// How many pods one may have.
    pub pods: Range,
    pub arch: String,
    pub labels: Vec<(String, String)>,
}

/// Pods of one controller.
#[derive(Debug, Clone)]
pub struct Workload {
    pub name: String,
    /// The level in whose clusters they are made.
    pub home: usize,
    /// In each of those clusters.
    pub count: u64,
    /// Thousandths of a pod each second; all at once if there are none.
    pub rate: Option<u64>,
    /// Milliseconds until the first is made.
    pub start: u64,
    /// Milliseconds that one runs, if it ends.
    pub life: Option<Range>,
    pub cpu: Range,
    pub memory: Range,
    pub selector: Vec<(String, String)>,
    pub policy: Option<String>,
    pub near: Option<Near>,
    pub spread: Option<Spread>,
    /// How often in an hour a running pod's readiness changes.
    pub changes: u64,
}

/// Where pods want to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Near {
    /// Each somewhere else in the area of the lowest level that has one.
    Anywhere(Area),
    /// An area's name, or `LAT,LON`.
    Place(String),
}

/// A topology spread constraint over the pods of the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    pub over: String,
    pub skew: u32,
    pub required: bool,
}

impl File {
    /// Reads and checks a world file.
    ///
    /// # Errors
    /// When it is too large, is not YAML of this form, or describes what cannot be simulated.
    pub fn read(text: &str) -> Result<Self, Wrong> {
        if text.len() > LARGEST {
            return Err(Wrong::TooLarge(text.len()));
        }
        let raw: raw::File = serde_saphyr::from_str(text).map_err(|e| Wrong::Yaml(e.to_string()))?;
        check::file(raw)
    }

    /// Leaves the worlds of these names, or all if none is named.
    ///
    /// # Errors
    /// When there is none of a name.
    pub fn only(&mut self, names: &[String]) -> Result<(), Wrong> {
        if let Some(name) = names.iter().find(|name| self.worlds.iter().all(|world| world.name != **name)) {
            let known: Vec<&str> = self.worlds.iter().map(|world| world.name.as_str()).collect();
            let what = format!("there is no world {name:?}; there are {}", known.join(", "));
            return Err(Wrong::Field { field: "worlds".to_owned(), what });
        }
        self.worlds.retain(|world| names.is_empty() || names.contains(&world.name));
        Ok(())
    }
}

impl World {
    /// How many clusters each level has in all.
    pub fn clusters(&self) -> Vec<u64> {
        let mut above = 1;
        let counts = self.levels.iter().map(|level| {
            above *= level.count;
            above
        });
        counts.collect()
    }

    /// The same machines and pods under one scheduler, that of the lowest level. Pods that are made in a cluster stay
    /// with its machines.
    pub fn flat(&self) -> Self {
        let lowest = self.levels.len() - 1;
        let root = Level {
            name: "flat".to_owned(),
            count: 1,
            policy: self.levels[lowest].policy,
            link: 0,
            area: None,
            sizes: Range::only(1),
        };
        Self { levels: vec![root], ..self.clone() }
    }

    /// Whether machines and pods are the same however many clusters there are, once clusters do not count.
    pub fn is_flat_alike(&self) -> bool {
        self.levels.iter().all(|level| level.area.is_none())
            && self.workload.iter().all(|pods| {
                pods.home == 0
                    && pods.selector.iter().all(|(key, _)| key != dunlin_api::names::label::CLUSTER)
                    && pods
                        .spread
                        .as_ref()
                        .is_none_or(|spread| spread.over != dunlin_api::names::label::CLUSTER)
            })
    }
}
