//! Endpoint slices, ingresses, network policies.

use super::field::{At, Errors};
use super::{FieldError, selectors, syntax};

/// More than this one slice does not hold.
const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 20_000;

pub(super) fn kind(kind: &str, object: &At, errors: &mut Errors) {
    match kind {
        "EndpointSlice" => slice(object, errors),
        "Ingress" => ingress(&object.get("spec"), errors),
        "IngressClass" => {
            let controller = object.path(&["spec", "controller"]);
            if errors.need(&controller) && !controller.text().contains('/') {
                errors.invalid(&controller, "must be a domain-prefixed path (such as \"acme.io/foo\")");
            }
        }
        "NetworkPolicy" => policy(&object.get("spec"), errors),
        _ => {}
    }
}

pub(super) fn change(kind: &str, new: &At, old: &At, errors: &mut Errors) {
    if kind == "EndpointSlice" {
        errors.immutable(&new.get("addressType"), &old.get("addressType"));
    }
}

fn slice(object: &At, errors: &mut Errors) {
    let kind = object.get("addressType");
    errors.need_supported(&kind, &["FQDN", "IPv4", "IPv6"]);
    let endpoints = object.get("endpoints");
    let count = endpoints.items().len();
    if count > MAX_ENDPOINTS {
        errors.push(FieldError::too_many(&endpoints.path, count, MAX_ENDPOINTS));
        return;
    }
    for endpoint in endpoints.items() {
        let addresses = endpoint.get("addresses");
        if addresses.is_empty() {
            errors.required(&addresses, "must contain at least 1 address");
        }
        for address in addresses.items() {
            match (kind.text(), address.text().parse::<std::net::IpAddr>()) {
                ("IPv4", Ok(ip)) if !ip.is_ipv4() => errors.invalid(&address, "must be an IPv4 address"),
                ("IPv6", Ok(ip)) if !ip.is_ipv6() => errors.invalid(&address, "must be an IPv6 address"),
                ("IPv4" | "IPv6", Err(_)) => errors.complaints(&address, syntax::ip(address.text())),
                ("FQDN", _) => errors.complaints(&address, syntax::dns_subdomain(address.text())),
                _ => {}
            }
        }
        errors.form(&endpoint.get("hostname"), syntax::dns_label);
        errors.form(&endpoint.get("nodeName"), syntax::dns_subdomain);
    }
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
    }
}

fn ingress(spec: &At, errors: &mut Errors) {
    let (rules, backend) = (spec.get("rules"), spec.get("defaultBackend"));
    if rules.is_empty() && !backend.is_set() {
        errors.invalid(spec, "either `defaultBackend` or `rules` must be specified");
    }
    errors.form(&spec.get("ingressClassName"), syntax::dns_subdomain);
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
            if kind.is_empty() {
                errors.required(&kind, "pathType must be specified");
            } else {
                errors.supported(&kind, &["Exact", "ImplementationSpecific", "Prefix"]);
            }
            let absolute = text.text().starts_with('/');
            if !absolute && (matches!(kind.text(), "Exact" | "Prefix") || !text.is_empty()) {
                errors.invalid_value(&text, text.text(), "must be an absolute path");
            }
            ingress_backend(&path.get("backend"), errors);
        }
    }
    for tls in spec.get("tls").items() {
        for name in tls.get("hosts").items() {
            host(&name, errors);
        }
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
        (true, true) => errors.invalid_value(backend, "", "cannot set both resource and service backends"),
        (false, false) => errors.required(backend, "backend is required"),
        (false, true) => {
            errors.need(&resource.get("kind"));
            errors.need(&resource.get("name"));
        }
        (true, false) => {
            errors.need_form(&service.get("name"), syntax::dns_label);
            let (name, number) = (service.path(&["port", "name"]), service.path(&["port", "number"]));
            match (name.is_empty(), number.int().unwrap_or_default()) {
                (true, 0) => errors.required(&service, "port name or number is required"),
                (false, 0) => errors.complaints(&name, syntax::port_name(name.text())),
                (true, n) => errors.complaints(&number, syntax::port_number(n)),
                (false, _) => {
                    errors.invalid_value(&service.get("port"), "", "cannot set both port name & port number")
                }
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
    for kind in spec.get("policyTypes").items() {
        errors.supported(&kind, &["Egress", "Ingress"]);
    }
}

fn policy_port(port: &At, errors: &mut Errors) {
    errors.supported(&port.get("protocol"), &["SCTP", "TCP", "UDP"]);
    let (start, end) = (port.get("port"), port.get("endPort"));
    if start.is_set() {
        super::handler::port(&start, errors);
    }
    let Some(last) = end.int() else { return };
    match start.int() {
        Some(first) if last < first => errors.invalid(&end, "must be greater than or equal to `port`"),
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
            errors.complaints(&except, syntax::cidr(except.text()));
        }
    }
    match (pods.is_set() || namespaces.is_set(), block.is_set()) {
        (false, false) => errors.required(peer, "must specify a peer"),
        (true, true) => errors.forbidden(peer, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}
