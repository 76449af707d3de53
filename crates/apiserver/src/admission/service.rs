//! Addresses and node ports of services, given out of two bitmaps.
//!
//! The bitmaps are made again from the stored services at every start, so nothing about them has to be stored and nothing
//! can get out of step over a crash. Between taking a number and storing the service a failure gives it back.

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::failure::{Cause, Failure, Result};
use crate::object::{self, at, list, map, text};
use crate::resources::known;
use crate::server::{Call, Inner};

const PORTS: std::ops::Range<u32> = 30_000..32_768;
/// Addresses below this are for services that name theirs; random ones start above.
const RESERVED: u32 = 256;

/// What one service took.
#[derive(Debug, Default, Clone)]
pub struct Taken {
    addresses: Vec<u32>,
    ports: Vec<u32>,
}

#[derive(Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(count: u32) -> Self {
        Self(vec![0; (count as usize).div_ceil(64)])
    }

    fn has(&self, at: u32) -> bool {
        self.0.get(at as usize / 64).is_none_or(|w| w & (1 << (at % 64)) != 0)
    }

    fn set(&mut self, at: u32, on: bool) {
        if let Some(word) = self.0.get_mut(at as usize / 64) {
            if on { *word |= 1 << (at % 64) } else { *word &= !(1 << (at % 64)) }
        }
    }

    /// Takes one that is free, looking from a random place on.
    fn take(&mut self, from: u32, to: u32) -> Option<u32> {
        let span = to - from;
        let start = u32::from_le_bytes(object::random::<4>()) % span;
        let found = (0..span).map(|i| from + (start + i) % span).find(|at| !self.has(*at))?;
        self.set(found, true);
        Some(found)
    }
}

#[derive(Debug)]
pub struct Addresses {
    network: u32,
    state: Mutex<(Bits, Bits)>,
}

impl Addresses {
    /// For a network of 16 bits.
    pub fn new(network: Ipv4Addr) -> Self {
        let bits = (Bits::new(1 << 16), Bits::new(PORTS.end - PORTS.start));
        Self { network: u32::from(network) & 0xffff_0000, state: Mutex::new(bits) }
    }

    /// The first address, which is the API server's own service.
    pub fn api(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.network + 1)
    }

    /// Marks what stored services hold.
    pub async fn rebuild(&self, server: &Inner) -> Result<()> {
        for service in server.all(known("", "services"), None).await? {
            self.mark(&service, true);
        }
        Ok(())
    }

    /// Frees what a service held.
    pub fn release(&self, service: &Value) {
        self.mark(service, false);
    }

    pub fn give_back(&self, taken: &Taken) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        taken.addresses.iter().for_each(|a| state.0.set(*a, false));
        taken.ports.iter().for_each(|p| state.1.set(*p, false));
    }

    fn mark(&self, service: &Value, on: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for ip in list(service, &["spec", "clusterIPs"]).iter().filter_map(Value::as_str) {
            if let Some(at) = self.offset(ip) {
                state.0.set(at, on);
            }
        }
        for port in ports(service) {
            state.1.set(port - PORTS.start, on);
        }
    }

    fn offset(&self, ip: &str) -> Option<u32> {
        let ip = u32::from(ip.parse::<Ipv4Addr>().ok()?);
        (ip & 0xffff_0000 == self.network).then_some(ip & 0xffff)
    }
}

fn ports(service: &Value) -> impl Iterator<Item = u32> {
    let all =
        list(service, &["spec", "ports"]).iter().filter_map(|p| p.get("nodePort").and_then(Value::as_u64));
    all.filter_map(|p| u32::try_from(p).ok()).filter(|p| PORTS.contains(p))
}

fn has_ports(service: &Value) -> bool {
    match text(service, &["spec", "type"]) {
        "NodePort" => true,
        "LoadBalancer" => at(service, &["spec", "allocateLoadBalancerNodePorts"]) != Some(&json!(false)),
        _ => false,
    }
}

/// A new service takes what it needs.
pub fn create(call: &Call, service: &mut Value) -> Result<Taken> {
    let mut taken = Taken::default();
    match take(call, service, &mut taken) {
        Ok(()) => Ok(taken),
        Err(failure) => {
            call.server.addresses.give_back(&taken);
            Err(failure)
        }
    }
}

fn take(call: &Call, service: &mut Value, taken: &mut Taken) -> Result<()> {
    let addresses = &call.server.addresses;
    let mut state = addresses.state.lock().unwrap_or_else(PoisonError::into_inner);
    let invalid = |field: &str, value: Value, why: &str, service: &Value| {
        Failure::invalid(&call.resource, object::name(service), &[Cause::value(field, &value, why)])
    };
    if text(service, &["spec", "type"]) != "ExternalName" {
        let wanted = match text(service, &["spec", "clusterIP"]) {
            "" => list(service, &["spec", "clusterIPs"])
                .first()
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned(),
            ip => ip.to_owned(),
        };
        let ip = match wanted.as_str() {
            "None" => wanted,
            "" => {
                let at = state
                    .0
                    .take(RESERVED, 0xffff)
                    .ok_or_else(|| Failure::internal("failed to allocate a serviceIP: range is full"))?;
                taken.addresses.push(at);
                Ipv4Addr::from(addresses.network + at).to_string()
            }
            _ => {
                let why = format!("failed to allocate IP {wanted}: ");
                let Some(at) = addresses.offset(&wanted).filter(|a| *a != 0 && *a != 0xffff) else {
                    let network = Ipv4Addr::from(addresses.network);
                    let why = format!("{why}the provided IP is not in the valid range {network}/16");
                    return Err(invalid("spec.clusterIPs", json!([wanted]), &why, service));
                };
                if state.0.has(at) {
                    let why = format!("{why}provided IP is already allocated");
                    return Err(invalid("spec.clusterIPs", json!([wanted]), &why, service));
                }
                state.0.set(at, true);
                taken.addresses.push(at);
                wanted
            }
        };
        let spec = map(service, "spec");
        spec.insert("clusterIP".into(), json!(ip));
        spec.insert("clusterIPs".into(), json!([ip]));
        spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
        spec.entry("ipFamilyPolicy").or_insert_with(|| json!("SingleStack"));
    }
    if has_ports(service) {
        take_ports(&mut state.1, service, taken).map_err(|port| {
            invalid("spec.ports[].nodePort", json!(port), "provided port is already allocated", service)
        })?;
    }
    Ok(())
}

fn take_ports(bits: &mut Bits, service: &mut Value, taken: &mut Taken) -> Result<(), u32> {
    let Some(all) = service.get_mut("spec").and_then(|s| s.get_mut("ports")).and_then(Value::as_array_mut)
    else {
        return Ok(());
    };
    for port in all {
        match port.get("nodePort").and_then(Value::as_u64).unwrap_or(0) {
            0 => {
                let at = bits.take(0, PORTS.end - PORTS.start).ok_or(0u32)?;
                taken.ports.push(at);
                port["nodePort"] = json!(at + PORTS.start);
            }
            wanted => {
                let wanted = u32::try_from(wanted).unwrap_or(0);
                if PORTS.contains(&wanted) {
                    let at = wanted - PORTS.start;
                    // The same number may serve TCP and UDP of one service.
                    if bits.has(at) && !taken.ports.contains(&at) {
                        return Err(wanted);
                    }
                    bits.set(at, true);
                    taken.ports.push(at);
                }
            }
        }
    }
    Ok(())
}

/// A changed service keeps its address and ports where it does not say otherwise.
pub fn update(call: &Call, old: &Value, new: &mut Value) -> Result<()> {
    let addresses = &call.server.addresses;
    let external = |v: &Value| text(v, &["spec", "type"]) == "ExternalName";
    if external(new) {
        let spec = map(new, "spec");
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
        if !external(old) && !call.dry_run() {
            addresses.release(old);
        }
        return Ok(());
    }
    if !external(old) {
        if text(new, &["spec", "clusterIP"]).is_empty() {
            for field in ["clusterIP", "clusterIPs"] {
                if let Some(value) = at(old, &["spec", field]) {
                    map(new, "spec").insert(field.into(), value.clone());
                }
            }
        } else if text(new, &["spec", "clusterIP"]) != text(old, &["spec", "clusterIP"]) {
            let wanted = json!([text(new, &["spec", "clusterIP"])]);
            let cause = Cause::value("spec.clusterIPs[0]", &wanted, "may not change once set");
            return Err(Failure::invalid(&call.resource, call.name(), &[cause]));
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if let Some(value) = at(old, &["spec", field]) {
                map(new, "spec").entry(field).or_insert_with(|| value.clone());
            }
        }
    } else if !call.dry_run() {
        create(call, new)?;
        return Ok(());
    }
    let olds: Vec<Value> = list(old, &["spec", "ports"]).to_vec();
    let keeps = has_ports(new);
    let mut fresh = false;
    if let Some(all) = new.get_mut("spec").and_then(|s| s.get_mut("ports")).and_then(Value::as_array_mut) {
        for port in all {
            if !keeps {
                if text(old, &["spec", "type"]) != "ClusterIP"
                    && let Some(port) = port.as_object_mut()
                {
                    port.remove("nodePort");
                }
                continue;
            }
            if port.get("nodePort").and_then(Value::as_u64).unwrap_or(0) == 0 {
                let same =
                    olds.iter().find(|o| o["port"] == port["port"] && o["protocol"] == port["protocol"]);
                if let Some(node) = same.and_then(|o| o.get("nodePort")) {
                    port["nodePort"] = node.clone();
                }
            }
            fresh |= port.get("nodePort").and_then(Value::as_u64).unwrap_or(0) == 0;
        }
    }
    if call.dry_run() {
        return Ok(());
    }
    let mut state = addresses.state.lock().unwrap_or_else(PoisonError::into_inner);
    let before: Vec<u32> = ports(old).collect();
    let after: Vec<u32> = ports(new).collect();
    for port in after.iter().filter(|p| !before.contains(p)) {
        if state.1.has(port - PORTS.start) {
            let cause =
                Cause::value("spec.ports[].nodePort", &json!(port), "provided port is already allocated");
            return Err(Failure::invalid(&call.resource, call.name(), &[cause]));
        }
        state.1.set(port - PORTS.start, true);
    }
    before.iter().filter(|p| !after.contains(p)).for_each(|p| state.1.set(p - PORTS.start, false));
    if fresh {
        let mut taken = Taken::default();
        for port in &after {
            state.1.set(port - PORTS.start, false);
        }
        if let Err(port) = take_ports(&mut state.1, new, &mut taken) {
            return Err(Failure::internal(format!("no node port is free (at {port})")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_given_once_and_again_after_release() {
        let mut bits = Bits::new(64);
        let mut all: Vec<u32> = (0..64).map(|_| bits.take(0, 64).unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..64).collect::<Vec<_>>());
        assert_eq!(bits.take(0, 64), None);
        bits.set(7, false);
        assert_eq!(bits.take(0, 64), Some(7));
    }
}
