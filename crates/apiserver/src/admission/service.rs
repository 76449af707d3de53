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
    pub(super) addresses: Vec<u32>,
    pub(super) ports: Vec<u32>,
    /// Ports that it had before and gave up for these.
    pub(super) before: Vec<u32>,
}

/// One of the numbers that are given out, as its place in its bitmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Address(u32),
    Port(u32),
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

    /// All that can be given out.
    pub fn range(&self) -> String {
        format!("{}/16", Ipv4Addr::from(self.network))
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

    /// Marks what another server has told of, or has given up.
    pub(super) fn note(&self, number: Number, on: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match number {
            Number::Address(at) => state.0.set(at, on),
            Number::Port(at) => state.1.set(at, on),
        }
    }

    /// What a stored service holds.
    pub(super) fn numbers(&self, service: &Value) -> Vec<Number> {
        let ips = list(service, &["spec", "clusterIPs"]).iter().filter_map(Value::as_str);
        let addresses = ips.filter_map(|ip| self.offset(ip)).map(Number::Address);
        addresses.chain(ports(service).map(|port| Number::Port(port - PORTS.start))).collect()
    }

    /// A change of a service has been stored: what became a mere name needs no address any more.
    pub fn settle(&self, old: &Value, new: &Value) {
        if is_external(new) && !is_external(old) {
            self.release(old);
        }
    }

    pub fn give_back(&self, taken: &Taken) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        taken.addresses.iter().for_each(|a| state.0.set(*a, false));
        taken.ports.iter().for_each(|p| state.1.set(*p, false));
        taken.before.iter().for_each(|p| state.1.set(*p, true));
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
    let health = at(service, &["spec", "healthCheckNodePort"]).and_then(Value::as_u64);
    all.chain(health).filter_map(|p| u32::try_from(p).ok()).filter(|p| PORTS.contains(p))
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
    one_list(service);
    let mut state = addresses.state.lock().unwrap_or_else(PoisonError::into_inner);
    if text(service, &["spec", "type"]) != "ExternalName" {
        families(call, service)?;
        take_address(call, addresses, &mut state.0, service, taken)?;
    }
    if has_ports(service) {
        take_ports(&mut state.1, service, taken, call.dry_run())
            .map_err(|wrong| refused(call, service, wrong))?;
    }
    if is_checked(service) && object::int(service, &["spec", "healthCheckNodePort"]) == 0 {
        let at = state.1.take(0, PORTS.end - PORTS.start);
        let at = at.ok_or_else(|| Failure::internal("no node port is free for the health check"))?;
        taken.ports.push(at);
        map(service, "spec").insert("healthCheckNodePort".into(), json!(at + PORTS.start));
    }
    Ok(())
}

/// The older field for one address says what the newer list holds.
fn one_list(service: &mut Value) {
    let one = text(service, &["spec", "clusterIP"]).to_owned();
    if !one.is_empty() && list(service, &["spec", "clusterIPs"]).is_empty() {
        map(service, "spec").insert("clusterIPs".into(), json!([one]));
    }
}

/// Settles policy and families; refuses what this cluster, which has IPv4 only, does not offer.
fn families(call: &Call, service: &mut Value) -> Result<()> {
    let headless = text(service, &["spec", "clusterIP"]) == "None";
    let selector = at(service, &["spec", "selector"]).and_then(Value::as_object);
    // Who lists his endpoints himself may list both families.
    let free = headless && selector.is_none_or(serde_json::Map::is_empty);
    let spec = map(service, "spec");
    spec.entry("ipFamilyPolicy")
        .or_insert_with(|| json!(if free { "RequireDualStack" } else { "SingleStack" }));
    let name = object::name(service).to_owned();
    let found = dunlin_api::validate::validate_service_addresses(service);
    let mut causes: Vec<Cause> = crate::model::causes(found);
    if !causes.is_empty() {
        return Err(Failure::invalid(&call.resource, &name, &causes));
    }
    let policy = text(service, &["spec", "ipFamilyPolicy"]).to_owned();
    let families: Vec<String> = list(service, &["spec", "ipFamilies"])
        .iter()
        .filter_map(|family| family.as_str().map(str::to_owned))
        .collect();
    let words = |what: &str| {
        format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified")
    };
    if policy == "SingleStack" {
        for (several, what) in [
            (list(service, &["spec", "clusterIPs"]).len() == 2, "cluster IPs"),
            (families.len() == 2, "IP families"),
        ] {
            if several {
                causes.push(Cause::value("spec.ipFamilyPolicy", &json!(policy), &words(what)));
            }
        }
    }
    if free {
        let mut both = if families.is_empty() { vec!["IPv4".to_owned()] } else { families };
        if policy != "SingleStack" && both.len() == 1 {
            both.push(if both[0] == "IPv4" { "IPv6" } else { "IPv4" }.to_owned());
        }
        map(service, "spec").insert("ipFamilies".into(), json!(both));
    } else {
        if policy == "RequireDualStack" {
            let words = "this cluster is not configured for dual-stack services";
            causes.push(Cause::value("spec.ipFamilyPolicy", &json!(policy), words));
        }
        for (index, family) in families.iter().enumerate().filter(|(_, family)| *family != "IPv4") {
            let field = format!("spec.ipFamilies[{index}]");
            causes.push(Cause::value(&field, &json!(family), "not configured on this cluster"));
        }
        map(service, "spec").insert("ipFamilies".into(), json!(["IPv4"]));
    }
    if causes.is_empty() { Ok(()) } else { Err(Failure::invalid(&call.resource, &name, &causes)) }
}

fn take_address(
    call: &Call,
    addresses: &Addresses,
    bits: &mut Bits,
    service: &mut Value,
    taken: &mut Taken,
) -> Result<()> {
    let wanted = text(service, &["spec", "clusterIP"]).to_owned();
    let network = Ipv4Addr::from(addresses.network);
    let invalid = |why: &str, service: &Value| {
        let why = format!("failed to allocate IP {wanted}: {why}");
        let cause = Cause::value("spec.clusterIPs", &json!([wanted]), &why);
        Failure::invalid(&call.resource, object::name(service), &[cause])
    };
    let ip = match wanted.as_str() {
        "None" => wanted,
        "" => {
            let at = bits
                .take(RESERVED, 0xffff)
                .ok_or_else(|| Failure::internal("failed to allocate a serviceIP: range is full"))?;
            taken.addresses.push(at);
            Ipv4Addr::from(addresses.network + at).to_string()
        }
        _ => {
            let Some(at) = addresses.offset(&wanted).filter(|a| *a != 0 && *a != 0xffff) else {
                let why = format!(
                    "the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {network}/16"
                );
                return Err(invalid(&why, service));
            };
            if bits.has(at) {
                return Err(invalid("provided IP is already allocated", service));
            }
            bits.set(at, true);
            taken.addresses.push(at);
            wanted
        }
    };
    let spec = map(service, "spec");
    spec.insert("clusterIP".into(), json!(ip));
    spec.insert("clusterIPs".into(), json!([ip]));
    Ok(())
}

/// A node port that cannot be had: the place of its port in the list, its number, and why.
type Wrong = (usize, u64, &'static str);

const TAKEN: &str = "provided port is already allocated";
const OUTSIDE: &str = "provided port is not in the valid range. The range of valid ports is 30000-32767";

fn refused(call: &Call, service: &Value, (index, port, why): Wrong) -> Failure {
    let field = format!("spec.ports[{index}].nodePort");
    Failure::invalid(&call.resource, object::name(service), &[Cause::value(&field, &json!(port), why)])
}

/// `dry`: nothing is kept, and as in Kubernetes a number outside of the range passes.
fn take_ports(bits: &mut Bits, service: &mut Value, taken: &mut Taken, dry: bool) -> Result<(), Wrong> {
    let Some(all) = service.get_mut("spec").and_then(|s| s.get_mut("ports")).and_then(Value::as_array_mut)
    else {
        return Ok(());
    };
    let mut own: Vec<(u32, String)> = Vec::new();
    for (index, port) in all.iter_mut().enumerate() {
        let protocol = text(port, &["protocol"]).to_owned();
        match port.get("nodePort").and_then(Value::as_u64).unwrap_or(0) {
            0 => {
                let at = bits.take(0, PORTS.end - PORTS.start).ok_or((index, 0, "no node port is free"))?;
                taken.ports.push(at);
                port["nodePort"] = json!(at + PORTS.start);
            }
            wanted => {
                let number = u32::try_from(wanted).ok().filter(|number| PORTS.contains(number));
                let at = match number {
                    Some(number) => number - PORTS.start,
                    None if dry => continue,
                    None => return Err((index, wanted, OUTSIDE)),
                };
                // The same number may serve TCP and UDP of one service.
                let shared = own.iter().any(|(had, _)| *had == at) && !own.contains(&(at, protocol.clone()));
                if bits.has(at) && !shared {
                    return Err((index, wanted, TAKEN));
                }
                bits.set(at, true);
                taken.ports.push(at);
                own.push((at, protocol));
            }
        }
    }
    Ok(())
}

fn is_external(service: &Value) -> bool {
    text(service, &["spec", "type"]) == "ExternalName"
}

/// Whether something outside asks the nodes which of them have endpoints.
fn is_checked(service: &Value) -> bool {
    text(service, &["spec", "type"]) == "LoadBalancer"
        && text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

fn is_reachable(service: &Value) -> bool {
    match text(service, &["spec", "type"]) {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !list(service, &["spec", "externalIPs"]).is_empty(),
        _ => false,
    }
}

/// A client that changes the type and nothing else means that what belongs to the old type goes.
fn drop_fields(old: &Value, new: &mut Value) {
    let balancer = |value: &Value| text(value, &["spec", "type"]) == "LoadBalancer";
    let leaves = |is: &dyn Fn(&Value) -> bool| is(old) && !is(new);
    let mut gone: Vec<&str> = Vec::new();
    if leaves(&|value| !is_external(value)) {
        gone.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]);
    }
    if leaves(&is_checked) {
        gone.push("healthCheckNodePort");
    }
    if leaves(&balancer) {
        gone.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if leaves(&is_reachable) {
        gone.push("externalTrafficPolicy");
    }
    if leaves(&|value| !matches!(text(value, &["spec", "type"]), "ExternalName")) {
        gone.push("internalTrafficPolicy");
    }
    let leaves_ports = leaves(&needs_ports);
    let numbers = |value: &Value| {
        let all = list(value, &["spec", "ports"]).iter();
        all.map(|port| object::int(port, &["nodePort"])).collect::<Vec<_>>()
    };
    let same_ports = leaves_ports && numbers(old).iter().any(|n| *n != 0) && numbers(old) == numbers(new);
    let spec = map(new, "spec");
    for field in gone {
        if spec.get(field) == at(old, &["spec", field]) {
            spec.remove(field);
        }
    }
    if same_ports {
        let all = spec.get_mut("ports").and_then(Value::as_array_mut);
        all.into_iter().flatten().filter_map(Value::as_object_mut).for_each(|port| {
            port.remove("nodePort");
        });
    }
}

fn needs_ports(service: &Value) -> bool {
    matches!(text(service, &["spec", "type"]), "NodePort" | "LoadBalancer")
}

/// What was allocated and is not mentioned stays.
fn keep_allocated(old: &Value, new: &mut Value) {
    if !is_external(old) && !is_external(new) {
        if text(new, &["spec", "clusterIP"]).is_empty() && list(new, &["spec", "clusterIPs"]).is_empty() {
            for field in ["clusterIP", "clusterIPs"] {
                if let Some(value) = at(old, &["spec", field]) {
                    map(new, "spec").insert(field.into(), value.clone());
                }
            }
        }
        // One of the two says what the other is to be.
        let one = text(new, &["spec", "clusterIP"]).to_owned();
        if one != text(old, &["spec", "clusterIP"])
            && !one.is_empty()
            && (list(new, &["spec", "clusterIPs"]).is_empty()
                || at(new, &["spec", "clusterIPs"]) == at(old, &["spec", "clusterIPs"]))
        {
            map(new, "spec").insert("clusterIPs".into(), json!([one]));
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if let Some(value) = at(old, &["spec", field]) {
                map(new, "spec").entry(field).or_insert_with(|| value.clone());
            }
        }
    }
    if needs_ports(old) && needs_ports(new) {
        let olds = list(old, &["spec", "ports"]).to_vec();
        let all = new.get_mut("spec").and_then(|s| s.get_mut("ports")).and_then(Value::as_array_mut);
        for port in all.into_iter().flatten() {
            if object::int(port, &["nodePort"]) == 0 {
                let same = |o: &&Value| o["port"] == port["port"] && o["protocol"] == port["protocol"];
                if let Some(node) = olds.iter().find(same).and_then(|o| o.get("nodePort")) {
                    port["nodePort"] = node.clone();
                }
            }
        }
    }
    if is_checked(old)
        && is_checked(new)
        && object::int(new, &["spec", "healthCheckNodePort"]) == 0
        && let Some(port) = at(old, &["spec", "healthCheckNodePort"])
    {
        map(new, "spec").insert("healthCheckNodePort".into(), port.clone());
    }
}

/// A changed service keeps its address and ports where it does not say otherwise. An address that it gives up is free once
/// [`Addresses::settle`] hears that the change was stored.
pub fn update(call: &Call, old: &Value, new: &mut Value) -> Result<Taken> {
    drop_fields(old, new);
    keep_allocated(old, new);
    let addresses = &call.server.addresses;
    if is_external(new) {
        return Ok(Taken::default());
    }
    if is_external(old) {
        return create(call, new);
    }
    let found = dunlin_api::validate::validate_service_addresses(new);
    if !found.is_empty() {
        return Err(Failure::invalid(&call.resource, call.name(), &crate::model::causes(found)));
    }
    // Checked before anything is taken, so that a refused change keeps what it had.
    let moved = at(new, &["spec", "clusterIPs"]) != at(old, &["spec", "clusterIPs"]);
    if moved {
        return Ok(Taken::default());
    }
    let mut state = addresses.state.lock().unwrap_or_else(PoisonError::into_inner);
    let mut taken = Taken { before: ports(old).map(|port| port - PORTS.start).collect(), ..Taken::default() };
    taken.before.iter().for_each(|port| state.1.set(*port, false));
    let result =
        if has_ports(new) { take_ports(&mut state.1, new, &mut taken, call.dry_run()) } else { Ok(()) };
    let checked = is_checked(new) && object::int(new, &["spec", "healthCheckNodePort"]) == 0;
    if checked && let Some(at) = state.1.take(0, PORTS.end - PORTS.start) {
        taken.ports.push(at);
        map(new, "spec").insert("healthCheckNodePort".into(), json!(at + PORTS.start));
    }
    // A health check's port that is named stays the service's own.
    if is_checked(new) && !checked {
        let port = object::int(new, &["spec", "healthCheckNodePort"]);
        if let Some(port) = u32::try_from(port).ok().filter(|port| PORTS.contains(port)) {
            state.1.set(port - PORTS.start, true);
            taken.ports.push(port - PORTS.start);
        }
    }
    drop(state);
    match result {
        Ok(()) => Ok(taken),
        Err(wrong) => {
            addresses.give_back(&taken);
            Err(refused(call, new, wrong))
        }
    }
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
