//! A WebAssembly guest in a container's place: everything is made as for a container, and where its program would be
//! executed, the module runs in this process.
//!
//! The module is read from the image before, while the image is still a directory of the host, and comes in as compiled
//! code. It never sees `/proc` or `/sys`: through a process's own files there it could leave the sandbox.
//!
//! Components that serve `wasi:http` are handed over to a process that they share with others of their tenant ([`share`],
//! [`host`]).

mod host;
mod share;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use dunlin_shim::message::Failure;
use dunlin_wasm::{Cache, Error, Guest, Kind};
use libcontainer::oci_spec::runtime::Spec;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::Failed;
use super::create::{fork, wait};
use super::executor::Command;
use crate::bundle::Bundle;
use share::Handover;

pub use dunlin_wasm::probe;
pub use host::main as host;

/// Address space of a compilation, bytes; a module for which it is not enough is refused.
const COMPILING: u64 = 2 << 30;
/// User and group of a compilation: nobody's.
const NOBODY: u32 = 65534;

/// A module that is loaded, and how it runs.
pub struct Program {
    loaded: dunlin_wasm::Program,
    /// The descriptors that it needs.
    descriptors: BTreeSet<RawFd>,
    ports: Vec<u16>,
    memory: Option<u64>,
    host_network: bool,
    /// The process that it goes to.
    handover: Option<Handover>,
}

/// The guest of a bundle, if that is what it runs: the module that a command names below a root, both of which `place` tells.
/// It is compiled if that was not done before. The one that is a container's `first` may share a process with others.
pub fn program(
    bundle: &Bundle,
    first: Option<&Path>,
    place: impl FnOnce() -> Result<(PathBuf, Vec<String>), Failed>,
) -> Result<Option<Program>, Failed> {
    let Some(wasm) = &bundle.wasm else { return Ok(None) };
    let (root, args) = place()?;
    let wrong = |text: String| Failed { failure: Failure::Command, text };
    let name = args.first().ok_or_else(|| wrong("the command is empty".into()))?;
    // As a relative path is understood everywhere: from the working directory.
    let path = bundle.cwd.join(name);
    let bytes = read(&root, &path).map_err(|error| {
        wrong(match error.kind() {
            std::io::ErrorKind::NotFound => "no such file in the image".to_owned(),
            _ => error.to_string(),
        })
    })?;
    let before = descriptors()?;
    let cache = |error: Error| Failed::create("preparing the module", dunlin_base::error::chain(&error));
    let kept = Cache::open(&wasm.cache).map_err(cache)?;
    let code = kept.code(&bytes, compile).map_err(|error| match error {
        Error::NotWasm | Error::Large | Error::Compile(_) => wrong(error.to_string()),
        Error::Cache(_) => cache(error),
    })?;
    let shared = first.zip(wasm.share.as_ref());
    let file = shared.map(|_| code.file.try_clone()).transpose();
    let file = file.map_err(|e| Failed::create("opening the code", e))?;
    // Here, because components can be loaded only where there is a /proc.
    let loaded = dunlin_wasm::load(code).map_err(|e| Failed::create("loading the module", e))?;
    let handover = match shared.zip(file) {
        Some(((directory, share), file)) if loaded.serves() => {
            let handover = Handover::prepare(bundle, share, &kept.version(), file)?;
            share::note(directory);
            Some(handover)
        }
        _ => None,
    };
    Ok(Some(Program {
        loaded,
        descriptors: descriptors()?.difference(&before).copied().collect(),
        ports: wasm.ports.clone(),
        memory: wasm.memory,
        host_network: wasm.host_network,
        handover,
    }))
}

/// All open descriptors of this process.
fn descriptors() -> Result<BTreeSet<RawFd>, Failed> {
    let failed = |error: std::io::Error| Failed::create("listing descriptors", error);
    let entries = std::fs::read_dir("/proc/self/fd").map_err(failed)?.collect::<Result<Vec<_>, _>>();
    let names = entries.map_err(failed)?.into_iter().map(|entry| entry.file_name());
    let open: BTreeSet<RawFd> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    // The one by which they were read is closed again.
    // SAFETY: asking for the flags of any number is harmless.
    Ok(open.into_iter().filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0).collect())
}

/// Closes what an execution would close, and what the guest does not need.
fn close_all_but(kept: &BTreeSet<RawFd>) {
    let close = |first: RawFd, last: RawFd| {
        if first <= last {
            // SAFETY: nothing in this process uses these any more; their owners' destructors never run.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    };
    let mut first = 3;
    for fd in kept {
        close(first, fd - 1);
        first = fd + 1;
    }
    close(first, RawFd::MAX);
}

/// Reads a file below a root, whatever its symbolic links say.
fn read(root: &Path, path: &Path) -> std::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let root = open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // A pipe would make opening wait.
    let file = openat2(&root, path, flags | OFlags::NONBLOCK, Mode::empty(), resolve)?;
    if !FileType::from_raw_mode(fstat(&file)?.st_mode).is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    // One byte more than is compiled shows that it is too large.
    File::from(file).take(dunlin_wasm::LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Compiles in a process of its own that has no rights, little priority and bounded memory, and gives all of its memory
/// back at the end.
fn compile(kind: Kind, bytes: &[u8], mut file: &File) -> Result<(), String> {
    let pid = fork(|_| {
        let made = confine().and_then(|()| {
            let code = dunlin_wasm::compile(kind, bytes)?;
            file.write_all(&code).map_err(|e| format!("writing the compiled code: {e}"))
        });
        made.map_err(|text| Failed { failure: Failure::Command, text })
    });
    match wait(pid.map_err(|failed| failed.text)?).and_then(|status| status.exit_status()) {
        Some(0) => Ok(()),
        _ => Err("the compiler was ended, probably for want of memory".into()),
    }
}

/// What was tried, and why it failed.
fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}

fn confine() -> Result<(), String> {
    let most = Some(COMPILING);
    setrlimit(Resource::As, Rlimit { current: most, maximum: most }).map_err(failed("limiting memory"))?;
    // Whatever else the machine does comes first.
    let _ = rustix::process::setpriority_process(None, 10);
    let (user, group) = (rustix::fs::Uid::from_raw(NOBODY), rustix::fs::Gid::from_raw(NOBODY));
    rustix::thread::set_thread_groups(&[]).map_err(failed("leaving groups"))?;
    rustix::thread::set_thread_res_gid(group, group, group).map_err(failed("changing the group"))?;
    rustix::thread::set_thread_res_uid(user, user, user).map_err(failed("changing the user"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("giving up privileges"))
}

/// Runs the program, in the place where libcontainer has brought this process; never returns.
pub fn run(program: Program, command: &Command, spec: &Spec) -> Failed {
    // The engine's own handlers of faults stay, so signals are not set back.
    if let Err(failed) = command.last_steps() {
        return failed;
    }
    let process = spec.process().as_ref();
    let list = |list: Option<&Vec<String>>| list.cloned().unwrap_or_default();
    let env = list(process.and_then(|p| p.env().as_ref()));
    let guest = Guest {
        args: list(process.and_then(|p| p.args().as_ref())),
        env: env.iter().filter_map(|pair| pair.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect(),
        cwd: process.map_or_else(PathBuf::new, |p| p.cwd().clone()).display().to_string(),
        memory: program.memory,
        ports: program.ports,
        host_network: program.host_network,
    };
    let name = guest.args.first().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
    // What ps shows. A NUL byte cannot be in it, and no more than 15 bytes are taken.
    let name = format!("wasm {name}");
    dunlin_wasm::hold_signals();
    if let Some(handover) = program.handover {
        return handover.hand_over(guest, &name);
    }
    let _ = CString::new(name).map(|name| rustix::thread::set_name(&name));
    // As if a program had been executed: whoever waits for that learns that the guest runs.
    close_all_but(&program.descriptors);
    std::process::exit(dunlin_wasm::run(&program.loaded, &guest))
}
