//! A container in a virtual machine: its files are mounted here, for the server that hands them to the guest, and its
//! process on the host is the monitor of that machine.
//!
//! The mounts are in a namespace of the monitor and its children only; with them they are gone.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use dunlin_guest::OUTCOME_FD;
use dunlin_shim::message::{Failure, Report};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};

use super::create::fork;
use super::native::{Started, enter, open_all, take, terminal, write_protect};
use super::{Failed, overlay, send};
use crate::bundle::{Bind, Bundle, Microvm};
use crate::paths::text;

/// Starts the machine of a bundle and reports its monitor when its first process runs.
pub fn create(
    directory: &Path,
    bundle: &Bundle,
    machine: &Microvm,
    control: BorrowedFd<'_>,
) -> Result<(), Failed> {
    let root = directory.join("rootfs");
    overlay::mount_root(bundle, directory, &root)?;
    match &machine.kernel {
        Some((inside, place)) => put_kernel(&root, inside, place)?,
        None => mount_files(&root, bundle, machine)?,
    }
    let namespaces = open_all(&machine.native.namespaces)?;
    let words = [text(&machine.program), "monitor".to_owned(), text(directory)];
    let started = start(bundle, machine, &words, bundle.tty, &namespaces)?;
    send(control, &Report::Started { pid: started.pid as u32 }, started.master.as_ref().map(AsFd::as_fd))
        .map_err(|e| Failed::create("reporting", e))
}

/// Makes the image's kernel a file where QEMU looks for it. A link of the image leads nowhere outside of it.
fn put_kernel(root: &Path, inside: &Path, place: &Path) -> Result<(), Failed> {
    let missing = |error: io::Error| Failed {
        failure: Failure::Command,
        text: match error.kind() {
            io::ErrorKind::NotFound => "no such file or directory in the image".to_owned(),
            _ => error.to_string(),
        },
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(root, flags, Mode::empty()).map_err(|e| missing(e.into()))?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let kernel = rustix::fs::openat2(&top, inside, flags, Mode::empty(), ResolveFlags::IN_ROOT)
        .map_err(|e| missing(e.into()))?;
    let kind = rustix::fs::fstat(&kernel).map(|s| rustix::fs::FileType::from_raw_mode(s.st_mode));
    if !kind.is_ok_and(|kind| kind.is_file()) {
        return Err(missing(io::Error::other("it is not a file")));
    }
    let failed = |error: io::Error| Failed::create("mounting the image's kernel", error);
    std::fs::File::create(place).map_err(failed)?;
    mount_bind_recursive(format!("/proc/self/fd/{}", kernel.as_raw_fd()), place).map_err(|e| failed(e.into()))
}

/// Mounts what the guest finds in its root file system.
fn mount_files(root: &Path, bundle: &Bundle, machine: &Microvm) -> Result<(), Failed> {
    for folder in ["/dev", "/proc", "/sys"] {
        overlay::make_directory(root, Path::new(folder), 0, 0)
            .map_err(|e| Failed::create("making the guest's mount points", e))?;
    }
    overlay::make_directory(root, &bundle.cwd, bundle.uid, bundle.gid).map_err(|e| Failed {
        failure: Failure::Spec,
        text: format!("working directory {}: {e}", bundle.cwd.display()),
    })?;
    for wanted in &machine.native.mounts {
        bind(root, wanted).map_err(|e| Failed {
            failure: Failure::Spec,
            text: format!("mounting {}: {e}", wanted.target.display()),
        })?;
    }
    if machine.native.read_only {
        write_protect(root).map_err(|e| Failed::create("making the root file system read-only", e))?;
    }
    Ok(())
}

/// Starts one more process in the guest; the client that speaks for it is its process here.
pub fn exec(
    directory: &Path,
    bundle: &Bundle,
    machine: &Microvm,
    args: &[String],
    tty: bool,
) -> Result<Started, Failed> {
    let kind = if tty { "tty" } else { "none" };
    let mut words = vec![text(&machine.program), "exec".to_owned(), text(directory), kind.to_owned()];
    words.extend_from_slice(args);
    start(bundle, machine, &words, tty, &[])
}

/// Starts the program of this machine's side, and waits until the guest's process runs or will not.
fn start(
    bundle: &Bundle,
    machine: &Microvm,
    words: &[String],
    tty: bool,
    namespaces: &[OwnedFd],
) -> Result<Started, Failed> {
    let terminal = if tty { Some(terminal()?) } else { None };
    let pid = fork(|told| {
        let slave = terminal.as_ref().map(|(_, slave)| slave.as_fd());
        Err(become_it(bundle, machine, words, slave, namespaces, told))
    })?;
    Ok(Started { pid, master: terminal.map(|(master, _)| master) })
}

/// Everything between the fork and the execution; returns only with what went wrong.
fn become_it(
    bundle: &Bundle,
    machine: &Microvm,
    words: &[String],
    terminal: Option<BorrowedFd<'_>>,
    namespaces: &[OwnedFd],
    told: BorrowedFd<'_>,
) -> Failed {
    let arrive = || -> Result<(), Failed> {
        rustix::process::setsid().map_err(|e| Failed::create("beginning a session", e))?;
        for file in &machine.native.cgroups {
            std::fs::write(file, "0").map_err(|e| Failed::create("entering the cgroup", e))?;
        }
        namespaces.iter().try_for_each(enter)?;
        match terminal {
            Some(terminal) => take(terminal, bundle).map_err(|e| Failed::create("taking the terminal", e)),
            None => Ok(()),
        }
    };
    if let Err(failed) = arrive() {
        return failed;
    }
    let strings: Result<Vec<CString>, _> = words.iter().map(|word| CString::new(word.as_str())).collect();
    let Ok(strings) = strings else {
        return Failed { failure: Failure::Command, text: "a NUL byte in the command".into() };
    };
    let mut argv: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
    argv.push(std::ptr::null());
    let environment = [std::ptr::null()];
    // SAFETY: the descriptor is open, and what was at the other number is this process's copy of the control socket, which
    // it does not use; strings and arrays end as execve wants it.
    unsafe {
        if libc::dup2(told.as_raw_fd(), OUTCOME_FD) == OUTCOME_FD {
            libc::fcntl(OUTCOME_FD, libc::F_SETFD, 0);
            libc::execve(argv[0], argv.as_ptr(), environment.as_ptr());
        }
    }
    Failed::create(&format!("executing {}", words[0]), io::Error::last_os_error())
}

/// Mounts a volume in the root file system, at a place that is made if need be and that no link of the image leads out of.
fn bind(root: &Path, wanted: &Bind) -> io::Result<()> {
    let folder = wanted.source.is_dir();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(root, flags, Mode::empty())?;
    let find = || {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(&top, &wanted.target, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    };
    if find().is_err() {
        let made = if folder { Some(wanted.target.as_path()) } else { wanted.target.parent() };
        made.map_or(Ok(()), |path| overlay::make_directory(root, path, 0, 0))?;
        if !folder {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat2(
                &top,
                &wanted.target,
                flags,
                Mode::from_raw_mode(0o644),
                ResolveFlags::IN_ROOT,
            )?;
        }
    }
    let place = find()?;
    mount_bind_recursive(&wanted.source, format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    // What was opened lies below the mount now; the mount itself is found anew.
    let place = find()?;
    let place = format!("/proc/self/fd/{}", place.as_raw_fd());
    if !wanted.follows {
        mount_change(&place, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    }
    if wanted.read_only {
        write_protect(Path::new(&place))?;
    }
    Ok(())
}
