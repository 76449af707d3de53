//! Whether this node can take a pod: the last check, for pods that were bound without asking a scheduler.
//!
//! Pure. The words are a kubelet's: a refused pod becomes Failed with `OutOfcpu`, `NodeAffinity`, ... and its
//! controller makes another.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Why a pod cannot run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status's reason.
    pub reason: String,
    /// The status's message.
    pub message: String,
}

/// A quantity in thousandths; what cannot be read counts as nothing.
pub fn milli(quantity: &Quantity) -> i128 {
    parse_milli(&quantity.0).unwrap_or(0)
}

/// A quantity as a whole number, rounded up.
pub fn whole(quantity: &Quantity) -> i128 {
    (milli(quantity) + 999).div_euclid(1000)
}

fn parse_milli(text: &str) -> Option<i128> {
    dunlin_quantity(text)
}

/// What a pod asks for: `max(sum of containers + sidecars, largest init step)` plus overhead, in thousandths.
pub fn requests(pod: &Pod) -> BTreeMap<String, i128> {
    let mut total: BTreeMap<String, i128> = BTreeMap::new();
    let Some(spec) = &pod.spec else { return total };
    let of = |c: &k8s_openapi::api::core::v1::Container| -> BTreeMap<String, i128> {
        let requests = c.resources.as_ref().and_then(|r| r.requests.clone()).unwrap_or_default();
        requests.iter().map(|(k, v)| (k.clone(), milli(v))).collect()
    };
    for container in &spec.containers {
        add(&mut total, &of(container));
    }
    let mut sidecars: BTreeMap<String, i128> = BTreeMap::new();
    let mut steps: BTreeMap<String, i128> = BTreeMap::new();
    for container in spec.init_containers.iter().flatten() {
        let mut step = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut total, &step);
            add(&mut sidecars, &step);
            step = BTreeMap::new();
        }
        add(&mut step, &sidecars);
        most(&mut steps, &step);
    }
    most(&mut total, &steps);
    for (name, quantity) in spec.resources.iter().filter_map(|r| r.requests.as_ref()).flatten() {
        total.insert(name.clone(), milli(quantity));
    }
    for (name, quantity) in spec.overhead.iter().flatten() {
        *total.entry(name.clone()).or_default() += milli(quantity);
    }
    total
}

fn add(into: &mut BTreeMap<String, i128>, what: &BTreeMap<String, i128>) {
    for (name, value) in what {
        *into.entry(name.clone()).or_default() += value;
    }
}

fn most(into: &mut BTreeMap<String, i128>, what: &BTreeMap<String, i128>) {
    for (name, value) in what {
        let entry = into.entry(name.clone()).or_default();
        *entry = (*entry).max(*value);
    }
}

/// Whether `pod` fits beside `others` on a node with these labels, if they are known, and allocatable resources
/// (thousandths).
///
/// # Errors
/// The refusal, worded as a kubelet words it.
pub fn admit<'a>(
    pod: &Pod,
    others: impl Iterator<Item = &'a Pod>,
    allocatable: &BTreeMap<String, i128>,
    labels: Option<&BTreeMap<String, String>>,
) -> Result<(), Refusal> {
    for (key, value) in pod.spec.iter().filter_map(|s| s.node_selector.as_ref()).flatten() {
        if labels.is_some_and(|labels| labels.get(key) != Some(value)) {
            return Err(Refusal {
                reason: "NodeAffinity".into(),
                message: "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".into(),
            });
        }
    }
    let mut used: BTreeMap<String, i128> = BTreeMap::new();
    let mut count: i128 = 0;
    for other in others {
        add(&mut used, &requests(other));
        count += 1;
    }
    let mut wanted = requests(pod);
    wanted.insert("pods".into(), 1000);
    used.insert("pods".into(), count * 1000);
    for (name, want) in &wanted {
        let have = allocatable.get(name).copied();
        let known = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage" | "pods");
        let have = match have {
            Some(have) => have,
            None if known => continue,
            None => 0,
        };
        let taken = used.get(name).copied().unwrap_or(0);
        if *want > 0 && taken + want > have {
            let unit = |v: i128| if name == "cpu" { v } else { v / 1000 };
            return Err(Refusal {
                reason: format!("OutOf{name}"),
                message: format!(
                    "Pod was rejected: Node didn't have enough resource: {name}, requested: {}, used: {}, capacity: {}",
                    unit(*want),
                    unit(taken),
                    unit(have)
                ),
            });
        }
    }
    Ok(())
}

fn dunlin_quantity(text: &str) -> Option<i128> {
    let text = text.trim();
    let split =
        text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let scale: (i128, i128) = match suffix {
        "" => (1000, 1),
        "n" => (1, 1_000_000),
        "u" => (1, 1000),
        "m" => (1, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000_000, 1),
        "Ki" => (1000 << 10, 1),
        "Mi" => (1000 << 20, 1),
        "Gi" => (1000 << 30, 1),
        "Ti" => (1000 << 40, 1),
        "Pi" => (1000 << 50, 1),
        "Ei" => (1000 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            if !(-18..=18).contains(&power) {
                return None;
            }
            if power >= 0 {
                (1000 * 10i128.pow(power.unsigned_abs()), 1)
            } else {
                (1000, 10i128.pow(power.unsigned_abs()))
            }
        }
    };
    let (sign, number) = match number.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    if integer.is_empty() && fraction.is_empty() || integer.len() > 18 {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(9)];
    let unit = 10i128.pow(u32::try_from(fraction.len()).ok()?);
    let integer: i128 = if integer.is_empty() { 0 } else { integer.parse().ok()? };
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let digits = integer * unit + part;
    let divisor = unit * scale.1;
    Some(sign * ((digits.checked_mul(scale.0)? + divisor - 1) / divisor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(cpu: &str, init: &str) -> Pod {
        serde_json::from_value(json!({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{
            "containers":[{"name":"a","resources":{"requests":{"cpu":cpu,"memory":"64Mi"}}}],
            "initContainers":[{"name":"i","resources":{"requests":{"cpu":init}}}]}}))
        .expect("pod")
    }

    #[test]
    fn quantities() {
        for (text, want) in [
            ("100m", 100),
            ("1", 1000),
            ("1.5", 1500),
            ("64Mi", 64 * 1024 * 1024 * 1000),
            ("1k", 1_000_000),
            ("1e3", 1_000_000),
            ("0.1m", 1),
        ] {
            assert_eq!(parse_milli(text), Some(want), "{text}");
        }
        assert_eq!(parse_milli("x"), None);
    }

    #[test]
    fn labels_are_judged_when_they_are_known() {
        let mut picky = pod("0", "0");
        let selector = BTreeMap::from([("role".to_owned(), "field".to_owned())]);
        picky.spec.as_mut().expect("a spec").node_selector = Some(selector.clone());
        let judged =
            |labels| admit(&picky, std::iter::empty(), &BTreeMap::new(), labels).map_err(|r| r.reason);
        let none = BTreeMap::new();
        assert_eq!(judged(Some(&none)), Err("NodeAffinity".to_owned()));
        assert_eq!((judged(Some(&selector)), judged(None)), (Ok(()), Ok(())));
    }

    #[test]
    fn refuses_in_kubelet_words() {
        let allocatable = BTreeMap::from([
            ("cpu".to_owned(), 1000),
            ("memory".to_owned(), milli(&Quantity("1Gi".into()))),
            ("pods".to_owned(), 2000),
        ]);
        let other = pod("500m", "100m");
        let labels = BTreeMap::new();
        assert_eq!(admit(&pod("500m", "0"), [&other].into_iter(), &allocatable, Some(&labels)), Ok(()));
        let refusal = admit(&pod("500m", "600m"), [&other].into_iter(), &allocatable, Some(&labels))
            .expect_err("too much");
        assert_eq!(refusal.reason, "OutOfcpu");
        assert!(
            refusal.message.ends_with("requested: 600, used: 500, capacity: 1000"),
            "{}",
            refusal.message
        );
        let small = pod("1m", "0");
        assert_eq!(
            admit(&small, [&small, &small].into_iter(), &allocatable, Some(&labels))
                .expect_err("pods")
                .reason,
            "OutOfpods"
        );
    }
}
