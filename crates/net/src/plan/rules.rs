//! The text of our nftables table: the way out for pods, and host ports.
//!
//! Pure. The whole table is replaced in one transaction, so that no packet sees half of it.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::ipam::Cidr;

/// Transport of a host port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// A port of the machine that leads into a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// Only on this address of the machine; all when none.
    pub host_ip: Option<Ipv4Addr>,
    /// The port of the machine.
    pub host_port: u16,
    /// The port of the pod.
    pub container_port: u16,
}

/// The script that makes our table what it should be, whatever it was.
pub fn script(table: &str, bridge: &str, range: &Cidr, ports: &[(Ipv4Addr, HostPort)]) -> String {
    let mut dnat = String::new();
    for (pod, port) in ports {
        let host = match port.host_ip {
            Some(ip) if !ip.is_unspecified() => format!("ip daddr {ip} "),
            _ => String::new(),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(
            dnat,
            "    {host}{} dport {} dnat to {pod}:{}",
            port.protocol.word(),
            port.host_port,
            port.container_port
        );
    }
    format!(
        "table ip {table} {{}}\n\
         delete table ip {table}\n\
         table ip {table} {{\n\
         \x20 chain hostports {{\n{dnat}  }}\n\
         \x20 chain prerouting {{\n\
         \x20   type nat hook prerouting priority -100; policy accept;\n\
         \x20   fib daddr type local jump hostports\n\
         \x20 }}\n\
         \x20 chain output {{\n\
         \x20   type nat hook output priority -100; policy accept;\n\
         \x20   fib daddr type local jump hostports\n\
         \x20 }}\n\
         \x20 chain postrouting {{\n\
         \x20   type nat hook postrouting priority 100; policy accept;\n\
         \x20   ip saddr {range} ip daddr != {range} oifname != \"{bridge}\" masquerade\n\
         \x20   ip saddr {range} ip daddr {range} ct status dnat masquerade\n\
         \x20   ip saddr 127.0.0.0/8 oifname \"{bridge}\" masquerade\n\
         \x20 }}\n\
         }}\n"
    )
}

/// The script that removes our table.
pub fn removal(table: &str) -> String {
    format!("table ip {table} {{}}\ndelete table ip {table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_ports_become_dnat_rules() {
        let range: Cidr = "10.42.0.0/24".parse().expect("range");
        let pod = Ipv4Addr::new(10, 42, 0, 5);
        let port = |host_ip, protocol| HostPort { protocol, host_ip, host_port: 8080, container_port: 80 };
        let text = script(
            "dunlin_0a",
            "dnl0a",
            &range,
            &[
                (pod, port(None, Protocol::Tcp)),
                (pod, port(Some(Ipv4Addr::new(192, 0, 2, 1)), Protocol::Udp)),
            ],
        );
        assert!(text.contains("\n    tcp dport 8080 dnat to 10.42.0.5:80\n"), "{text}");
        assert!(text.contains("\n    ip daddr 192.0.2.1 udp dport 8080 dnat to 10.42.0.5:80\n"), "{text}");
        assert!(text.starts_with("table ip dunlin_0a {}\ndelete table ip dunlin_0a\n"), "{text}");
        assert!(text.contains("oifname != \"dnl0a\" masquerade"), "{text}");
    }
}
