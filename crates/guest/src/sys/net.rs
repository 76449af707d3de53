//! Network devices by their oldest interface, which needs no library: ioctl(2) on a socket (netdevice(7)).

use std::io::{Error, ErrorKind, Result};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::check;

/// linux/if_tun.h.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
/// linux/sockios.h: a new bridge, and a new port of one.
const SIOCBRADDBR: libc::c_ulong = 0x89a0;
const SIOCBRADDIF: libc::c_ulong = 0x89a2;

/// A socket through which the devices of its namespace are asked and told.
pub struct Devices(OwnedFd);

impl Devices {
    /// Those of the own namespace.
    pub fn open() -> Result<Self> {
        // SAFETY: the new descriptor is owned by nobody else.
        unsafe {
            let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
            Ok(Self(OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, kind, 0))?)))
        }
    }

    fn ask(&self, call: libc::c_ulong, request: &mut libc::ifreq) -> Result<()> {
        // SAFETY: the request is a live ifreq, which is all that these calls read and write.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), call as _, request) }).map(drop)
    }

    /// Its number; an error if it is not there.
    pub fn index(&self, name: &str) -> Result<i32> {
        let mut request = named(name)?;
        self.ask(libc::SIOCGIFINDEX as _, &mut request)?;
        // SAFETY: the call has filled this member.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex })
    }

    /// Its address or mask.
    pub fn address(&self, name: &str, mask: bool) -> Result<[u8; 4]> {
        let mut request = named(name)?;
        self.ask(if mask { libc::SIOCGIFNETMASK } else { libc::SIOCGIFADDR } as _, &mut request)?;
        // SAFETY: the call has filled this member with an internet address, which starts with family and port.
        let bytes = unsafe { request.ifr_ifru.ifru_addr.sa_data };
        Ok([2, 3, 4, 5].map(|n| bytes[n] as u8))
    }

    /// Gives it an address or mask.
    pub fn set_address(&self, name: &str, address: [u8; 4], mask: bool) -> Result<()> {
        let mut request = named(name)?;
        request.ifr_ifru.ifru_addr = internet(address);
        self.ask(if mask { libc::SIOCSIFNETMASK } else { libc::SIOCSIFADDR } as _, &mut request)
    }

    /// Its hardware address.
    pub fn hardware(&self, name: &str) -> Result<[u8; 6]> {
        let mut request = named(name)?;
        self.ask(libc::SIOCGIFHWADDR as _, &mut request)?;
        // SAFETY: the call has filled this member.
        let bytes = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
        Ok([0, 1, 2, 3, 4, 5].map(|n| bytes[n] as u8))
    }

    /// Its greatest packet.
    pub fn mtu(&self, name: &str) -> Result<u32> {
        let mut request = named(name)?;
        self.ask(libc::SIOCGIFMTU as _, &mut request)?;
        // SAFETY: the call has filled this member.
        Ok(unsafe { request.ifr_ifru.ifru_mtu } as u32)
    }

    /// Sets its greatest packet.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> Result<()> {
        let mut request = named(name)?;
        request.ifr_ifru.ifru_mtu = mtu as i32;
        self.ask(libc::SIOCSIFMTU as _, &mut request)
    }

    /// Sets flags on top of those it has.
    pub fn set_flags(&self, name: &str, flags: i32) -> Result<()> {
        let mut request = named(name)?;
        self.ask(libc::SIOCGIFFLAGS as _, &mut request)?;
        // SAFETY: the call has filled this member.
        unsafe { request.ifr_ifru.ifru_flags |= flags as libc::c_short };
        self.ask(libc::SIOCSIFFLAGS as _, &mut request)
    }

    /// Makes a bridge; one that is there is success.
    pub fn bridge(&self, name: &str) -> Result<()> {
        let request = named(name)?;
        // SAFETY: the call reads a name that ends with zero.
        match check(unsafe { libc::ioctl(self.0.as_raw_fd(), SIOCBRADDBR as _, request.ifr_name.as_ptr()) }) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other.map(drop),
        }
    }

    /// Puts a device into a bridge; one that is in a bridge stays there.
    pub fn join(&self, bridge: &str, device: &str) -> Result<()> {
        let mut request = named(bridge)?;
        request.ifr_ifru.ifru_ifindex = self.index(device)?;
        match self.ask(SIOCBRADDIF, &mut request) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
            other => other,
        }
    }

    /// The default route.
    pub fn default_route(&self, gateway: [u8; 4]) -> Result<()> {
        // SAFETY: rtentry is plain data for which zero is "not said"; the call only reads it.
        unsafe {
            let mut route: libc::rtentry = zeroed();
            (route.rt_dst, route.rt_genmask) = (internet([0; 4]), internet([0; 4]));
            route.rt_gateway = internet(gateway);
            route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
            check(libc::ioctl(self.0.as_raw_fd(), libc::SIOCADDRT as _, &route)).map(drop)
        }
    }
}

/// Opens a new tap device, which lives as long as its descriptor.
pub fn tap(name: &str) -> Result<OwnedFd> {
    let file = std::fs::File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = named(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: the call reads and writes the request only.
    check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &mut request) })?;
    Ok(file.into())
}

fn named(name: &str) -> Result<libc::ifreq> {
    // SAFETY: ifreq is plain data, valid when zeroed.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(Error::from(ErrorKind::InvalidInput));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(request)
}

fn internet(address: [u8; 4]) -> libc::sockaddr {
    let mut data = [0; 14];
    for (place, byte) in data[2..6].iter_mut().zip(address) {
        *place = byte as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}
