//! A native process: a program of the host, on the host's files, in its pod's cgroup and namespaces.
//!
//! libcontainer is not used: it would give the process a root file system and devices of its own, and make these on the
//! host's if they were the same. A new process that is to replace itself does what is written here, in this order, and
//! reports what fails as every first process does.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use dunlin_shim::message::{Failure, Report};
use libcontainer::oci_spec::runtime::Spec;
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind_recursive, mount_change, mount_remount};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::create::fork;
use super::executor::Command;
use super::{Failed, send, spec};
use crate::bundle::{Bind, Bundle, Native};
use crate::plan::capabilities::NAMES;

/// Where the number of the first process stands in a bundle.
const PID: &str = "pid";

/// A process that runs.
pub struct Started {
    /// Its number.
    pub pid: i32,
    /// The master of its terminal.
    pub master: Option<OwnedFd>,
}

/// Starts the first process of a bundle and reports it.
pub fn create(
    directory: &Path,
    bundle: &Bundle,
    native: &Native,
    control: BorrowedFd<'_>,
) -> Result<(), Failed> {
    let spec = spec(directory)?;
    let namespaces = open_all(&native.namespaces)?;
    let started = start(bundle, native, &spec, bundle.tty, || {
        namespaces.iter().try_for_each(enter)?;
        mount_all(native)
    })?;
    let failed = |error: io::Error| Failed::create("noting the process", error);
    std::fs::write(directory.join(PID), started.pid.to_string()).map_err(failed)?;
    send(control, &Report::Started { pid: started.pid as u32 }, started.master.as_ref().map(AsFd::as_fd))
        .map_err(|e| Failed::create("reporting", e))
}

/// Starts one more process where the first one is.
pub fn exec(
    directory: &Path,
    bundle: &Bundle,
    native: &Native,
    args: &[String],
    tty: bool,
) -> Result<Started, Failed> {
    let gone = |error: io::Error| Failed { failure: Failure::NotRunning, text: error.to_string() };
    let first = std::fs::read_to_string(directory.join(PID)).map_err(gone)?;
    let paths = ["net", "uts", "ipc", "mnt"].map(|name| PathBuf::from(format!("/proc/{first}/ns/{name}")));
    let namespaces = open_all(&paths).map_err(|e| Failed { failure: Failure::NotRunning, ..e })?;
    // Its number may be another's by now; that one is not in this cgroup.
    let members = native.cgroups.first().map(std::fs::read_to_string).transpose().map_err(gone)?;
    if !members.unwrap_or_default().lines().any(|pid| pid == first) {
        return Err(gone(io::Error::other("the first process has ended")));
    }
    let mut spec = spec(directory)?;
    if let Some(process) = spec.process_mut() {
        process.set_args(Some(args.to_vec()));
    }
    start(bundle, native, &spec, tty, || namespaces.iter().try_for_each(enter))
}

/// Starts a process that goes where `arrive` brings it and then executes.
fn start(
    bundle: &Bundle,
    native: &Native,
    spec: &Spec,
    tty: bool,
    arrive: impl FnOnce() -> Result<(), Failed>,
) -> Result<Started, Failed> {
    let terminal = if tty { Some(terminal()?) } else { None };
    let pid = fork(|told| {
        let slave = terminal.as_ref().map(|(_, slave)| slave.as_fd());
        become_it(bundle, native, spec, slave, arrive)?;
        Err(Command::new(bundle, told.as_raw_fd()).execute(spec))
    })?;
    Ok(Started { pid, master: terminal.map(|(master, _)| master) })
}

/// Everything between the fork and the execution.
fn become_it(
    bundle: &Bundle,
    native: &Native,
    spec: &Spec,
    terminal: Option<BorrowedFd<'_>>,
    arrive: impl FnOnce() -> Result<(), Failed>,
) -> Result<(), Failed> {
    let failed = |what: &'static str| move |error: rustix::io::Errno| Failed::create(what, error);
    rustix::process::setsid().map_err(failed("beginning a session"))?;
    for file in &native.cgroups {
        std::fs::write(file, "0").map_err(|e| Failed::create("entering the cgroup", e))?;
    }
    arrive()?;
    if let Some(terminal) = terminal {
        take(terminal, bundle).map_err(|e| Failed::create("taking the terminal", e))?;
    }
    rustix::process::chdir(&bundle.cwd).map_err(|e| Failed {
        failure: Failure::Spec,
        text: format!("working directory {}: {e}", bundle.cwd.display()),
    })?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    credentials(bundle, spec).map_err(failed("becoming the user"))
}

/// User, groups and capabilities.
fn credentials(bundle: &Bundle, spec: &Spec) -> rustix::io::Result<()> {
    use rustix::thread::{
        remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
        set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    };
    let process = spec.process().as_ref();
    let mut kept = CapabilitySet::empty();
    for (n, name) in NAMES.iter().enumerate() {
        let capability = CapabilitySet::from_bits_retain(1 << n);
        if bundle.capabilities.iter().any(|c| c == name) {
            kept |= capability;
        } else {
            match remove_capability_from_bounding_set(capability) {
                // An older kernel does not know it.
                Err(rustix::io::Errno::INVAL) => {}
                other => other?,
            }
        }
    }
    let groups = process.and_then(|p| p.user().additional_gids().as_ref()).map_or(&[][..], Vec::as_slice);
    set_keep_capabilities(true)?;
    set_thread_groups(&groups.iter().map(|gid| Gid::from_raw(*gid)).collect::<Vec<_>>())?;
    let (uid, gid) = (Uid::from_raw(bundle.uid), Gid::from_raw(bundle.gid));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    set_keep_capabilities(false)?;
    if bundle.drop_sys_admin {
        // Only until the filter is installed.
        kept |= CapabilitySet::SYS_ADMIN;
    }
    set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )?;
    if process.and_then(|p| p.no_new_privileges()) == Some(true) {
        set_no_new_privs(true)?;
    }
    Ok(())
}

pub fn open_all(paths: &[PathBuf]) -> Result<Vec<OwnedFd>, Failed> {
    let open = |path: &PathBuf| {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Failed::create("joining the pod", format!("{}: {e}", path.display())))
    };
    paths.iter().map(open).collect()
}

pub fn enter(namespace: &OwnedFd) -> Result<(), Failed> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), None)
        .map_err(|e| Failed::create("joining the pod", e))
}

/// Leaves the host's mount namespace and mounts what the process sees otherwise.
fn mount_all(native: &Native) -> Result<(), Failed> {
    let failed = |what: String| move |error: rustix::io::Errno| Failed::create(&what, error);
    // SAFETY: this process has one thread and shares nothing that the new namespace would pull away.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
        .map_err(failed("making a mount namespace".into()))?;
    // What the host mounts later appears, and what is mounted here does not appear there.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(failed("separating from the host's mounts".into()))?;
    for wanted in &native.mounts {
        bind(wanted).map_err(|e| Failed {
            failure: Failure::Spec,
            text: format!("mounting {}: {e}", wanted.target.display()),
        })?;
    }
    if native.read_only {
        write_protect(Path::new("/")).map_err(failed("making the root file system read-only".into()))?;
    }
    Ok(())
}

fn bind(wanted: &Bind) -> io::Result<()> {
    if !wanted.target.exists() {
        // As service managers do: a mount needs a place, and the host's file system is the only one there is.
        if wanted.source.is_dir() {
            std::fs::create_dir_all(&wanted.target)?;
        } else {
            wanted.target.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::File::options().create(true).append(true).open(&wanted.target)?;
        }
    }
    mount_bind_recursive(&wanted.source, &wanted.target)?;
    if !wanted.follows {
        mount_change(&wanted.target, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    }
    if wanted.read_only {
        write_protect(&wanted.target)?;
    }
    Ok(())
}

/// Makes a mount read-only, and keeps what else holds for it: a remount without these flags would take them off.
pub fn write_protect(mount: &Path) -> rustix::io::Result<()> {
    let bits = rustix::fs::statvfs(mount)?.f_flag.bits();
    let kept = MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC
        | MountFlags::NOATIME
        | MountFlags::NODIRATIME;
    let held = MountFlags::from_bits_truncate(bits as u32) & kept;
    mount_remount(mount, held | MountFlags::BIND | MountFlags::RDONLY, "")
}

/// A new terminal: master and slave.
pub fn terminal() -> Result<(OwnedFd, OwnedFd), Failed> {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let made = || -> rustix::io::Result<(OwnedFd, OwnedFd)> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        Ok((master, slave))
    };
    made().map_err(|e| Failed::create("making a terminal", e))
}

/// Makes the terminal this session's, and standard input, output and error of it.
pub fn take(terminal: BorrowedFd<'_>, bundle: &Bundle) -> io::Result<()> {
    rustix::process::ioctl_tiocsctty(terminal)?;
    rustix::fs::fchown(terminal, Some(Uid::from_raw(bundle.uid)), None)?;
    for target in 0..3 {
        // SAFETY: both are open descriptors of this process, whose standard streams nothing else in it uses.
        if unsafe { libc::dup2(terminal.as_raw_fd(), target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
