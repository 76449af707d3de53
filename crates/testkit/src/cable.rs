//! A cable between two namespaces, with a middle where it can be cut, slowed, squeezed and listened to.
//!
//! The middle is a namespace of its own that holds the far ends of two veth pairs. A bridge joins them; when packets are
//! to be late or lost, a [`Relay`] in this process does instead, because the kernels we run on have no `netem`. Neither
//! end sees what happens in the middle: a cut cable keeps its carrier, as a dead radio link does.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::namespace::Namespace;
use crate::relay::{Fault, Relay};

/// The device of the middle that leads to the near end, and the one to the far end.
const NEAR: &str = "near";
const FAR: &str = "far";

/// What went over a cable, as seen from its near end; every byte of every Ethernet frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub sent_bytes: u64,
    pub sent_packets: u64,
    pub received_bytes: u64,
    pub received_packets: u64,
}

impl Traffic {
    /// What came since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            sent_bytes: self.sent_bytes - before.sent_bytes,
            sent_packets: self.sent_packets - before.sent_packets,
            received_bytes: self.received_bytes - before.received_bytes,
            received_packets: self.received_packets - before.received_packets,
        }
    }
}

/// One end of a cable: a namespace, and the name that the device gets there.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    pub namespace: &'a Namespace,
    pub device: &'a str,
}

/// A cable. Dropping it unplugs both ends.
#[derive(Debug)]
pub struct Cable {
    middle: Namespace,
    fault: Fault,
    cut: bool,
    relay: Option<Relay>,
}

impl Cable {
    /// Connects two namespaces; both devices are up and have no address.
    ///
    /// # Errors
    /// When devices cannot be made.
    pub fn new(near: End<'_>, far: End<'_>) -> Result<Self> {
        let middle = Namespace::new()?;
        middle.ip("link add name wire type bridge")?;
        middle.ip("link set dev wire up")?;
        for (device, end) in [(NEAR, near), (FAR, far)] {
            let inside = end.namespace.name();
            middle
                .ip(&format!("link add name {device} type veth peer name {} netns {inside}", end.device))?;
            // Without this a "packet" is up to 64 KiB of them, and neither counts nor losses would mean anything.
            middle.ip(&format!("link set dev {device} gso_max_segs 1"))?;
            end.namespace.ip(&format!("link set dev {} gso_max_segs 1", end.device))?;
            middle.ip(&format!("link set dev {device} master wire up"))?;
            end.namespace.ip(&format!("link set dev {} up", end.device))?;
        }
        Ok(Self { middle, fault: Fault::default(), cut: false, relay: None })
    }

    /// Nothing passes any more, and nobody is told.
    ///
    /// # Errors
    /// When the middle cannot be changed.
    pub fn cut(&mut self) -> Result<()> {
        self.cut = true;
        self.rewire()
    }

    /// Packets pass again, as late and as lossy as before the cut.
    ///
    /// # Errors
    /// When the middle cannot be changed.
    pub fn mend(&mut self) -> Result<()> {
        self.cut = false;
        self.rewire()
    }

    /// Every packet takes `delay` longer, in each direction.
    ///
    /// # Errors
    /// When the middle cannot be changed.
    pub fn slow(&mut self, delay: Duration) -> Result<()> {
        self.fault.delay = delay;
        self.rewire()
    }

    /// So many packets of a hundred are lost, in each direction.
    ///
    /// # Errors
    /// When the middle cannot be changed.
    pub fn lossy(&mut self, percent: u8) -> Result<()> {
        self.fault.loss = percent.min(100);
        self.rewire()
    }

    /// At most so many bits a second in each direction; `None` lifts it. `rate` is in the words of `tc`: `64kbit`.
    ///
    /// # Errors
    /// When the rate is malformed or the kernel has no `tbf`.
    pub fn throttle(&mut self, rate: Option<&str>) -> Result<()> {
        for device in [NEAR, FAR] {
            match rate {
                Some(rate) => self.middle.shell(&format!(
                    "tc qdisc replace dev {device} root tbf rate {rate} burst 4kb latency 500ms"
                ))?,
                // Failing means that there was none.
                None => self.middle.shell(&format!("tc qdisc del dev {device} root 2>/dev/null || true"))?,
            };
        }
        Ok(())
    }

    /// What went over it since it was made.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn traffic(&self) -> Result<Traffic> {
        let text = self.middle.ip(&format!("-s -j link show dev {NEAR}"))?;
        let json: serde_json::Value =
            serde_json::from_str(&text).context("reading the counters of a cable")?;
        let count = |way: &str, what: &str| json[0]["stats64"][way][what].as_u64().unwrap_or(0);
        Ok(Traffic {
            sent_bytes: count("rx", "bytes"),
            sent_packets: count("rx", "packets"),
            received_bytes: count("tx", "bytes"),
            received_packets: count("tx", "packets"),
        })
    }

    fn rewire(&mut self) -> Result<()> {
        // Ends the threads; what was on its way in them is lost, as on a real wire.
        self.relay = None;
        let through = !self.cut && self.fault == Fault::default();
        for device in [NEAR, FAR] {
            let master = if through { "master wire" } else { "nomaster" };
            self.middle.ip(&format!("link set dev {device} {master}"))?;
        }
        if !self.cut && !through {
            self.relay = Some(Relay::start(&self.middle.path(), [NEAR, FAR], self.fault)?);
        }
        Ok(())
    }
}
