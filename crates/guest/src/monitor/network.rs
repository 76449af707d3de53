//! The guest on the pod's wire.
//!
//! The pod's end of the wire, `eth0`, and the guest's network device become ports of a bridge in the pod's namespace, and
//! the guest takes the pod's address. The address stays on `eth0` as well, where the agent put it and looks for it: a
//! bridge takes all frames of its ports, so the namespace itself receives nothing by it, and the bridge answers no ARP.
//! Thus nothing has to be put back, and the next container finds the same.

use std::io::{ErrorKind, Result};
use std::os::fd::OwnedFd;

use dunlin_guest::Network;

use crate::sys::net::{Devices, tap};

const WIRE: &str = "eth0";
const BRIDGE: &str = "vmbr";
const TAP: &str = "vmtap";

/// What connects the guest.
pub struct Wire {
    /// The host's side of its network device.
    pub tap: OwnedFd,
    /// Its hardware address.
    pub hardware: [u8; 6],
    /// Its address and routes.
    pub network: Network,
}

impl Wire {
    /// Address and gateway as `ADDRESS/PREFIX:GATEWAY`.
    pub fn text(&self) -> String {
        let Network { address, mask, gateway, .. } = self.network;
        let dotted = |address: [u8; 4]| address.map(|byte| byte.to_string()).join(".");
        format!("{}/{}:{}", dotted(address), u32::from_be_bytes(mask).leading_ones(), dotted(gateway))
    }
}

/// Connects this namespace's wire to a new device; `None` if it has no wire with an address.
pub fn wire() -> Result<Option<Wire>> {
    let devices = Devices::open()?;
    let address = match devices.address(WIRE, false) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EADDRNOTAVAIL)) => {
            return Ok(None);
        }
        other => other?,
    };
    let network = Network {
        address,
        mask: devices.address(WIRE, true)?,
        gateway: gateway(&std::fs::read_to_string("/proc/net/route")?),
        mtu: devices.mtu(WIRE)?,
    };
    let mut hardware = devices.hardware(WIRE)?;
    // Another one than the wire's, but always the same one: others remember it over a restart.
    hardware[0] = (hardware[0] | 2) & !1;
    hardware[1] ^= 0x5a;
    let tap = tap(TAP)?;
    devices.bridge(BRIDGE)?;
    for device in [WIRE, TAP] {
        devices.join(BRIDGE, device)?;
    }
    devices.set_mtu(TAP, network.mtu)?;
    devices.set_mtu(BRIDGE, network.mtu)?;
    devices.set_flags(BRIDGE, libc::IFF_UP | libc::IFF_NOARP)?;
    devices.set_flags(TAP, libc::IFF_UP)?;
    Ok(Some(Wire { tap, hardware, network }))
}

/// The default route in the kernel's table: device, destination, gateway, ... in hexadecimal, least byte first.
fn gateway(table: &str) -> [u8; 4] {
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.into_iter().find(|row| row.len() > 2 && row[0] == WIRE && row[1] == "00000000");
    let number = row.and_then(|row| u32::from_str_radix(row[2], 16).map_err(|_| ErrorKind::InvalidData).ok());
    number.map_or([0; 4], u32::to_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_table() {
        let table = "Iface\tDestination\tGateway \tFlags\n\
                     eth0\t0001280A\t00000000\t0001\neth0\t00000000\t0101280A\t0003\n";
        assert_eq!(gateway(table), [10, 40, 1, 1]);
        assert_eq!(gateway("Iface\tDestination\tGateway\n"), [0; 4]);
    }
}
