//! Services. Addresses and node ports are allocated elsewhere; here is only what they may look like.

use super::error::Shown;
use super::field::{At, Errors, same};
use super::{FieldError, metadata, syntax};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
/// A day, in seconds.
const MAX_AFFINITY: i64 = 86_400;

/// The specification of a service, in Kubernetes' order. Its node ports lie in their range because they were allocated.
pub(super) fn service(spec: &At, errors: &mut Errors) {
    let kind = spec.get("type");
    let headless = spec.path(&["clusterIPs"]).items().first().is_some_and(|ip| ip.text() == "None");
    if spec.get("ports").is_empty() && !headless && kind.text() != "ExternalName" {
        errors.required(&spec.get("ports"), "");
    }
    match kind.text() {
        kind @ ("LoadBalancer" | "NodePort") if headless => {
            let first = &spec.get("clusterIPs").items()[0];
            errors.invalid(first, format!("may not be set to 'None' for {kind} services"));
        }
        "ExternalName" => external_name(spec, errors),
        _ => {}
    }
    ports(spec, errors);
    metadata::labels(&spec.get("selector"), errors);
    affinity(spec, errors);
    addresses(spec, errors);
    for address in spec.get("externalIPs").items() {
        match address.text().parse() {
            Ok(ip) => super::network::special_address(&address, ip, errors),
            Err(_) => errors.complaints(&address, syntax::ip(address.text())),
        }
    }
    errors.need_supported(&kind, TYPES);
    repeated(spec, kind.text(), errors);
    source_ranges(spec, kind.text(), errors);
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    if allocate.is_set() && kind.text() != "LoadBalancer" {
        errors.forbidden(&allocate, "may only be used when `type` is 'LoadBalancer'");
    }
    let class = spec.get("loadBalancerClass");
    if class.is_set() {
        if kind.text() == "LoadBalancer" {
            errors.complaints(&class, syntax::qualified_name(class.text()));
        } else {
            errors.forbidden(&class, "may only be used when `type` is 'LoadBalancer'");
        }
    }
    traffic(spec, kind.text(), errors);
}

fn external_name(spec: &At, errors: &mut Errors) {
    for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let field = spec.get(name);
        if !field.is_empty() {
            errors.forbidden(&field, "may not be set for ExternalName services");
        }
    }
    let name = spec.get("externalName");
    let text = name.text().strip_suffix('.').unwrap_or(name.text());
    if text.is_empty() {
        errors.required(&name, "");
    } else {
        errors.complaints_about(&name, text, syntax::dns_subdomain(text));
    }
}

fn ports(spec: &At, errors: &mut Errors) {
    let list = spec.get("ports");
    let several = list.items().len() > 1;
    let mut names = Vec::new();
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
        errors.complaints_about_number(&port.get("port"));
        errors.need_supported(&port.get("protocol"), &["SCTP", "TCP", "UDP"]);
        let target = port.get("targetPort");
        if target.is_set() {
            super::handler::port(&target, errors);
        }
        if port.get("appProtocol").is_set() {
            let protocol = port.get("appProtocol");
            errors.complaints(&protocol, syntax::qualified_name(protocol.text()));
        }
    }
}

/// Ports and node ports of one protocol are each there once.
fn repeated(spec: &At, kind: &str, errors: &mut Errors) {
    let list = spec.get("ports").items();
    let number = |port: &At, name: &str| port.get(name).int().filter(|n| *n != 0);
    if kind == "ClusterIP" {
        for port in list.iter().filter(|port| number(port, "nodePort").is_some()) {
            errors.forbidden(&port.get("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    let before = |index: usize, name: &str| {
        let this = (list[index].get("protocol").text(), number(&list[index], name));
        list[..index].iter().any(|port| (port.get("protocol").text(), number(port, name)) == this)
    };
    for (index, port) in list.iter().enumerate() {
        if number(port, "nodePort").is_some() && before(index, "nodePort") {
            errors.duplicate(&port.get("nodePort"));
        }
    }
    for (index, port) in list.iter().enumerate() {
        if before(index, "port") {
            let shown =
                serde_json::json!({"port": port.get("port").value, "protocol": port.get("protocol").value});
            errors.push(FieldError::duplicate(&port.path, shown));
        }
    }
}

fn source_ranges(spec: &At, kind: &str, errors: &mut Errors) {
    let ranges = spec.get("loadBalancerSourceRanges");
    // The name that Kubernetes prints.
    let path = spec.get("LoadBalancerSourceRanges").path;
    if !ranges.is_empty() && kind != "LoadBalancer" {
        errors.forbidden(&ranges.at(path.clone()), "may only be used when `type` is 'LoadBalancer'");
    }
    for (index, range) in ranges.items().iter().enumerate() {
        let text = range.text().trim();
        errors.complaints_about(&range.at(format!("{path}[{index}]")), text, syntax::cidr(text));
    }
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

/// The addresses of a service and their families. The API server asks this before it allocates anything.
pub(super) fn addresses(spec: &At, errors: &mut Errors) {
    if spec.get("type").text() == "ExternalName" {
        return;
    }
    let (one, list, families) = (spec.get("clusterIP"), spec.get("clusterIPs"), spec.get("ipFamilies"));
    match (one.is_empty(), list.items().first()) {
        (false, None) => errors.required(&list, ""),
        (false, Some(first)) if first.text() != one.text() => {
            errors.invalid(&list, "first value must match `clusterIP`");
        }
        (true, Some(_)) => errors.invalid(&list, "must be empty when `clusterIP` is not specified"),
        _ => {}
    }
    let mut seen = Vec::new();
    for family in families.items() {
        errors.one_of(&family, &["IPv4", "IPv6"]);
        if seen.contains(&family.text()) {
            errors.duplicate(&family);
        }
        seen.push(family.text());
    }
    errors.supported(&spec.get("ipFamilyPolicy"), &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    let all = list.items();
    let mut bad = false;
    for (index, ip) in all.iter().enumerate() {
        if index == 0 && ip.text() == "None" {
            if all.len() > 1 {
                bad = true;
                errors.invalid(&list, "'None' must be the first and only value");
            }
            continue;
        }
        let found = syntax::ip(ip.text());
        bad |= !found.is_empty();
        errors.complaints(ip, found);
    }
    if all.len() > 2 {
        errors.invalid(&list, "may only hold up to 2 values");
    }
    if bad {
        return;
    }
    let six = |ip: &At| ip.text().contains(':');
    if all.len() > 1 && all.iter().all(|ip| six(ip) == six(&all[0])) {
        errors.invalid(&list, "may specify no more than one IP for each IP family");
    }
    if all.first().is_some_and(|first| first.text() == "None") {
        return;
    }
    for (index, (ip, family)) in all.iter().zip(families.items()).enumerate() {
        if (family.text() == "IPv6") != six(ip) {
            let family = family.text();
            errors.invalid(ip, format!("expected an {family} value as indicated by `ipFamilies[{index}]`"));
        }
    }
}

fn traffic(spec: &At, kind: &str, errors: &mut Errors) {
    let (outside, inside) = (spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy"));
    let reachable = matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !spec.get("externalIPs").is_empty());
    let policies = &["Cluster", "Local"];
    if !reachable {
        if !outside.is_empty() {
            errors.invalid(&outside, "may only be set for externally-accessible services");
        }
    } else if outside.is_empty() {
        errors.required(&outside, "");
    } else {
        errors.supported(&outside, policies);
    }
    let health = spec.get("healthCheckNodePort");
    let number = health.int().filter(|n| *n != 0);
    let checked = kind == "LoadBalancer" && outside.text() == "Local";
    if number.is_some() && !checked {
        errors.invalid(
            &health,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        );
    }
    if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
        errors.need_supported(&inside, policies);
    }
    let known = &["PreferClose", "PreferSameZone", "PreferSameNode"];
    errors.supported(&spec.get("trafficDistribution"), known);
}

/// What a load balancer reports.
pub(super) fn status(service: &At, errors: &mut Errors) {
    let status = service.path(&["status", "loadBalancer"]);
    let ingress = status.get("ingress");
    if !ingress.is_empty() && service.path(&["spec", "type"]).text() != "LoadBalancer" {
        return errors.forbidden(&ingress, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    super::network::load_balancer(&status, true, errors);
}

/// The address of a service stays, unless it starts or ends being a mere name.
pub(super) fn change(new: &At, old: &At, errors: &mut Errors) {
    let external = |at: &At| at.get("type").text() == "ExternalName";
    let before = old.get("clusterIP");
    if external(new) || external(old) || before.is_empty() {
        return;
    }
    let (list, before) = (new.get("clusterIPs"), old.get("clusterIPs"));
    let first = |at: &At| at.items().first().map(|ip| ip.text().to_owned()).unwrap_or_default();
    let at = list.at(format!("{}[0]", list.path));
    if list.is_empty() {
        errors.push(FieldError {
            bad_value: Some(Shown::Null),
            ..FieldError::invalid(&at.path, "", "primary clusterIP can not be unset")
        });
    } else if first(&list) != first(&before) {
        errors.invalid(&at, "may not change once set");
    }
    let (families, old_families) = (new.get("ipFamilies"), old.get("ipFamilies"));
    if !old_families.is_empty() {
        let at = families.at(format!("{}[0]", families.path));
        if families.is_empty() {
            errors.invalid(&at, "primary ipFamily can not be unset");
        } else if first(&families) != first(&old_families) {
            errors.invalid(&at, "may not change once set");
        }
    }
    let (class, old_class) = (new.get("loadBalancerClass"), old.get("loadBalancerClass"));
    let balancer = |at: &At| at.get("type").text() == "LoadBalancer";
    if balancer(new) && balancer(old) && old_class.is_set() && !same(class.value, old_class.value) {
        errors.invalid(&class, "may not change once set");
    }
}
