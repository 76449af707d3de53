//! Endpoint slices, ingresses, network policies, service addresses.

mod addresses;

use super::error::Shown;
use super::field::{At, Errors};
use super::{FieldError, selectors, syntax};

/// More than this one slice does not hold.
const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 20_000;

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    match kind {
        "EndpointSlice" => slice(object, errors),
        "Ingress" => ingress(&object.get("spec"), errors),
        "IngressClass" => ingress_class(&object.get("spec"), errors),
        "NetworkPolicy" => policy(&object.get("spec"), errors),
        "IPAddress" => addresses::address(object, errors),
        "ServiceCIDR" => addresses::range(object, errors),
        _ => {}
    }
}

/// The annotation that named the class before there was a field.
pub(super) fn ingress_create(object: &At, errors: &mut Errors) {
    let class = object.path(&["spec", "ingressClassName"]);
    let key = "kubernetes.io/ingress.class";
    let Some(old) = object.value["metadata"]["annotations"][key].as_str() else { return };
    if class.is_set() && class.text() != old {
        let at = class.at(format!("annotations.{key}"));
        errors.invalid_value(&at, old, "must match `ingressClassName` when both are specified");
    }
}

fn ingress_class(spec: &At, errors: &mut Errors) {
    let controller = spec.get("controller");
    if errors.need(&controller) {
        if !controller.text().contains('/') {
            errors.invalid(&controller, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        }
        if controller.text().len() > 250 {
            errors.push(FieldError::too_long(&controller.path, 250));
        }
    }
    let parameters = spec.get("parameters");
    if !parameters.is_set() {
        return;
    }
    let group = parameters.get("apiGroup");
    if group.is_set() {
        errors.complaints(&group, syntax::dns_subdomain(group.text()));
    }
    errors.need_form(&parameters.get("kind"), syntax::path_segment);
    errors.need_form(&parameters.get("name"), syntax::path_segment);
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    match scope.text() {
        "Namespace" if !namespace.is_set() => {
            errors.required(&namespace, "`parameters.scope` is set to 'Namespace'");
        }
        "Namespace" => errors.complaints(&namespace, syntax::dns_label(namespace.text())),
        "Cluster" if namespace.is_set() => {
            errors.forbidden(&namespace, "`parameters.scope` is set to 'Cluster'");
        }
        "" => errors.required(&scope, ""),
        _ => errors.supported(&scope, &["Cluster", "Namespace"]),
    }
}

pub(super) fn change(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    match kind {
        "EndpointSlice" => errors.immutable(&new.get("addressType"), &old.get("addressType")),
        "IPAddress" => addresses::address_change(new, old, errors),
        "ServiceCIDR" => addresses::range_change(new, old, errors),
        _ => {}
    }
}

/// Whether a change of this kind is judged by what changes alone.
pub(super) fn is_frozen(kind: &str) -> bool {
    matches!(kind, "IPAddress" | "ServiceCIDR")
}

fn slice(object: &At, errors: &mut Errors) {
    let kind = object.get("addressType");
    errors.need_supported(&kind, &["FQDN", "IPv4", "IPv6"]);
    slice_ports(object, errors);
    let endpoints = object.get("endpoints");
    let count = endpoints.items().len();
    if count > MAX_ENDPOINTS {
        errors.push(FieldError::too_many(&endpoints.path, count, MAX_ENDPOINTS));
        return;
    }
    // Which addresses are wrong tells nothing where the type itself is wrong.
    for endpoint in endpoints.items() {
        let addresses = endpoint.get("addresses");
        if addresses.is_empty() {
            errors.required(&addresses, "must contain at least 1 address");
        }
        for address in addresses.items() {
            let list = address.at(addresses.path.clone());
            match (kind.text(), address.text().parse::<std::net::IpAddr>()) {
                ("IPv4" | "IPv6", Err(_)) => errors.complaints(&address, syntax::ip(address.text())),
                (family @ ("IPv4" | "IPv6"), Ok(ip)) => {
                    if (family == "IPv4") != ip.is_ipv4() {
                        errors.invalid(&list, format!("must be an {family} address"));
                    }
                    special_address(&address, ip, errors);
                }
                ("FQDN", _) => errors.complaints(&address, syntax::dns_subdomain(address.text())),
                _ => {}
            }
        }
        errors.form(&endpoint.get("nodeName"), syntax::dns_subdomain);
        errors.form(&endpoint.get("hostname"), syntax::dns_label);
        hints(&endpoint, errors);
    }
}

/// Addresses that no pod can have.
pub(super) fn special_address(at: &At, ip: std::net::IpAddr, errors: &mut Errors) {
    use std::net::IpAddr::{V4, V6};
    if ip.is_unspecified() {
        errors.invalid(at, format!("may not be unspecified ({ip})"));
    }
    if ip.is_loopback() {
        errors.invalid(at, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link, multicast) = match ip {
        V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        V6(ip) => (ip.segments()[0] & 0xffc0 == 0xfe80, ip.segments()[0] & 0xff0f == 0xff02),
    };
    if link {
        errors.invalid(at, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        errors.invalid(at, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// Zones and nodes that should use an endpoint.
fn hints(endpoint: &At, errors: &mut Errors) {
    for (list, check) in [
        ("forZones", syntax::label_value as fn(&str) -> syntax::Complaints),
        ("forNodes", syntax::dns_subdomain),
    ] {
        let list = endpoint.path(&["hints", list]);
        let count = list.items().len();
        if count > 8 {
            errors.push(FieldError::too_many(&list.path, count, 8));
            continue;
        }
        let mut seen = Vec::new();
        for hint in list.items() {
            let name = hint.get("name");
            if seen.contains(&name.text()) {
                errors.push(FieldError::duplicate(&name.path, name.text()));
            } else {
                seen.push(name.text());
                errors.complaints_about(&name, name.text(), check(name.text()));
            }
        }
    }
}

fn slice_ports(object: &At, errors: &mut Errors) {
    let ports = object.get("ports");
    let count = ports.items().len();
    if count > MAX_PORTS {
        errors.push(FieldError::too_many(&ports.path, count, MAX_PORTS));
        return;
    }
    let mut names = Vec::new();
    for port in ports.items() {
        let name = port.get("name");
        errors.form(&name, syntax::dns_label);
        if names.contains(&name.text()) {
            errors.push(FieldError::duplicate(&name.path, name.text()));
        }
        names.push(name.text());
        errors.need_supported(&port.get("protocol"), &["SCTP", "TCP", "UDP"]);
        let protocol = port.get("appProtocol");
        if protocol.is_set() {
            errors.complaints(&protocol, syntax::qualified_name(protocol.text()));
        }
    }
}

fn ingress(spec: &At, errors: &mut Errors) {
    let (rules, backend) = (spec.get("rules"), spec.get("defaultBackend"));
    if rules.is_empty() && !backend.is_set() {
        let error =
            FieldError::invalid(&spec.path, "", "either `defaultBackend` or `rules` must be specified");
        // In Kubernetes' own form, an empty specification is none.
        let shown = if spec.is_empty() { Shown::Null } else { Shown::Value(spec.value.clone()) };
        errors.push(FieldError { bad_value: Some(shown), ..error });
    }
    if backend.is_set() {
        ingress_backend(&backend, errors);
    }
    for rule in rules.items() {
        host(&rule.get("host"), errors);
        let http = rule.get("http");
        let paths = http.get("paths");
        if http.is_set() && paths.is_empty() {
            errors.required(&paths, "");
        }
        for path in paths.items() {
            let (text, kind) = (path.get("path"), path.get("pathType"));
            if !kind.is_set() {
                errors.required(&kind, "pathType must be specified");
                continue;
            }
            errors.one_of(&kind, &["Exact", "ImplementationSpecific", "Prefix"]);
            let absolute = text.text().starts_with('/');
            let exact = matches!(kind.text(), "Exact" | "Prefix");
            if !absolute && (exact || (kind.text() == "ImplementationSpecific" && !text.is_empty())) {
                errors.invalid_value(&text, text.text(), "must be an absolute path");
            }
            if absolute && exact {
                for part in ["//", "/./", "/../", "%2f", "%2F"] {
                    if text.text().contains(part) {
                        errors.invalid(&text, format!("must not contain '{part}'"));
                    }
                }
                for end in ["/..", "/."] {
                    if text.text().ends_with(end) {
                        errors.invalid(&text, format!("cannot end with '{end}'"));
                    }
                }
            }
            ingress_backend(&path.get("backend"), errors);
        }
    }
    for tls in spec.get("tls").items() {
        for name in tls.get("hosts").items() {
            if name.text().contains('*') {
                errors.complaints(&name, syntax::wildcard_subdomain(name.text()));
            } else {
                errors.complaints(&name, syntax::dns_subdomain(name.text()));
            }
        }
        errors.form(&tls.get("secretName"), syntax::dns_subdomain);
    }
    let class = spec.get("ingressClassName");
    if class.is_set() {
        errors.complaints(&class, syntax::dns_subdomain(class.text()));
    }
}

fn host(at: &At, errors: &mut Errors) {
    if at.is_empty() {
        return;
    }
    if at.text().parse::<std::net::IpAddr>().is_ok() {
        errors.invalid(at, "must be a DNS name, not an IP address");
    } else if at.text().contains('*') {
        errors.complaints(at, syntax::wildcard_subdomain(at.text()));
    } else {
        errors.complaints(at, syntax::dns_subdomain(at.text()));
    }
}

fn ingress_backend(backend: &At, errors: &mut Errors) {
    let (service, resource) = (backend.get("service"), backend.get("resource"));
    match (service.is_set(), resource.is_set()) {
        (true, true) => {
            errors.invalid_value(backend, "", "cannot set both resource and service backends");
        }
        (false, false) => errors.invalid_value(backend, "", "resource or service backend is required"),
        (false, true) => {
            errors.need(&resource.get("kind"));
            errors.need(&resource.get("name"));
        }
        (true, false) => {
            errors.need_form(&service.get("name"), syntax::dns_label);
            let (name, number) = (service.path(&["port", "name"]), service.path(&["port", "number"]));
            match (name.is_empty(), number.int().unwrap_or_default()) {
                (true, 0) => errors.required(backend, "port name or number is required"),
                (false, 0) => errors.complaints(&name, syntax::port_name(name.text())),
                (true, n) => errors.complaints(&number, syntax::port_number(n)),
                (false, _) => errors.invalid_value(backend, "", "cannot set both port name & port number"),
            }
        }
    }
}

fn policy(spec: &At, errors: &mut Errors) {
    selectors::label_selector(&spec.get("podSelector"), errors);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.get(rules).items() {
            for port in rule.get("ports").items() {
                policy_port(&port, errors);
            }
            for peer in rule.get(peers).items() {
                policy_peer(&peer, errors);
            }
        }
    }
    let types = spec.get("policyTypes");
    if types.items().len() > 2 {
        return errors.invalid(&types, "may not specify more than two policyTypes");
    }
    for kind in types.items() {
        errors.one_of(&kind, &["Ingress", "Egress"]);
    }
}

fn policy_port(port: &At, errors: &mut Errors) {
    errors.supported(&port.get("protocol"), &["TCP", "UDP", "SCTP"]);
    let (start, end) = (port.get("port"), port.get("endPort"));
    if start.is_set() {
        super::handler::port(&start, errors);
    }
    let Some(last) = end.int() else { return };
    match start.int() {
        // Kubernetes shows the start, not the end.
        Some(first) if last < first => {
            errors.invalid_value(&end, first, "must be greater than or equal to `port`");
        }
        Some(_) => errors.complaints(&end, syntax::port_number(last)),
        None if start.is_set() => errors.invalid(&end, "may not be specified when `port` is non-numeric"),
        None => errors.invalid(&end, "may not be specified when `port` is not specified"),
    }
}

fn policy_peer(peer: &At, errors: &mut Errors) {
    let (pods, namespaces, block) =
        (peer.get("podSelector"), peer.get("namespaceSelector"), peer.get("ipBlock"));
    selectors::label_selector(&pods, errors);
    selectors::label_selector(&namespaces, errors);
    if block.is_set() {
        errors.need_form(&block.get("cidr"), syntax::cidr);
        for except in block.get("except").items() {
            let found = syntax::cidr(except.text());
            if found.is_empty() && !inside(block.get("cidr").text(), except.text()) {
                errors.invalid(&except, "must be a strict subset of `cidr`");
            }
            errors.complaints(&except, found);
        }
    }
    match (pods.is_set() || namespaces.is_set(), block.is_set()) {
        (false, false) => errors.required(peer, "must specify a peer"),
        (true, true) => errors.forbidden(peer, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}

/// Whether the range `inner` is a part of `outer`, and not all of it.
fn inside(outer: &str, inner: &str) -> bool {
    let parse = |text: &str| -> Option<(std::net::IpAddr, u32)> {
        let (ip, bits) = text.split_once('/')?;
        Some((ip.parse().ok()?, bits.parse().ok()?))
    };
    let bits = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        std::net::IpAddr::V6(ip) => u128::from(ip),
    };
    let (Some((a, wide)), Some((b, narrow))) = (parse(outer), parse(inner)) else { return true };
    let mask = u128::MAX.checked_shl(128 - wide).unwrap_or_default();
    a.is_ipv4() == b.is_ipv4() && narrow > wide && bits(a) & mask == bits(b) & mask
}

/// Addresses and names under which something is reached from outside.
pub(super) fn load_balancer(status: &At, needs_ip: bool, errors: &mut Errors) {
    for ingress in status.get("ingress").items() {
        let (ip, mode, name) = (ingress.get("ip"), ingress.get("ipMode"), ingress.get("hostname"));
        errors.form(&ip, syntax::ip);
        if needs_ip {
            if mode.is_set() && ip.is_empty() {
                errors.forbidden(&mode, "may not be specified when `ip` is not set");
            } else if mode.is_set() {
                errors.one_of(&mode, &["Proxy", "VIP"]);
            }
        }
        if !name.is_empty() {
            errors.complaints(&name, syntax::dns_subdomain(name.text()));
            if name.text().parse::<std::net::IpAddr>().is_ok() {
                errors.invalid(&name, "must be a DNS name, not an IP address");
            }
        }
    }
}
