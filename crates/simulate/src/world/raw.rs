//! A world file as it is written.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct File {
    pub worlds: Vec<World>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct World {
    pub name: String,
    #[serde(default = "one")]
    pub seed: u64,
    pub duration: String,
    #[serde(default = "yes")]
    pub flat: bool,
    pub levels: Vec<Level>,
    #[serde(default)]
    pub machine_link: Option<String>,
    #[serde(default)]
    pub pod_start: Option<String>,
    pub machines: Vec<Machines>,
    pub workload: Vec<Workload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Level {
    pub name: String,
    #[serde(default)]
    pub count: Option<Counts>,
    #[serde(default)]
    pub policy: Option<String>,
    #[serde(default)]
    pub link: Option<String>,
    #[serde(default)]
    pub area: Option<Area>,
    #[serde(default)]
    pub sizes: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Area {
    pub latitude: String,
    pub longitude: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Machines {
    pub name: String,
    pub count: u64,
    pub cpu: String,
    pub memory: String,
    #[serde(default)]
    pub pods: Option<String>,
    #[serde(default)]
    pub arch: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Workload {
    pub name: String,
    #[serde(default)]
    pub home: Option<String>,
    pub count: u64,
    #[serde(default)]
    pub per_second: Option<f64>,
    #[serde(default)]
    pub start: Option<String>,
    #[serde(default)]
    pub life: Option<String>,
    #[serde(default)]
    pub cpu: Option<String>,
    #[serde(default)]
    pub memory: Option<String>,
    #[serde(default)]
    pub selector: BTreeMap<String, String>,
    #[serde(default)]
    pub policy: Option<String>,
    #[serde(default)]
    pub near: Option<String>,
    #[serde(default)]
    pub spread: Option<Spread>,
    #[serde(default)]
    pub changes_per_hour: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Spread {
    pub over: String,
    #[serde(default)]
    pub skew: Option<u32>,
    #[serde(default)]
    pub required: bool,
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

/// A number, or a list of them for as many variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts(pub Vec<u64>);

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Counts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a list of numbers for as many variants")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Counts, E> {
                Ok(Counts(vec![count]))
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Counts, E> {
                let count = u64::try_from(count);
                count.map(|count| Counts(vec![count])).map_err(|_| E::custom("a count is not negative"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Counts, A::Error> {
                let mut counts = Vec::new();
                while let Some(count) = list.next_element()? {
                    if counts.len() == super::MOST_VARIANTS {
                        return Err(de::Error::custom(format!("at most {} variants", super::MOST_VARIANTS)));
                    }
                    counts.push(count);
                }
                Ok(Counts(counts))
            }
        }
        from.deserialize_any(OneOrMore)
    }
}
