//! The process that runs the guests of one tenant, each on a thread of its own.
//!
//! A thread has its guest's root directory, user, network, capabilities and seccomp filter: Linux keeps all of these for each
//! thread. What it has not is a cgroup, so memory and processor are counted by the engine. The process itself sees no
//! files but `/proc`, is in nobody's network, and ends when its last guest has.
//!
//! A guest's connection is its life: when the program that stands for it in its container ends, so does the guest.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dunlin_shim::hold::{ENDED, FAILED, SERVES, STOP};
use dunlin_wasm::{Host, Hosted};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, open, unlinkat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, unmount,
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags};
use tokio::sync::watch;

use super::super::seccomp;
use super::failed;
use super::share::{LOCK, Order, PORTS, SOCKET, Terms};
use crate::plan::capabilities;

/// How long it waits for a first or a next guest.
const IDLE: Duration = Duration::from_secs(1);
/// The exit code of a guest that could not go on.
const TRAPPED: u8 = 134;

/// Serves for the guests that come to the socket in a directory. Prints nothing, or why it cannot begin, on standard output,
/// and closes that.
pub fn main(directory: &Path) -> i32 {
    match begin(directory) {
        Ok(mut place) => {
            // Nothing is written there any more, and who waits for its end goes on.
            // SAFETY: both are open for the life of this process.
            unsafe { libc::dup2(0, 1) };
            place.serve()
        }
        Err(reason) => {
            print!("{reason}");
            1
        }
    }
}

struct Place {
    host: Arc<Host>,
    listener: UnixListener,
    directory: OwnedFd,
    guests: Arc<AtomicUsize>,
    /// Told of each guest's end.
    ended: Arc<OwnedFd>,
}

fn begin(directory: &Path) -> Result<Place, String> {
    std::env::set_current_dir(directory).map_err(failed("entering the directory"))?;
    let held = open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let held = held.map_err(failed("opening the directory"))?;
    let _ = std::fs::remove_file(SOCKET);
    let listener = UnixListener::bind(SOCKET).map_err(failed("binding the socket"))?;
    rustix::fs::chmod(SOCKET, Mode::RUSR | Mode::WUSR).map_err(failed("protecting the socket"))?;
    listener.set_nonblocking(true).map_err(failed("preparing the socket"))?;
    // Each guest has some descriptors, and each of its clients one.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    seclude().map_err(failed("leaving the first pod's namespaces"))?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    let _ = rustix::thread::set_name(c"wasm host");
    // Its threads begin where this one is now.
    let host = Arc::new(Host::new()?);
    let ended = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    let ended = Arc::new(ended.map_err(failed("making an event"))?);
    Ok(Place { host, listener, directory: held, guests: Arc::default(), ended })
}

/// Leaves the namespaces of the pod that it was started for, which would live on in it, and all files but `/proc`.
fn seclude() -> io::Result<()> {
    let all = UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: this process has one thread, which relies on none of them.
    unsafe { rustix::thread::unshare_unsafe(all)? };
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    mount("tmpfs", ".", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"size=64k,mode=755")?;
    // The directory of before is below the new file system.
    let here = std::env::current_dir()?;
    std::env::set_current_dir(&here)?;
    std::fs::create_dir("proc")?;
    mount_bind_recursive("/proc", "proc")?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}

impl Place {
    fn serve(&mut self) -> i32 {
        let patience = Timespec { tv_sec: IDLE.as_secs() as i64, tv_nsec: 0 };
        loop {
            let none = self.guests.load(Ordering::Acquire) == 0;
            let mut fds =
                [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&self.ended, PollFlags::IN)];
            let _ = poll(&mut fds, none.then_some(&patience));
            if rustix::io::read(&self.ended, &mut [0; 8]).is_ok() {
                continue;
            }
            match self.listener.accept() {
                Ok((connection, _)) => self.take(connection),
                Err(_) if none && self.may_end() => return 0,
                Err(_) => {}
            }
        }
    }

    fn take(&self, connection: UnixStream) {
        self.guests.fetch_add(1, Ordering::AcqRel);
        let (host, guests, ended) = (self.host.clone(), self.guests.clone(), self.ended.clone());
        let serve = move || {
            let _ = connection.set_nonblocking(false);
            let mut telling = &connection;
            if let Err(reason) = guest(&host, &connection) {
                let _ = telling.write_all(&[&[FAILED], reason.as_bytes()].concat());
            }
            // For all who have it: nothing more will be said, and nobody listens.
            let _ = connection.shutdown(Shutdown::Both);
            guests.fetch_sub(1, Ordering::AcqRel);
            let _ = rustix::io::write(&ended, &1u64.to_ne_bytes());
        };
        if std::thread::Builder::new().name("guest".into()).spawn(serve).is_err() {
            // Who waits for it sees the closed connection.
            self.guests.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whether nobody is on the way; nobody can come any more then.
    fn may_end(&self) -> bool {
        let Ok(lock) =
            rustix::fs::openat(&self.directory, LOCK, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        else {
            // The directory is gone, and with it the way here.
            return true;
        };
        let lock = File::from(lock);
        if lock.try_lock().is_err() {
            return false;
        }
        if let Ok((connection, _)) = self.listener.accept() {
            self.take(connection);
            return false;
        }
        let _ = unlinkat(&self.directory, SOCKET, AtFlags::empty());
        true
    }
}

/// Takes a guest and runs it to its end. An error is one of before it served.
fn guest(host: &Arc<Host>, connection: &UnixStream) -> Result<(), String> {
    let mut all = receive(connection).map_err(failed("receiving a guest"))?.into_iter();
    let mut next = || all.next().ok_or("a guest without all of its descriptors");
    let (order, root, out, err, code, used) = (next()?, next()?, next()?, next()?, next()?, next()?);
    let listeners: Vec<std::net::TcpListener> = all.map(std::net::TcpListener::from).collect();
    let mut text = Vec::new();
    File::from(order).take(16 << 20).read_to_end(&mut text).map_err(failed("reading what to run"))?;
    let Order { guest, terms } = serde_json::from_slice(&text).map_err(failed("reading what to run"))?;
    let code = File::from(code);
    let loaded = host.load(&code)?;
    let name = guest.args.first().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
    enter(&terms, &root, &listeners)?;

    let (stop, stopped) = watch::channel(false);
    let (lost, gone) = watch::channel(false);
    let theirs = connection.try_clone().map_err(failed("watching the guest's container"))?;
    let listen = move || {
        let (mut theirs, mut word) = (theirs, [0]);
        while theirs.read_exact(&mut word).is_ok() {
            if word[0] == STOP {
                let _ = stop.send(true);
            }
        }
        let _ = lost.send(true);
    };
    let listening = std::thread::Builder::new().name("container".into()).stack_size(64 << 10).spawn(listen);
    listening.map_err(failed("watching the guest's container"))?;
    let used = File::from(used);
    let tell = move |cpu: u64, memory: u64| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&cpu.to_ne_bytes());
        bytes[8..].copy_from_slice(&memory.to_ne_bytes());
        // Only what people are told depends on it.
        let _ = used.write_all_at(&bytes, 0);
    };
    let hosted = Hosted { guest, code, listeners, out: out.into(), err: err.into(), cpu: terms.cpu };
    let mut serves = false;
    let mut telling = connection;
    let ready = || {
        serves = true;
        let _ = telling.write_all(&[SERVES]);
    };
    let result = loaded.run(hosted, stopped, gone, tell, ready);
    if serves {
        let code = if result.is_ok() { 0 } else { TRAPPED };
        let _ = telling.write_all(&[ENDED, code]);
        return Ok(());
    }
    result
}

fn receive(connection: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PORTS + 6))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0];
    recvmsg(connection, &mut [IoSliceMut::new(&mut word)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut all = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            all.extend(descriptors);
        }
    }
    Ok(all)
}

/// Brings the calling thread, and those that it begins, into the guest's place.
fn enter(terms: &Terms, root: &OwnedFd, listeners: &[std::net::TcpListener]) -> Result<(), String> {
    let first = listeners.first().ok_or("a guest that listens nowhere")?;
    let network = network_of(first).map_err(failed("finding the guest's network"))?;
    rustix::thread::move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(failed("entering the guest's network"))?;
    // SAFETY: from here on this thread has its own root and working directory, which is what is wanted.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }
        .map_err(failed("leaving the others' files"))?;
    rustix::process::fchdir(root).map_err(failed("entering the guest's files"))?;
    rustix::process::chroot(".").map_err(failed("entering the guest's files"))?;
    let groups: Vec<Gid> = terms.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    rustix::thread::set_thread_groups(&groups).map_err(failed("changing the groups"))?;
    let (user, group) = (Uid::from_raw(terms.uid), Gid::from_raw(terms.gid));
    rustix::thread::set_thread_res_gid(group, group, group).map_err(failed("changing the group"))?;
    rustix::thread::set_keep_capabilities(true).map_err(failed("keeping capabilities"))?;
    rustix::thread::set_thread_res_uid(user, user, user).map_err(failed("changing the user"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("giving up privileges"))?;
    let names: Vec<&str> = terms.capabilities.iter().map(String::as_str).collect();
    // As at an execution: a user who is not root has none.
    let kept = if terms.uid == 0 {
        CapabilitySet::from_bits_truncate(capabilities::bits(&names))
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(failed("giving up capabilities"))?;
    if let Some(filter) = terms.seccomp.then(|| seccomp::default_filter(&terms.capabilities)).flatten() {
        filter.install().map_err(failed("installing the seccomp filter"))?;
    }
    Ok(())
}

/// The network namespace of a socket.
fn network_of(socket: &std::net::TcpListener) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    const SIOCGSKNS: libc::c_ulong = 0x894c;
    // SAFETY: the call takes no memory and gives a new descriptor, which nobody else owns.
    unsafe {
        let fd = libc::ioctl(socket.as_raw_fd(), SIOCGSKNS);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}
