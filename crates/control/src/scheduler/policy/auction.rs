//! `auction`: every node bids a price for running the pod, and the lowest wins.
//!
//! A bid depends on nothing but the node and the pod, as if nodes were asked one by one: the fuller the node will be,
//! the dearer (by the square, so that the last places cost most); the larger the part of its headroom that the pod
//! takes, the dearer; images that are present make it cheaper, since nothing has to be pulled. The buyer's preferences
//! are a rebate. Prices are in thousandths.

use super::{Order, Ranking, Round, luck};
use crate::model::Pod;
use crate::scheduler::score;
use crate::scheduler::snapshot::{Host, Snapshot};

/// Price of a node that will be full, of taking all its headroom, and of pulling 1000 MiB for each container.
const LOAD: f64 = 1000.0;
const HEADROOM: f64 = 500.0;
const PULL: i64 = 300;

pub(in crate::scheduler) fn order<'a>(snapshot: &'a Snapshot, pod: &'a Pod, seed: u64) -> Order<'a> {
    Box::new(snapshot.hosts_from(luck(seed, pod, "")))
}

pub(in crate::scheduler) fn rank<'a>(round: &'a Round<'a>) -> Ranking<'a> {
    let rebates = score::wishes(round);
    let bids: Vec<i64> = round.able.iter().map(|host| bid(round.pod, host)).collect();
    let scores = bids.iter().zip(&rebates).map(|(bid, rebate)| rebate - bid).collect();
    let word = move |at: usize| match rebates[at] {
        0 => format!("bid {}", bids[at]),
        rebate => format!("bid {} less {rebate} for preferences", bids[at]),
    };
    Ranking { scores, word: Box::new(word) }
}

/// What `host` asks for the pod.
fn bid(pod: &Pod, host: &Host) -> i64 {
    let [cpu, memory] = score::shares(pod, host);
    let load = (cpu * cpu + memory * memory) / 2.0;
    let has = &host.node().status.allocatable;
    let part = |name: &str| {
        let wanted = pod.spec.requests.get(name);
        let free = has.get(name) - host.used().get(name);
        if wanted <= 0 { 0.0 } else { wanted as f64 / free.max(wanted) as f64 }
    };
    let headroom = part("cpu").max(part("memory"));
    let pull = PULL - PULL * score::images(pod, host) / 100;
    (LOAD * load + HEADROOM * headroom) as i64 + pull
}
