//! Addresses and networks. As in Kubernetes, IPv4 addresses in IPv6 form and zones are refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cel::Failed;
use crate::cel::value::Val;

type Answer<'a> = Option<Result<Val<'a>, Failed>>;

fn address(text: &str) -> Option<IpAddr> {
    let ip: IpAddr = text.parse().ok()?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => None,
        ip => Some(ip),
    }
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, bits) = text.split_once('/')?;
    let (ip, bits) = (address(ip)?, bits.parse::<u8>().ok()?);
    (bits <= width(ip)).then_some((ip, bits))
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn mask(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

pub(super) fn global<'a>(name: &str, args: &[Val<'a>]) -> Answer<'a> {
    let Val::Text(text) = args.first()? else { return None };
    let value = match (name, args) {
        ("isIP", [_]) => Val::Bool(address(text).is_some()),
        ("isIP", [_, Val::Int(family)]) => {
            Val::Bool(address(text).is_some_and(|ip| *family == if ip.is_ipv4() { 4 } else { 6 }))
        }
        ("ip", [_]) => match address(text) {
            Some(ip) => Val::Ip(ip),
            None => {
                return Some(Err(Failed::Error(format!(
                    "IP Address {text:?} parse error during conversion from string"
                ))));
            }
        },
        ("ip.isCanonical", [_]) => match address(text) {
            Some(ip) => Val::Bool(ip.to_string() == **text),
            None => {
                return Some(Err(Failed::Error(format!(
                    "IP Address {text:?} parse error during conversion from string"
                ))));
            }
        },
        ("isCIDR", [_]) => Val::Bool(network(text).is_some()),
        ("cidr", [_]) => match network(text) {
            Some((ip, bits)) => Val::Cidr(ip, bits),
            None => {
                return Some(Err(Failed::Error(format!(
                    "network address parse error during conversion from string: {text:?}"
                ))));
            }
        },
        _ => return None,
    };
    Some(Ok(value))
}

pub(super) fn of_ip<'a>(name: &str, ip: IpAddr, args: &[Val<'a>]) -> Answer<'a> {
    if !args.is_empty() {
        return None;
    }
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    Some(Ok(match name {
        "family" => Val::Int(if ip.is_ipv4() { 4 } else { 6 }),
        "isUnspecified" => Val::Bool(ip.is_unspecified()),
        "isLoopback" => Val::Bool(ip.is_loopback()),
        "isLinkLocalMulticast" => Val::Bool(match ip {
            IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
        }),
        "isLinkLocalUnicast" => Val::Bool(link_local),
        "isGlobalUnicast" => {
            let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
            Val::Bool(
                !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local || broadcast),
            )
        }
        _ => return None,
    }))
}

pub(super) fn of_cidr<'a>(name: &str, ip: IpAddr, bits: u8, args: &[Val<'a>]) -> Answer<'a> {
    let contains = |other: IpAddr, more: u8| {
        ip.is_ipv4() == other.is_ipv4() && more >= bits && mask(ip, bits) == mask(other, bits)
    };
    let wrong =
        |text: &str| Some(Err(Failed::Error(format!("parse error during conversion from string: {text:?}"))));
    Some(Ok(match (name, args) {
        ("containsIP", [Val::Ip(other)]) => Val::Bool(contains(*other, width(*other))),
        ("containsIP", [Val::Text(text)]) => match address(text) {
            Some(other) => Val::Bool(contains(other, width(other))),
            None => return wrong(text),
        },
        ("containsCIDR", [Val::Cidr(other, more)]) => Val::Bool(contains(*other, *more)),
        ("containsCIDR", [Val::Text(text)]) => match network(text) {
            Some((other, more)) => Val::Bool(contains(other, more)),
            None => return wrong(text),
        },
        ("ip", []) => Val::Ip(ip),
        ("masked", []) => Val::Cidr(mask(ip, bits), bits),
        ("prefixLength", []) => Val::Int(bits.into()),
        _ => return None,
    }))
}
