//! Making a container and executing its first process.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use dunlin_shim::message::{Failure, Report};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;

use super::executor::{Command, tell, told};
use super::terminal::Console;
use super::{Failed, microvm, native, overlay, prepare, reasons, send, spec, wasm};
use crate::bundle::Bundle;

/// Makes the container of a bundle; on success its process runs and the shim knows.
pub fn run(directory: &Path, control: BorrowedFd<'_>) -> Result<(), Failed> {
    let bundle = Bundle::read(directory).map_err(|e| Failed::create("reading the bundle", e))?;
    prepare(&bundle);
    if let Some(native) = &bundle.native {
        return native::create(directory, &bundle, native, control);
    }
    if let Some(machine) = &bundle.microvm {
        return microvm::create(directory, &bundle, machine, control);
    }
    let root = directory.join("rootfs");
    overlay::mount_root(&bundle, directory, &root)?;
    overlay::make_directory(&root, &bundle.cwd, bundle.uid, bundle.gid).map_err(|e| Failed {
        failure: Failure::Spec,
        text: format!("working directory {}: {e}", bundle.cwd.display()),
    })?;
    let program = wasm::program(&bundle, Some(directory), || {
        let command = spec(directory)?.process().as_ref().and_then(|p| p.args().clone());
        Ok((root.clone(), command.unwrap_or_default()))
    })?;
    let (outcome, told_here) = pipe()?;
    let command = Command::new(&bundle, told_here.as_raw_fd()).with_guest(program);
    let console = if bundle.tty { Some(Console::listen(directory)?) } else { None };
    let builder = ContainerBuilder::new(bundle.container.clone(), SyscallType::default())
        .with_executor(command)
        .with_root_path(&bundle.state)
        .map_err(|e| Failed::create("preparing the container", reasons(&e)))?
        .with_console_socket(console.as_ref().map(|c| c.path().to_owned()));
    let built = builder.as_init(directory).with_systemd(false).as_sibling(false).with_detach(true).build();
    let mut container = match built {
        Ok(container) => container,
        Err(error) => {
            drop(told_here);
            // A reason from inside is more precise than what libcontainer makes of it.
            return Err(read_outcome(outcome)
                .unwrap_or_else(|| Failed { failure: Failure::Create, text: reasons(&error) }));
        }
    };
    let master = console.map(Console::receive).transpose()?;
    container.start().map_err(|e| Failed::create("starting the process", reasons(&e)))?;
    drop(told_here);
    if let Some(failed) = read_outcome(outcome) {
        return Err(failed);
    }
    let pid = container.pid().map_or(0, |pid| pid.as_raw() as u32);
    send(control, &Report::Started { pid }, master.as_ref().map(|m| m.as_fd()))
        .map_err(|e| Failed::create("reporting", e))
}

/// The pipe by which the new process tells why it could not execute; it closes when it could.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Failed> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| Failed::create("making a pipe", e))
}

/// Waits until the new process has executed or told why not.
pub fn read_outcome(outcome: OwnedFd) -> Option<Failed> {
    let mut bytes = Vec::new();
    let _ = std::fs::File::from(outcome).read_to_end(&mut bytes);
    told(&bytes)
}

/// Forks a process that executes something, or does something and ends, or tells why it cannot; waits until that is known.
pub fn fork(child: impl FnOnce(BorrowedFd<'_>) -> Result<(), Failed>) -> Result<i32, Failed> {
    let (outcome, told_here) = pipe()?;
    // SAFETY: this process has one thread, so the child may do whatever a process may.
    let pid = match unsafe { libc::fork() } {
        -1 => return Err(Failed::create("making a process", std::io::Error::last_os_error())),
        0 => {
            let result = child(told_here.as_fd());
            if let Err(failed) = &result {
                tell(&told_here, failed);
            }
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 127 }) }
        }
        pid => pid,
    };
    drop(told_here);
    match read_outcome(outcome) {
        Some(failed) => {
            let _ = wait(pid);
            Err(failed)
        }
        None => Ok(pid),
    }
}

/// Waits for the end of a child of this process.
pub fn wait(pid: i32) -> Option<rustix::process::WaitStatus> {
    let pid = rustix::process::Pid::from_raw(pid)?;
    let ended = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    ended.ok().flatten().map(|(_, status)| status)
}
