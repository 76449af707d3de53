//! A small internet: a backbone on which every address is public, and sites behind routers that translate addresses.
//!
//! All sites use the same private range, as homes and factories do, and nothing that was not asked for from inside gets
//! in: whatever lies in a site can call out and never be called.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use crate::cable::Cable;
use crate::host::{Host, Lan, Network};

/// The backbone, `198.51.100.0/24`.
#[derive(Debug)]
pub struct Internet {
    backbone: Lan,
}

/// A network `192.168.1.0/24` behind a router.
#[derive(Debug)]
pub struct Site {
    uplink: Mutex<Cable>,
    lan: Lan,
    /// The router's address on the backbone: what others see of this site.
    pub public_address: String,
}

impl Internet {
    /// A backbone with nobody on it.
    ///
    /// # Errors
    /// When namespaces cannot be made (needs root).
    pub fn new() -> Result<Self> {
        Ok(Self { backbone: Lan::with_prefix("198.51.100")? })
    }

    /// A new site. Its router is the namespace that its machines are plugged into.
    ///
    /// # Errors
    /// When the router cannot be made.
    pub fn site(&self) -> Result<Site> {
        let lan = Lan::with_prefix("192.168.1")?;
        let router = &lan.namespace;
        let (public_address, uplink) = self.backbone.plug(router, "wan")?;
        router.ip(&format!("addr add {}/24 dev br0", lan.gateway()))?;
        router.shell("echo 1 > /proc/sys/net/ipv4/ip_forward")?;
        router.shell(&format!("nft '{RULES}'"))?;
        Ok(Site { uplink: Mutex::new(uplink), lan, public_address })
    }
}

/// Translates what goes out; of what comes in only answers pass.
const RULES: &str = "table ip site {
    chain translate { type nat hook postrouting priority srcnat; oifname \"wan\" masquerade; }
    chain through { type filter hook forward priority filter; iifname \"wan\" ct state new,invalid drop; }
    chain into { type filter hook input priority filter; iifname \"wan\" ct state new,invalid drop; }
}";

impl Network for Internet {
    fn host(&self) -> Result<Host> {
        self.backbone.host()
    }
}

impl Network for Site {
    fn host(&self) -> Result<Host> {
        self.lan.host()
    }
}

impl Site {
    /// The cable between the site's router and the backbone.
    pub fn uplink(&self) -> MutexGuard<'_, Cable> {
        self.uplink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
