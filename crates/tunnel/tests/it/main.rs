//! Tunnels over real TLS on the loopback, with everything that can happen to a link.

mod link;
mod streams;
mod support;
