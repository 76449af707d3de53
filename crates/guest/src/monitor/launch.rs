//! Starting QEMU and the server of the guest's files.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use dunlin_guest::{ADDRESS, FS_FD, Machine, QEMU_FDS};

use super::network;
use crate::port::Port;
use crate::sys;

/// Where the server of files listens, in the bundle.
const FILES: &str = "files.sock";

/// A machine that runs.
pub struct Running {
    /// The port to its agent.
    pub port: Port,
    /// Its console.
    pub console: OwnedFd,
    /// What QEMU and the server of files complain about.
    pub errors: OwnedFd,
    children: Vec<i32>,
}

impl Running {
    /// Whether it ends with this process.
    pub fn is(&self, pid: i32) -> bool {
        self.children.contains(&pid)
    }

    /// Ends it.
    pub fn kill(&self) {
        self.children.iter().for_each(|pid| sys::kill(*pid, libc::SIGKILL));
    }
}

/// Starts the machine in the current directory; its plan learns of its network.
pub fn launch(machine: &mut Machine) -> Result<Running> {
    let (console, their_console) = UnixStream::pair()?;
    let (errors, their_errors) = UnixStream::pair()?;
    let (port, their_port) = UnixStream::pair()?;
    console.set_nonblocking(true)?;
    errors.set_nonblocking(true)?;
    let mut children = Vec::new();
    let mut descriptors = vec![(OwnedFd::from(their_port), QEMU_FDS[0])];
    descriptors.push((their_console.into(), QEMU_FDS[1]));
    if !machine.files.is_empty() {
        // A socket file of an earlier machine would be in the way.
        let _ = std::fs::remove_file(FILES);
        let listener = UnixListener::bind(FILES)?;
        // The connection waits until the server accepts it.
        descriptors.push((UnixStream::connect(FILES)?.into(), QEMU_FDS[2]));
        children.push(start(&machine.files, vec![(listener.into(), FS_FD)], &their_errors, false)?);
    }
    let wire = if machine.network { network::wire()? } else { None };
    let known = wire.as_ref().map(|wire| wire.text());
    for word in machine.qemu.iter_mut().filter(|word| word.contains(ADDRESS)) {
        *word = addressed(word, known.as_deref());
    }
    if let Some(wire) = wire {
        let hardware = wire.hardware.map(|byte| format!("{byte:02x}")).join(":");
        machine.qemu.extend([
            "-netdev".to_owned(),
            format!("tap,id=net,fd={}", QEMU_FDS[3]),
            "-device".to_owned(),
            // Without a file for it there is no network card to boot from, which takes time.
            format!("virtio-net-pci,netdev=net,mac={hardware},romfile="),
        ]);
        machine.setup.network = Some(wire.network);
        descriptors.push((wire.tap, QEMU_FDS[3]));
    }
    let started = start(&machine.qemu, descriptors, &their_errors, true);
    match started {
        Ok(pid) => {
            children.push(pid);
            let port = Port::new(port.into())?;
            Ok(Running { port, console: console.into(), errors: errors.into(), children })
        }
        Err(error) => {
            children.iter().for_each(|pid| sys::kill(*pid, libc::SIGKILL));
            Err(error)
        }
    }
}

/// A command line with the guest's address where it is wanted; without one the words that want it are left out.
fn addressed(line: &str, address: Option<&str>) -> String {
    match address {
        Some(address) => line.replace(ADDRESS, address),
        None => line.split(' ').filter(|word| !word.contains(ADDRESS)).collect::<Vec<_>>().join(" "),
    }
}

/// Starts a program that dies with this one, with descriptors at their numbers. QEMU, which a guest attacks first, keeps the
/// user that may open its files, and no capability.
fn start(
    words: &[String],
    descriptors: Vec<(OwnedFd, RawFd)>,
    errors: &UnixStream,
    powerless: bool,
) -> Result<i32> {
    let (program, args) = words.split_first().ok_or_else(|| Error::other("no program is named"))?;
    let mut high = Vec::new();
    for (fd, at) in &descriptors {
        high.push((sys::moved_up(fd.as_raw_fd(), 20)?, *at));
    }
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(OwnedFd::from(errors.try_clone()?));
    // SAFETY: between fork and exec only async-signal-safe calls are made; the descriptors stay open until then.
    unsafe {
        command.pre_exec(move || {
            for (fd, at) in &high {
                sys::place(fd.as_raw_fd(), *at)?;
            }
            if powerless {
                sys::user::become_user(0, 0, &[], 0, true)?;
            }
            // Last, because the kernel forgets it when a process changes what it may do.
            sys::end_with_parent()?;
            sys::default_signals();
            Ok(())
        });
    }
    let child = command.spawn().map_err(|e| Error::new(e.kind(), format!("{program}: {e}")))?;
    Ok(child.id() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_put_in_or_left_out() {
        let line = "kernel netdev.ip=@address@ -- run";
        assert_eq!(
            addressed(line, Some("10.0.0.2/24:10.0.0.1")),
            "kernel netdev.ip=10.0.0.2/24:10.0.0.1 -- run"
        );
        assert_eq!(addressed(line, None), "kernel -- run");
    }
}
