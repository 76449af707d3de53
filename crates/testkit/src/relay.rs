//! Frames carried between two devices in user space, each as late as asked, some of them not at all.
//!
//! Two threads, one per direction, hold raw sockets inside the namespace of the devices. Frames keep the metadata that
//! veth hands along instead of finished checksums (`PACKET_VNET_HDR`), so that nothing is altered on the way.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Frames on their way in one direction at most; more are lost, as in a router's queue.
const QUEUE: usize = 4096;
/// The largest frame with its metadata, bytes.
const FRAME: usize = 66 * 1024;
/// How long a thread may take to notice that it is to end.
const TICK: Duration = Duration::from_millis(20);

/// What is wrong with a wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fault {
    /// How much later every frame arrives.
    pub delay: Duration,
    /// How many of a hundred frames are lost.
    pub loss: u8,
}

/// Two running threads; dropping it ends them.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Starts carrying frames between `devices` of the namespace at `namespace`.
    ///
    /// # Errors
    /// When the sockets cannot be opened.
    pub fn start(namespace: &Path, devices: [&str; 2], fault: Fault) -> Result<Self> {
        let mut relay = Self { stop: Arc::default(), threads: Vec::new() };
        for (from, to) in [(devices[0], devices[1]), (devices[1], devices[0])] {
            let file = File::open(namespace).with_context(|| namespace.display().to_string())?;
            let (from, to) = (from.to_owned(), to.to_owned());
            let stop = relay.stop.clone();
            let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
            relay.threads.push(std::thread::spawn(move || {
                let sockets = enter(&file).and_then(|()| Ok((open(&from)?, open(&to)?)));
                match sockets {
                    Ok((input, output)) => {
                        let _ = ready.send(Ok(()));
                        carry(&input, &output, fault, &stop);
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            }));
            is_ready.recv().context("a relay ended early")?.context("opening a relay's sockets")?;
        }
        Ok(relay)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Moves this thread, and no other, into the namespace.
fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: setns takes a descriptor that is open for as long as the call lasts.
    checked(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// A raw socket that hears what arrives on `device` and sends on it.
fn open(device: &str) -> io::Result<OwnedFd> {
    let every = (libc::ETH_P_ALL as u16).to_be();
    let name = CString::new(device).map_err(io::Error::other)?;
    // SAFETY: plain integers go in; the descriptor that comes out is nobody else's.
    let socket = unsafe {
        OwnedFd::from_raw_fd(checked(libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            0,
        ))?)
    };
    for option in [libc::PACKET_VNET_HDR, libc::PACKET_IGNORE_OUTGOING] {
        let on: libc::c_int = 1;
        // SAFETY: the pointer is to an int that lives through the call, and the length is its own.
        checked(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        })?;
    }
    // SAFETY: sockaddr_ll is plain data for which zeroes are valid; the name is a C string.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = every;
    // SAFETY: as above.
    address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
    if address.sll_ifindex == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the address lives through the call and its length is given.
    checked(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })?;
    Ok(socket)
}

fn carry(input: &OwnedFd, output: &OwnedFd, fault: Fault, stop: &AtomicBool) {
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut buffer = vec![0u8; FRAME];
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let wait = waiting.front().map_or(TICK, |(due, _)| due.saturating_duration_since(now).min(TICK));
        // Rounded up: a wait of 0 ms before the time would spin.
        let wait = i32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let mut poll = libc::pollfd { fd: input.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, and the count says so.
        unsafe { libc::poll(&raw mut poll, 1, wait) };
        loop {
            // SAFETY: the buffer is as long as said.
            let read = unsafe { libc::recv(input.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            let Ok(length @ 1..) = usize::try_from(read) else { break };
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            let lost = dice % 100 < u64::from(fault.loss);
            if !lost && waiting.len() < QUEUE {
                waiting.push_back((Instant::now() + fault.delay, buffer[..length].to_vec()));
            }
        }
        let now = Instant::now();
        while let Some((_, frame)) = waiting.pop_front_if(|(due, _)| *due <= now) {
            // A full device queue loses the frame, as on a real wire.
            // SAFETY: the frame is as long as said.
            unsafe { libc::send(output.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        }
    }
}
