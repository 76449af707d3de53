//! `nearest`: the node nearest to where the pod wants to be (annotation `dunlin.io/near`, an area or `LAT,LON`).
//!
//! Nearness is the time of a round trip: measured, where the node's annotation `dunlin.io/latency` names the area, else
//! estimated from the great-circle distance at the speed of light in fibre (100 km per millisecond, there and back).
//! Nodes of the area asked for go before all others; within that, nearness counts by its logarithm (1 km or 2 km
//! matters, 1000 km or 1001 km does not) and preferences are weighed against it. A pod that says nothing is placed as
//! `balanced` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_api::names::{annotation, label};

use super::{Order, Ranking, Round, balanced};
use crate::model::Pod;
use crate::scheduler::WhyNot;
use crate::scheduler::score;
use crate::scheduler::snapshot::{Host, Snapshot};

/// No sum of preferences reaches this.
const SAME_AREA: i64 = 10_000;
/// What the nearest possible node gets, and the farthest does not.
const WEIGHT: f64 = 800.0;
/// Half-way round the world, in microseconds: the farthest that a node can be.
const FARTHEST: f64 = 200_150.0;
const MICROS_PER_KM: f64 = 10.0;
const EARTH_RADIUS_KM: f64 = 6371.0;

/// Degrees of latitude and longitude.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    latitude: f64,
    longitude: f64,
}

impl Position {
    /// Reads `LAT,LON` in degrees.
    pub fn parse(text: &str) -> Option<Self> {
        let (latitude, longitude) = text.split_once(',')?;
        let degrees = |text: &str, most: f64| {
            text.trim().parse::<f64>().ok().filter(|value| value.is_finite() && value.abs() <= most)
        };
        Some(Self { latitude: degrees(latitude, 90.0)?, longitude: degrees(longitude, 180.0)? })
    }

    /// Kilometres along the great circle (haversine).
    pub fn distance(self, other: Self) -> f64 {
        let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
        let (north, south) = (self.latitude.to_radians().cos(), other.latitude.to_radians().cos());
        let chord =
            half(self.latitude, other.latitude) + north * south * half(self.longitude, other.longitude);
        2.0 * EARTH_RADIUS_KM * chord.clamp(0.0, 1.0).sqrt().asin()
    }
}

/// Where a pod wants to be.
struct Target<'a> {
    /// The area it names, "" if it names a position.
    area: &'a str,
    /// That position, or where the area's first positioned node is.
    position: Option<Position>,
}

/// How far a host is from a target.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Far {
    same_area: bool,
    micros: Option<f64>,
    measured: bool,
}

/// # Errors
/// When the pod's annotation looks like a position and is none.
pub(in crate::scheduler) fn check(pod: &Pod) -> Result<(), WhyNot> {
    let near = pod.metadata.annotations.get(annotation::NEAR);
    match near.filter(|near| near.is_empty() || near.contains(',') && Position::parse(near).is_none()) {
        None => Ok(()),
        Some(near) => Err(WhyNot::because(format!(
            "annotation {}: {near:?} is neither the name of an area nor LAT,LON in degrees, as in 51.05,3.72",
            annotation::NEAR
        ))),
    }
}

/// The hosts of the nearest areas first; hosts that are in no area by their own distance.
pub(in crate::scheduler) fn order<'a>(snapshot: &'a Snapshot, pod: &'a Pod, seed: u64) -> Order<'a> {
    let Some(target) = Target::of(snapshot, pod) else { return balanced::order(snapshot, pod, seed) };
    let rank = |far: Far| (!far.same_area, far.micros.unwrap_or(FARTHEST) as i64);
    let far = |name: &Arc<str>| snapshot.host_named(name).map(|host| rank(target.far(snapshot, host)));
    // A whole area, or a host that is in none.
    let mut places = Vec::new();
    for (area, hosts) in snapshot.areas() {
        if area.is_empty() {
            let alone = |name: &'a Arc<str>| Some((far(name)?, None, Some(name)));
            places.extend(hosts.keys().filter_map(alone));
        } else {
            let first = hosts.iter().find(|(_, position)| position.is_some()).or(hosts.iter().next());
            let far = first.and_then(|(name, _)| far(name));
            places.extend(far.map(|far| (far, Some(hosts), None)));
        }
    }
    places.sort_by_key(|(far, ..)| *far);
    let names = places
        .into_iter()
        .flat_map(|(_, area, alone)| area.into_iter().flat_map(BTreeMap::keys).chain(alone));
    Box::new(names.filter_map(move |name| snapshot.host_named(name)))
}

pub(in crate::scheduler) fn rank<'a>(round: &'a Round<'a>) -> Ranking<'a> {
    let Some(target) = Target::of(round.snapshot, round.pod) else { return balanced::rank(round) };
    let fars: Vec<Far> = round.able.iter().map(|host| target.far(round.snapshot, host)).collect();
    let mut scores = score::preferences(round);
    for (sum, far) in scores.iter_mut().zip(&fars) {
        *sum += far.score();
    }
    Ranking { scores, word: Box::new(move |at| fars[at].to_string()) }
}

impl<'a> Target<'a> {
    fn of(snapshot: &Snapshot, pod: &'a Pod) -> Option<Self> {
        let near = pod.metadata.annotations.get(annotation::NEAR)?;
        Some(match Position::parse(near) {
            Some(position) => Self { area: "", position: Some(position) },
            None => Self { area: near, position: area_position(snapshot, near) },
        })
    }

    fn far(&self, snapshot: &Snapshot, host: &Host) -> Far {
        let area = host.label(label::AREA);
        let same_area = !self.area.is_empty() && area.is_some_and(|area| **area == *self.area);
        let node = &host.node().metadata;
        if let Some(micros) =
            node.annotations.get(annotation::LATENCY).and_then(|text| latency(text, self.area))
        {
            return Far { same_area, micros: Some(micros), measured: true };
        }
        let own = node.annotations.get(annotation::POSITION).and_then(|text| Position::parse(text));
        let position = own.or_else(|| area.and_then(|area| area_position(snapshot, area)));
        let estimate = position.zip(self.position).map(|(a, b)| a.distance(b) * MICROS_PER_KM);
        Far { same_area, micros: if same_area { estimate.or(Some(0.0)) } else { estimate }, measured: false }
    }
}

impl Far {
    fn score(self) -> i64 {
        let near = self.micros.map_or(0.0, |micros| 1.0 - micros.min(FARTHEST).ln_1p() / FARTHEST.ln_1p());
        (WEIGHT * near) as i64 + if self.same_area { SAME_AREA } else { 0 }
    }
}

impl std::fmt::Display for Far {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.micros {
            None => return write!(f, "at an unknown distance"),
            Some(micros) if self.measured => write!(f, "{:.1} ms away, measured", micros / 1000.0)?,
            Some(micros) => write!(f, "{:.0} km away", micros / MICROS_PER_KM)?,
        }
        if self.same_area { write!(f, ", in the area asked for") } else { Ok(()) }
    }
}

/// An area is where its first node (by name) with a position is.
fn area_position(snapshot: &Snapshot, area: &str) -> Option<Position> {
    let hosts: &BTreeMap<Arc<str>, Option<Position>> = snapshot.areas().get(area)?;
    hosts.values().find_map(|position| *position)
}

/// Microseconds to `area` out of `AREA=MILLISECONDS,...`; parts that cannot be read are passed over, since nodes
/// measure all the time and a wrong figure must not keep pods from running.
fn latency(text: &str, area: &str) -> Option<f64> {
    let mut pairs = text.split(',').filter_map(|part| part.split_once('='));
    let (_, millis) = pairs.find(|(name, _)| name.trim() == area && !area.is_empty())?;
    let millis = millis.trim().parse::<f64>().ok()?;
    (millis.is_finite() && millis >= 0.0).then_some(millis * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_globe() {
        let at = |text: &str| Position::parse(text).expect("a position");
        let (ghent, munich, fiji) = (at("51.05,3.72"), at("48.14, 11.58"), at("-17.7,178.1"));
        let near = |a: f64, b: f64| assert!((a - b).abs() < b * 0.01, "{a} is not about {b}");
        near(ghent.distance(munich), 648.0);
        near(at("0,179").distance(at("0,-179")), 222.4);
        near(at("90,0").distance(at("-90,0")), 20_015.0);
        near(munich.distance(fiji), fiji.distance(munich));
        assert_eq!(ghent.distance(ghent), 0.0);
        for wrong in ["", "51", "91,0", "0,181", "north,3", "NaN,0", "1,2,3"] {
            assert_eq!(Position::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn latencies_are_read_leniently() {
        assert_eq!(latency("north=3.5, south=40", "south"), Some(40_000.0));
        assert_eq!(latency("north=fast,south=40", "north"), None);
        assert_eq!(latency("north=-1", "north"), None);
        assert_eq!(latency("=1", ""), None);
    }
}
