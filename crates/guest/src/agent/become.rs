//! Everything between a fork and the execution of a command.

use std::ffi::CString;
use std::io::Error;
use std::os::fd::{AsRawFd, OwnedFd};

use dunlin_guest::Setup;
use dunlin_guest::message::Process;
use dunlin_shim::message::Failure;

use super::Failed;
use super::root::{MEMBERS, ROOT};
use crate::sys;

/// Which mounts a process sees.
pub enum Place {
    /// New ones, with the container's root file system as root.
    New,
    /// Those of the first process.
    Beside(OwnedFd),
}

/// What its descriptors 0 to 2 are.
pub enum Streams {
    /// A pipe each.
    Pipes([OwnedFd; 3]),
    /// The terminal of this number.
    Terminal(u32),
}

/// Becomes the command; returns only with the reason why not.
pub fn become_it(place: Place, setup: &Setup, args: &[String], streams: Streams) -> Failed {
    match arrive(place, setup, streams) {
        Ok(()) => execute(args, &setup.process.env),
        Err(failed) => failed,
    }
}

fn arrive(place: Place, setup: &Setup, streams: Streams) -> Result<(), Failed> {
    let process = &setup.process;
    let step = |what: &'static str| move |error: Error| Failed::create(what, error);
    // SAFETY: no memory is involved.
    sys::check(unsafe { libc::setsid() }).map_err(step("beginning a session"))?;
    std::fs::write(MEMBERS, "0").map_err(step("entering the group of processes"))?;
    match place {
        Place::New => new_root(setup).map_err(step("entering the root file system"))?,
        Place::Beside(mounts) => {
            // SAFETY: the descriptor is open, and this process has one thread.
            sys::check(unsafe { libc::setns(mounts.as_raw_fd(), libc::CLONE_NEWNS) })
                .map_err(step("joining the first process"))?;
        }
    }
    take(streams, process.uid, process.gid).map_err(step("connecting streams"))?;
    std::env::set_current_dir(&process.cwd).map_err(|e| Failed {
        failure: Failure::Spec,
        text: format!("working directory {}: {e}", process.cwd),
    })?;
    // SAFETY: no memory is involved.
    unsafe { libc::umask(0o022) };
    let Process { uid, gid, groups, capabilities, no_new_privileges, .. } = process;
    sys::user::become_user(*uid, *gid, groups, *capabilities, *no_new_privileges)
        .map_err(step("becoming the user"))
}

fn new_root(setup: &Setup) -> std::io::Result<()> {
    // SAFETY: this process has one thread; only its own view of mounts changes.
    sys::check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    sys::mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    sys::mount("proc", &format!("{ROOT}/proc"), "proc", flags, "")?;
    for path in setup.masked.iter().map(|path| format!("{ROOT}{path}")) {
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => {
                sys::mount("tmpfs", &path, "tmpfs", flags | libc::MS_RDONLY, "size=0")?
            }
            Ok(_) => sys::mount(&format!("{ROOT}/dev/null"), &path, "", libc::MS_BIND, "")?,
            // What is not there shows nothing.
            Err(_) => {}
        }
    }
    for path in setup.read_only.iter().map(|path| format!("{ROOT}{path}")) {
        if std::fs::metadata(&path).is_ok() {
            sys::mount(&path, &path, "", libc::MS_BIND | libc::MS_REC, "")?;
            sys::mount(&path, &path, "", libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | flags, "")?;
        }
    }
    std::env::set_current_dir(ROOT)?;
    sys::mount(".", "/", "", libc::MS_MOVE, "")?;
    // SAFETY: the path is a NUL-terminated literal.
    sys::check(unsafe { libc::chroot(c".".as_ptr()) })?;
    std::env::set_current_dir("/")
}

/// Makes the streams descriptors 0 to 2, and a terminal the session's.
fn take(streams: Streams, uid: u32, gid: u32) -> std::io::Result<()> {
    let (streams, group) = match streams {
        Streams::Pipes(pipes) => (pipes, Some(gid)),
        Streams::Terminal(number) => {
            let terminal = sys::open_terminal(&format!("/dev/pts/{number}"))?;
            ([terminal.try_clone()?, terminal.try_clone()?, terminal], None)
        }
    };
    let high = [&streams[0], &streams[1], &streams[2]].map(|fd| sys::moved_up(fd.as_raw_fd(), 20));
    for (n, fd) in high.into_iter().enumerate() {
        let fd = fd?;
        // A program that is not root opens /dev/stdout, which is these. A terminal keeps its group.
        // SAFETY: no memory is involved.
        sys::check(unsafe { libc::fchown(fd.as_raw_fd(), uid, group.unwrap_or(u32::MAX)) })?;
        sys::place(fd.as_raw_fd(), n as i32)?;
    }
    if group.is_none() {
        // SAFETY: no memory is involved.
        sys::check(unsafe { libc::ioctl(0, libc::TIOCSCTTY as _, 0) })?;
    }
    Ok(())
}

fn execute(args: &[String], env: &[String]) -> Failed {
    let wrong = |text: &str| Failed { failure: Failure::Command, text: text.to_owned() };
    let path = match find(args, env) {
        Ok(path) => path,
        Err(text) => return wrong(text),
    };
    let strings =
        |list: &[String]| list.iter().map(|text| CString::new(text.as_str())).collect::<Result<Vec<_>, _>>();
    let (Ok(args), Ok(env)) = (strings(args), strings(env)) else {
        return wrong("a NUL byte in the command or the environment");
    };
    let pointers =
        |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    let (argv, envp) = (pointers(&args), pointers(&env));
    sys::default_signals();
    // SAFETY: program, argv and envp are NUL-terminated and alive; argv and envp end with a null pointer.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    let error = Error::last_os_error();
    match error.raw_os_error() {
        // The file is there: find() has seen it. What is missing is what it needs.
        Some(libc::ENOENT) => wrong("its interpreter or dynamic linker is not in the image"),
        Some(libc::ENOEXEC) => wrong("exec format error (another architecture, or a script without #!)"),
        Some(libc::EACCES) => wrong("permission denied"),
        _ => wrong(&error.to_string()),
    }
}

/// The command's path. A name without a slash is looked for in its `PATH`.
fn find(args: &[String], env: &[String]) -> Result<CString, &'static str> {
    let name = args.first().ok_or("the command is empty")?;
    let path = env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or_default();
    let candidates: Vec<String> = if name.contains('/') {
        vec![name.clone()]
    } else {
        path.split(':')
            .map(|folder| format!("{}/{name}", if folder.is_empty() { "." } else { folder }))
            .collect()
    };
    let mut denied = false;
    for candidate in candidates {
        let Ok(meta) = std::fs::metadata(&candidate) else { continue };
        let Ok(text) = CString::new(candidate) else { continue };
        // SAFETY: the path is a live NUL-terminated string.
        let may =
            unsafe { libc::faccessat(libc::AT_FDCWD, text.as_ptr(), libc::X_OK, libc::AT_EACCESS) } == 0;
        if !meta.is_dir() && may {
            return Ok(text);
        }
        denied = true;
    }
    Err(match (denied, name.contains('/')) {
        (true, _) => "permission denied",
        (false, true) => "no such file or directory in the image",
        (false, false) => "executable file not found in $PATH",
    })
}
