//! Amounts of resources by name: what a pod requests, what a node has.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_api::quantity::Quantity;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

/// Thousandths of a quantity.
pub fn milli(quantity: &Quantity) -> i64 {
    i64::try_from(quantity.milli()).unwrap_or(i64::MAX)
}

impl<'de> Deserialize<'de> for Quantities {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let amounts = BTreeMap::<Arc<str>, serde_json::Value>::deserialize(from)?;
        // What cannot be read counts as absent, since the API server has validated it.
        let parse = |(name, value): (Arc<str>, serde_json::Value)| {
            let quantity = Quantity::from_value(&value).ok()?;
            let amount = if &*name == "cpu" { milli(&quantity) } else { quantity.value() };
            Some((name, amount))
        };
        Ok(Self(amounts.into_iter().filter_map(parse).collect()))
    }
}

/// As the API writes quantities: CPU in thousandths (`1500m`), bytes in KiB where that is exact, all else in units.
impl Serialize for Quantities {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, amount) in self.iter() {
            let text = match &**name {
                "cpu" => format!("{amount}m"),
                "memory" | "ephemeral-storage" if amount % 1024 == 0 => format!("{}Ki", amount / 1024),
                _ => amount.to_string(),
            };
            map.serialize_entry(&**name, &text)?;
        }
        map.end()
    }
}
