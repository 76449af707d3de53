//! `auction`: every node bids a price for running the pod, and the lowest wins.
//!
//! A bid depends on nothing but the node and the pod, as if nodes were asked one by one: the fuller the node will be,
//! the dearer (by the square, so that the last places cost most); the larger the part of its headroom that the pod
//! takes, the dearer; images that are present make it cheaper, since nothing has to be pulled. The buyer's preferences
//! are a rebate. Prices are in thousandths.

use super::{Order, Ranking, Round, luck};
use crate::model::Pod;
use crate::scheduler::score;
use crate::scheduler::snapshot::{Host, Snapshot, guess};

/// Price of a node that will be full, of taking all its headroom, and of pulling 1000 MiB for each container.
const LOAD: f64 = 1000.0;
const HEADROOM: f64 = 500.0;
const PULL: i64 = 300;

pub(in crate::scheduler) fn order<'a>(snapshot: &'a Snapshot, pod: &'a Pod, seed: u64) -> Order<'a> {
    Box::new(snapshot.hosts_from(luck(seed, pod, "")))
}

pub(in crate::scheduler) fn rank<'a>(round: &'a Round<'a>) -> Ranking<'a> {
    let rebates = score::wishes(round);
    let lot = Lot::of(round.pod);
    let bids: Vec<i64> = round.able.iter().map(|host| lot.bid(host)).collect();
    let scores = bids.iter().zip(&rebates).map(|(bid, rebate)| rebate - bid).collect();
    let word = move |at: usize| match rebates[at] {
        0 => format!("bid {}", bids[at]),
        rebate => format!("bid {} less {rebate} for preferences", bids[at]),
    };
    Ranking { scores, word: Box::new(word) }
}

/// What bids depend on besides the node.
struct Lot {
    guessed: (i64, i64),
    /// Requested CPU and memory.
    wanted: (i64, i64),
    images: Vec<u64>,
}

impl Lot {
    fn of(pod: &Pod) -> Self {
        let wanted = (pod.spec.requests.get("cpu"), pod.spec.requests.get("memory"));
        Self { guessed: guess(pod), wanted, images: score::wanted_images(pod) }
    }

    /// What `host` asks for running the pod.
    fn bid(&self, host: &Host) -> i64 {
        let [cpu, memory] = score::shares(self.guessed, host);
        let load = (cpu * cpu + memory * memory) / 2.0;
        let part = |wanted: i64, free: i64| {
            if wanted <= 0 { 0.0 } else { wanted as f64 / free.max(wanted) as f64 }
        };
        let free = &host.room.free;
        let headroom = part(self.wanted.0, free.0).max(part(self.wanted.1, free.1));
        let pull = PULL - PULL * score::images(&self.images, host) / 100;
        (LOAD * load + HEADROOM * headroom) as i64 + pull
    }
}
