//! Services. Addresses and node ports are allocated elsewhere; here is only what they may look like.

use super::field::{At, Errors, same};
use super::{FieldError, metadata, syntax};

/// The node ports that there are.
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;
const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
/// A day, in seconds.
const MAX_AFFINITY: i64 = 86_400;

pub(super) fn service(spec: &At, errors: &mut Errors) {
    let kind = spec.get("type");
    errors.need_supported(&kind, TYPES);
    let headless = spec.get("clusterIP").text() == "None";
    if spec.get("ports").is_empty() && !headless && kind.text() != "ExternalName" {
        errors.required(&spec.get("ports"), "");
    }
    ports(spec, kind.text(), errors);
    metadata::labels(&spec.get("selector"), errors);
    affinity(spec, errors);
    addresses(spec, kind.text(), headless, errors);
    traffic(spec, kind.text(), errors);
    let class = spec.get("loadBalancerClass");
    if class.is_set() {
        if kind.text() == "LoadBalancer" {
            errors.complaints(&class, syntax::qualified_name(class.text()));
        } else {
            errors.forbidden(&class, "may only be used when `type` is 'LoadBalancer'");
        }
    }
}

fn ports(spec: &At, kind: &str, errors: &mut Errors) {
    let list = spec.get("ports");
    let several = list.items().len() > 1;
    let mut names = Vec::new();
    let mut numbers = Vec::new();
    let mut node_ports = Vec::new();
    for port in list.items() {
        let name = port.get("name");
        if name.is_empty() {
            if several {
                errors.required(&name, "");
            }
        } else {
            errors.complaints(&name, syntax::dns_label(name.text()));
            if names.contains(&name.text()) {
                errors.duplicate(&name);
            }
            names.push(name.text());
        }
        let (number, protocol) = (port.get("port"), port.get("protocol"));
        errors.complaints_about_number(&number);
        errors.need_supported(&protocol, &["SCTP", "TCP", "UDP"]);
        let target = port.get("targetPort");
        if target.is_set() {
            super::handler::port(&target, errors);
        }
        if port.get("appProtocol").is_set() {
            errors.form(&port.get("appProtocol"), syntax::qualified_name);
        }
        let pair = (protocol.text(), number.int());
        if numbers.contains(&pair) {
            let shown = serde_json::json!({"port": number.value, "protocol": protocol.value});
            errors.push(FieldError::duplicate(&port.path, shown));
        }
        numbers.push(pair);
        node_port(&port, kind, &mut node_ports, errors);
    }
}

fn node_port<'a>(port: &At<'a>, kind: &str, seen: &mut Vec<(&'a str, i64)>, errors: &mut Errors) {
    let node = port.get("nodePort");
    let Some(number) = node.int().filter(|n| *n != 0) else { return };
    if !matches!(kind, "NodePort" | "LoadBalancer") {
        errors.forbidden(&node, &format!("may not be used when `type` is '{kind}'"));
        return;
    }
    if !NODE_PORTS.contains(&number) {
        let (low, high) = (NODE_PORTS.start(), NODE_PORTS.end());
        let words =
            format!("provided port is not in the valid range. The range of valid ports is {low}-{high}");
        errors.invalid(&node, words);
    }
    let pair = (port.get("protocol").text(), number);
    if seen.contains(&pair) {
        errors.duplicate(&node);
    }
    seen.push(pair);
}

impl Errors {
    /// A port by number that must be there.
    fn complaints_about_number(&mut self, at: &At) {
        let number = at.int().unwrap_or_default();
        for words in syntax::port_number(number) {
            self.invalid_value(at, number, words);
        }
    }
}

fn affinity(spec: &At, errors: &mut Errors) {
    let kind = spec.get("sessionAffinity");
    errors.need_supported(&kind, &["ClientIP", "None"]);
    let config = spec.get("sessionAffinityConfig");
    match kind.text() {
        "ClientIP" => {
            let seconds = config.path(&["clientIP", "timeoutSeconds"]);
            if seconds.int().is_some_and(|n| !(1..=MAX_AFFINITY).contains(&n)) {
                errors.invalid(&seconds, format!("must be greater than 0 and less than {MAX_AFFINITY}"));
            }
        }
        "None" if config.is_set() => {
            errors.forbidden(&config, "must not be set when session affinity is None")
        }
        _ => {}
    }
}

fn addresses(spec: &At, kind: &str, headless: bool, errors: &mut Errors) {
    let (one, list) = (spec.get("clusterIP"), spec.get("clusterIPs"));
    if kind == "ExternalName" {
        if !one.is_empty() {
            errors.forbidden(&one, "may not be set for ExternalName services");
        }
        if !list.is_empty() {
            errors.forbidden(&list, "may not be set for ExternalName services");
        }
        let name = spec.get("externalName");
        let text = name.text().strip_suffix('.').unwrap_or(name.text());
        if name.is_empty() {
            errors.required(&name, "");
        } else {
            errors.complaints(&name, syntax::dns_subdomain(text));
        }
        return;
    }
    if headless && matches!(kind, "LoadBalancer" | "NodePort") {
        let at = At { path: format!("{}[0]", list.path), value: one.value };
        errors.invalid(&at, format!("may not be set to 'None' for {kind} services"));
    }
    let check = |at: &At, errors: &mut Errors| {
        if !matches!(at.text(), "" | "None") {
            errors.complaints(at, syntax::ip(at.text()));
        }
    };
    match list.items().as_slice() {
        [] => check(&At { path: format!("{}[0]", list.path), value: one.value }, errors),
        all => {
            for at in all {
                check(at, errors);
            }
            if !one.is_empty() && all[0].text() != one.text() {
                errors.invalid(&list, "first value must match `clusterIP`");
            }
            if all.len() > 2 {
                errors.invalid(&list, "may only hold up to 2 values");
            }
        }
    }
    errors.supported(&spec.get("ipFamilyPolicy"), &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    for family in spec.get("ipFamilies").items() {
        errors.supported(&family, &["IPv4", "IPv6"]);
    }
    for address in spec.get("externalIPs").items() {
        errors.complaints(&address, syntax::ip(address.text()));
    }
}

fn traffic(spec: &At, kind: &str, errors: &mut Errors) {
    let (outside, inside) = (spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy"));
    let reachable = matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !spec.get("externalIPs").is_empty());
    if !outside.is_empty() && !reachable {
        errors.invalid(&outside, "may only be set for externally-accessible services");
    } else {
        errors.supported(&outside, &["Cluster", "Local"]);
    }
    errors.supported(&inside, &["Cluster", "Local"]);
    errors.supported(&spec.get("trafficDistribution"), &["PreferClose", "PreferSameNode", "PreferSameZone"]);
    let health = spec.get("healthCheckNodePort");
    if health.int().is_some_and(|n| n != 0) && !(kind == "LoadBalancer" && outside.text() == "Local") {
        errors.invalid(
            &health,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        );
    }
    let ranges = spec.get("loadBalancerSourceRanges");
    if !ranges.is_empty() && kind != "LoadBalancer" {
        errors.forbidden(&ranges, "may only be used when `type` is 'LoadBalancer'");
    }
    for range in ranges.items() {
        errors.complaints(&range, syntax::cidr(range.text().trim()));
    }
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    if allocate.is_set() && kind != "LoadBalancer" {
        errors.forbidden(&allocate, "may only be used when `type` is 'LoadBalancer'");
    }
}

/// The address of a service stays, unless it starts or ends being a mere name.
pub(super) fn change(new: &At, old: &At, errors: &mut Errors) {
    let external = |at: &At| at.get("type").text() == "ExternalName";
    let before = old.get("clusterIP");
    if external(new) || external(old) || before.is_empty() {
        return;
    }
    let now = new.get("clusterIP");
    let list = new.get("clusterIPs");
    let first = At { path: format!("{}[0]", list.path), value: list.value };
    if now.is_empty() {
        errors.invalid(&first, "primary clusterIP can not be unset");
    } else if !same(now.value, before.value) {
        let shown = if list.is_set() { list.value.clone() } else { vec![now.value.clone()].into() };
        errors.invalid_value(&first, shown, "may not change once set");
    }
    let (class, old_class) = (new.get("loadBalancerClass"), old.get("loadBalancerClass"));
    let balancer = |at: &At| at.get("type").text() == "LoadBalancer";
    if balancer(new) && balancer(old) && old_class.is_set() && !same(class.value, old_class.value) {
        errors.invalid(&class, "may not change once set");
    }
}
