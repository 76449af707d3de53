//! The policies: each says in which order nodes are looked at, and ranks those that can take a pod.
//!
//! A policy is two pure functions in a file of its own: `order` (hosts, the most promising first) and `rank` (a score
//! for every host that fits, and the words for it). Filters are the same for all of them.

pub(super) mod auction;
pub(super) mod balanced;
pub(super) mod bin_pack;
pub mod external;
pub(super) mod first_fit;
pub mod group;
pub(super) mod nearest;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;

use dunlin_api::names::annotation;

use crate::model::Pod;

use super::WhyNot;
use super::snapshot::{Host, Snapshot};

/// How one of the nodes that can take a pod is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// Scores nodes as kube-scheduler does by default: spread load, follow preferences.
    #[default]
    Balanced,
    /// The first node by name; cheap, and packs.
    FirstFit,
    /// The fullest node, so that whole nodes stay free.
    BinPack,
    /// The node nearest to where the pod wants to be (annotation `dunlin.io/near`).
    Nearest,
    /// The node that bids the lowest price.
    Auction,
    /// All pods of a group (label `dunlin.io/group`) close together, or none.
    Group,
    /// An HTTP scheduler decides, by the scheduler extender protocol.
    External,
}

const NAMES: &[(&str, Policy)] = &[
    ("first-fit", Policy::FirstFit),
    ("balanced", Policy::Balanced),
    ("bin-pack", Policy::BinPack),
    ("nearest", Policy::Nearest),
    ("auction", Policy::Auction),
    ("group", Policy::Group),
    ("external", Policy::External),
];

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, policy)| *policy).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("unknown scheduler policy {text:?}; there are {}", names.join(", "))
        })
    }
}

impl Policy {
    /// The policy that a pod asks for by annotation, else `default`.
    ///
    /// # Errors
    /// When it asks for one that there is not.
    pub fn of(pod: &Pod, default: Self) -> Result<Self, WhyNot> {
        let asked = pod.metadata.annotations.get(annotation::SCHEDULER_POLICY);
        asked.map_or(Ok(default), |name| {
            name.parse()
                .map_err(|e| WhyNot::because(format!("annotation {}: {e}", annotation::SCHEDULER_POLICY)))
        })
    }
}

/// What is ranked: the hosts that can take the pod.
pub(super) struct Round<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) pod: &'a Pod,
    pub(super) able: &'a [&'a Host],
}

/// A score for each host of a round, the highest wins; `word` says what the score of the host at an index means.
pub(super) struct Ranking<'a> {
    pub(super) scores: Vec<i64>,
    pub(super) word: Box<dyn Fn(usize) -> String + 'a>,
}

pub(super) type Order<'a> = Box<dyn Iterator<Item = &'a Host> + 'a>;

/// The two functions of a policy that places one pod.
pub(super) struct Rules {
    pub(super) order: for<'a> fn(&'a Snapshot, &'a Pod, u64) -> Order<'a>,
    pub(super) rank: for<'a> fn(&'a Round<'a>) -> Ranking<'a>,
}

impl Policy {
    /// How this policy places one pod; a pod without a group is placed as `balanced` does, and what an external
    /// scheduler leaves open is, too.
    pub(super) fn rules(self) -> Rules {
        match self {
            Self::Balanced | Self::Group | Self::External => {
                Rules { order: balanced::order, rank: balanced::rank }
            }
            Self::FirstFit => Rules { order: first_fit::order, rank: first_fit::rank },
            Self::BinPack => Rules { order: bin_pack::order, rank: bin_pack::rank },
            Self::Nearest => Rules { order: nearest::order, rank: nearest::rank },
            Self::Auction => Rules { order: auction::order, rank: auction::rank },
        }
    }

    /// How many hosts that fit are enough to choose from, out of so many nodes. Looking at all would make decisions
    /// slow in large clusters for little gain; the shares are those of kube-scheduler's percentageOfNodesToScore,
    /// halved. Policies with an order of their own find the best early.
    pub(super) fn enough(self, nodes: usize) -> usize {
        const FEW: usize = 100;
        match self {
            Self::FirstFit => 1,
            Self::BinPack | Self::Nearest => FEW,
            Self::Balanced | Self::Auction | Self::Group | Self::External => {
                let percent = 50_usize.saturating_sub(nodes / 125).max(5);
                (nodes * percent / 200).max(FEW)
            }
        }
    }
}

impl Round<'_> {
    /// The index of the best host; equal ones are told apart by a hash of seed and names, so that they fill evenly and
    /// a decision can still be repeated.
    pub(super) fn best(&self, scores: &[i64], seed: u64) -> Option<usize> {
        let highest = scores.iter().max()?;
        let tied = (0..scores.len()).filter(|at| scores[*at] == *highest);
        tied.max_by_key(|at| luck(seed, self.pod, self.able[*at].name()))
    }
}

/// A number that looks random and is always the same for the same arguments.
pub(super) fn luck(seed: u64, pod: &Pod, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, &pod.metadata.uid, name).hash(&mut hasher);
    hasher.finish()
}
