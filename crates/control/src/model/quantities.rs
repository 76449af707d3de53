//! Amounts of resources by name: what a pod requests, what a node has.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

/// CPU in thousandths of a core, everything else in units (bytes, pieces), rounded up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quantities(pub BTreeMap<Arc<str>, i64>);

impl Quantities {
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub fn set(&mut self, name: &str, amount: i64) {
        self.0.insert(name.into(), amount);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i64)> {
        self.0.iter().map(|(name, amount)| (name, *amount))
    }

    pub fn add(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(amount);
        }
    }

    pub fn subtract(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            let rest = self.0.entry(name.clone()).or_default();
            *rest = rest.saturating_sub(amount);
        }
        self.0.retain(|_, amount| *amount != 0);
    }

    /// Takes the larger amount of each resource.
    pub fn raise_to(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(amount);
        }
    }
}

impl<'de> Deserialize<'de> for Quantities {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let amounts = BTreeMap::<Arc<str>, serde_json::Value>::deserialize(from)?;
        let parse = |(name, value): (Arc<str>, serde_json::Value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let milli = milli(&text)?;
            let amount = if &*name == "cpu" { milli } else { milli.div_euclid(1000) + i128::from(milli.rem_euclid(1000) > 0) };
            Some((name, i64::try_from(amount).unwrap_or(i64::MAX)))
        };
        Ok(Self(amounts.into_iter().filter_map(parse).collect()))
    }
}

/// Thousandths of a unit; what cannot be read counts as absent, since the API server has validated it.
fn milli(text: &str) -> Option<i128> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some((number * factor * 1000.0).ceil() as i128)
}
