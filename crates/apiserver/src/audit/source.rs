//! From where a request came: what proxies say in headers, and the peer of the connection last. All but the last can be
//! made up by the client.

use std::net::{IpAddr, SocketAddr};

use http::{Extensions, HeaderMap};

/// The peer of a request's connection, among the request's extensions. Calls of this process have none.
#[derive(Debug, Clone, Copy)]
pub struct From(pub SocketAddr);

/// The addresses on the way, from the client on.
pub fn addresses(headers: &HeaderMap, extensions: &Extensions) -> Vec<IpAddr> {
    let values = |name: &'static str| headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    let mut found: Vec<IpAddr> = values("x-forwarded-for")
        .take(1)
        .flat_map(|list| list.split(','))
        .filter_map(|one| one.trim().parse().ok())
        .collect();
    if let Some(real) = values("x-real-ip").next().and_then(|one| one.trim().parse().ok())
        && !found.contains(&real)
    {
        found.push(real);
    }
    if let Some(From(peer)) = extensions.get::<From>() {
        let peer = peer.ip().to_canonical();
        if found.last() != Some(&peer) {
            found.push(peer);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_counts_last_and_once() {
        let check = |headers: &[(&'static str, &'static str)], wanted: &[&str]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            let mut extensions = Extensions::new();
            extensions.insert(From("[::ffff:10.0.0.9]:4711".parse().unwrap()));
            let found: Vec<String> = addresses(&map, &extensions).iter().map(ToString::to_string).collect();
            assert_eq!(found, wanted);
        };
        check(&[], &["10.0.0.9"]);
        check(&[("x-forwarded-for", "1.1.1.1, nonsense, ::2")], &["1.1.1.1", "::2", "10.0.0.9"]);
        check(&[("x-forwarded-for", "1.1.1.1, 10.0.0.9")], &["1.1.1.1", "10.0.0.9"]);
        check(&[("x-real-ip", "1.1.1.1"), ("x-forwarded-for", "1.1.1.1")], &["1.1.1.1", "10.0.0.9"]);
        check(
            &[("x-real-ip", "3.3.3.3"), ("x-forwarded-for", "1.1.1.1")],
            &["1.1.1.1", "3.3.3.3", "10.0.0.9"],
        );
        assert!(addresses(&HeaderMap::new(), &Extensions::new()).is_empty());
    }
}
