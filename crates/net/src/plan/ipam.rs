//! Addresses of pods: reserved by pod uid, out of the node's range, the longest unused first.
//!
//! Pure; the caller keeps [`Ipam`] on disk. A pod keeps its address for life, also over a lost sandbox.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// An IPv4 range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// Its first address.
    pub base: Ipv4Addr,
    /// Length of the prefix, 8 to 30.
    pub prefix: u8,
}

impl Cidr {
    /// The address of the bridge: the first after the base.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base) + 1)
    }
    /// How many addresses the range has.
    pub fn size(&self) -> u32 {
        1 << (32 - u32::from(self.prefix))
    }
    /// Whether `address` is in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address).wrapping_sub(u32::from(self.base)) < self.size()
    }
}

impl FromStr for Cidr {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Cidr(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !(8..=30).contains(&prefix) {
            return Err(wrong());
        }
        let mask = u32::MAX << (32 - u32::from(prefix));
        Ok(Self { base: Ipv4Addr::from(u32::from(address) & mask), prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// Who has which address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ipam {
    /// By pod uid.
    pub reserved: BTreeMap<String, Ipv4Addr>,
    /// The last address given out; the search goes on after it, so that a freed address rests before its next use.
    pub last: Option<Ipv4Addr>,
}

impl Ipam {
    /// The pod's address; a new one if it has none in this range.
    ///
    /// # Errors
    /// [`Error::Exhausted`].
    pub fn reserve(&mut self, uid: &str, range: &Cidr) -> Result<Ipv4Addr, Error> {
        if let Some(address) = self.reserved.get(uid)
            && range.contains(*address)
        {
            return Ok(*address);
        }
        // Usable: not the base, not the gateway, not the broadcast address.
        let usable = range.size().saturating_sub(3);
        let base = u32::from(range.base) + 2;
        let start =
            self.last.filter(|l| range.contains(*l)).map_or(0, |l| u32::from(l).saturating_sub(base) + 1);
        let taken: std::collections::BTreeSet<Ipv4Addr> = self.reserved.values().copied().collect();
        let free =
            (0..usable).map(|n| Ipv4Addr::from(base + (start + n) % usable)).find(|a| !taken.contains(a));
        let address = free.ok_or_else(|| Error::Exhausted(range.to_string()))?;
        self.reserved.insert(uid.to_owned(), address);
        self.last = Some(address);
        Ok(address)
    }

    /// Frees the pod's address.
    pub fn release(&mut self, uid: &str) -> Option<Ipv4Addr> {
        self.reserved.remove(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_pod_its_own_address() {
        let range: Cidr = "10.42.3.7/29".parse().expect("range");
        assert_eq!(range.to_string(), "10.42.3.0/29");
        assert_eq!(range.gateway(), Ipv4Addr::new(10, 42, 3, 1));
        let mut ipam = Ipam::default();
        let all: Vec<u8> =
            (0..5).map(|n| ipam.reserve(&n.to_string(), &range).expect("free").octets()[3]).collect();
        assert_eq!(all, [2, 3, 4, 5, 6]);
        assert_eq!(ipam.reserve("3", &range).expect("kept").octets()[3], 5);
        assert!(matches!(ipam.reserve("x", &range), Err(Error::Exhausted(_))));
        ipam.release("1");
        assert_eq!(ipam.reserve("x", &range).expect("freed").octets()[3], 3);
        ipam.release("0");
        ipam.release("x");
        assert_eq!(ipam.reserve("y", &range).expect("rested longest").octets()[3], 2);
    }

    #[test]
    fn refuses_nonsense() {
        for text in ["10.42.0.0", "10.42.0.0/33", "fd00::/64", "10.0.0.0/31"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
