//! A container as a virtual machine of its own: how large it is, what QEMU is told, what the guest becomes. Pure.

use std::path::{Path, PathBuf};

use dunlin_guest::{FS_FD, Machine, PORT, Process, QEMU_FDS, ROOT_TAG, Setup};
use dunlin_runtime::{ContainerSpec, Error, Resources, SandboxSpec};

use crate::paths::text;
use crate::plan::capabilities;
use crate::plan::config::environment;
use crate::plan::validate::sysctl_path;

const MIB: u64 = 1 << 20;
/// What a container gets that says nothing of memory.
const DEFAULT_MEMORY: u64 = 128 * MIB;
/// What the guest's kernel and agent need beside the container's processes. Debian's cloud kernel keeps 39 MiB to itself
/// and uses about 30 more after its start; with less, a small container's limit would not be all its own.
const GUEST_KERNEL: u64 = 80 * MIB;
/// What QEMU, the server of files and the monitor need beside the guest's memory; measured with
/// `cargo test -p dunlin-runtime-oci --test it microvm::figures -- --nocapture`. An emulated processor has translated
/// code besides.
const OVERHEAD: u64 = 96 * MIB;
const TRANSLATED: u64 = 64;
/// Threads of the machine's own; the container's processes are counted in the guest.
const THREADS: u64 = 512;

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU, by translating them: many times slower.
    Tcg,
}

impl Accelerator {
    /// As a label and an event name it.
    pub fn name(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        }
    }
}

/// What this machine runs virtual machines with.
#[derive(Debug, Clone)]
pub struct Host {
    /// The installed program of both sides.
    pub program: PathBuf,
    /// QEMU.
    pub qemu: PathBuf,
    /// The server of files, virtiofsd.
    pub files: PathBuf,
    /// The guests' kernel.
    pub kernel: PathBuf,
    /// Their first file system; none for guests that bring their own kernel.
    pub initrd: Option<PathBuf>,
    /// What was found to work.
    pub accelerator: Accelerator,
}

/// How large a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// The container's processes, bytes.
    pub container: u64,
    /// The guest's memory, bytes.
    pub guest: u64,
    /// Processors.
    pub processors: u64,
}

impl Host {
    /// The size that limits mean on a machine with so many processors.
    pub fn size(&self, resources: &Resources, processors: u64) -> Size {
        let container = resources.memory_limit.unwrap_or(DEFAULT_MEMORY).next_multiple_of(MIB);
        let wanted = resources.cpu_limit_milli.map_or(1, |milli| milli.div_ceil(1000));
        let processors = wanted.clamp(1, processors.max(1));
        Size { container, guest: container + self.kernel_memory(), processors }
    }

    /// What the guest needs besides its processes: nothing if it is one program.
    fn kernel_memory(&self) -> u64 {
        if self.initrd.is_some() { GUEST_KERNEL } else { 0 }
    }

    fn overhead(&self) -> u64 {
        match self.accelerator {
            Accelerator::Kvm => OVERHEAD,
            Accelerator::Tcg => OVERHEAD + TRANSLATED * MIB,
        }
    }

    /// The limits of a machine as the host sees it.
    pub fn limits(&self, resources: &Resources) -> Resources {
        let memory = self.size(resources, 1).guest + self.overhead();
        Resources { memory_limit: Some(memory), pids_limit: Some(THREADS), ..resources.clone() }
    }

    /// A pod's limits: those of its containers, of which one runs at a time, and what a machine needs besides.
    pub fn pod_limits(&self, resources: &Resources) -> Resources {
        let besides = self.kernel_memory() + self.overhead() + MIB;
        Resources { memory_limit: resources.memory_limit.map(|limit| limit + besides), ..resources.clone() }
    }
}

/// This machine's processors.
pub fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

/// What this runtime cannot do for a sandbox.
pub fn refused_sandbox(spec: &SandboxSpec) -> Result<(), Error> {
    let no = |field: &str, reason: &str| Err(Error::Spec { field: field.into(), reason: reason.into() });
    if spec.host_network {
        return no(
            "hostNetwork",
            "a virtual machine has a network of its own: leave it out, or choose another class",
        );
    }
    if spec.host_pid || spec.host_ipc {
        return no(
            "hostPID, hostIPC",
            "a virtual machine has a kernel of its own and sees nothing of the host's",
        );
    }
    Ok(())
}

/// What is to run where: everything but the port's other end.
pub fn machine(
    spec: &ContainerSpec,
    sandbox: &SandboxSpec,
    host: &Host,
    granted: &[&str],
    root: &Path,
    end_together: bool,
) -> Machine {
    let size = host.size(&spec.resources, processors());
    let mut machine = bare(host, size.guest, size.processors);
    machine.files = [
        text(&host.files),
        format!("--fd={FS_FD}"),
        "-o".into(),
        format!("source={}", text(root)),
        "-o".into(),
        "sandbox=namespace,cache=auto,xattr,announce_submounts,log_level=err".into(),
        "-f".into(),
    ]
    .into();
    machine.qemu.extend([
        "-chardev".into(),
        format!("socket,id=files,fd={}", QEMU_FDS[2]),
        "-device".into(),
        format!("vhost-user-fs-pci,chardev=files,tag={ROOT_TAG}"),
    ]);
    machine.network = true;
    machine.setup = Setup {
        hostname: sandbox.hostname.clone(),
        now: 0,
        network: None,
        kept: spec.mounts.iter().map(|m| text(&m.target)).filter(|path| path.starts_with("/dev/")).collect(),
        masked: spec.masked_paths.clone(),
        read_only: spec.readonly_paths.clone(),
        settings: sandbox
            .sysctls
            .iter()
            .map(|(name, value)| format!("{}={value}", sysctl_path(name)))
            .collect(),
        memory: size.container,
        pids: spec.resources.pids_limit.unwrap_or(0),
        end_together,
        process: Process {
            args: spec.args.clone(),
            env: environment(spec),
            cwd: text(&spec.cwd),
            uid: spec.uid,
            gid: spec.gid,
            groups: spec.additional_gids.clone(),
            capabilities: capabilities::bits(granted),
            no_new_privileges: spec.no_new_privileges,
            tty: spec.tty,
        },
    };
    machine
}

/// The least machine whose agent can say that it listens.
pub fn bare(host: &Host, memory: u64, processors: u64) -> Machine {
    let memory = format!("{}M", memory / MIB);
    let (accelerator, processor) = match host.accelerator {
        Accelerator::Kvm => ("kvm".to_owned(), "host"),
        Accelerator::Tcg => (format!("tcg,thread=multi,tb-size={TRANSLATED}"), "max"),
    };
    let mut qemu = vec![text(&host.qemu)];
    let mut add = |name: &str, value: String| qemu.extend([name.to_owned(), value]);
    add("-machine", "q35,memory-backend=memory,sata=off,smbus=off,usb=off,vmport=off".into());
    add("-accel", accelerator);
    add("-cpu", processor.into());
    add("-smp", processors.to_string());
    add("-m", memory.clone());
    // The server of files reads and writes the guest's memory.
    add("-object", format!("memory-backend-memfd,id=memory,size={memory},share=on"));
    add("-display", "none".into());
    add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".into());
    add("-chardev", format!("socket,id=console,fd={}", QEMU_FDS[1]));
    add("-serial", "chardev:console".into());
    add("-kernel", text(&host.kernel));
    if let Some(initrd) = &host.initrd {
        add("-chardev", format!("socket,id=port,fd={}", QEMU_FDS[0]));
        add("-device", "virtio-serial-pci".into());
        add("-device", format!("virtserialport,chardev=port,name={PORT}"));
        add("-initrd", text(initrd));
        // A panic restarts the machine, and a restart ends it.
        add("-append", "console=ttyS0 quiet panic=-1 no_timer_check i8042.noaux i8042.nokbd".into());
    } else {
        add("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04".into());
    }
    qemu.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned));
    Machine { qemu, console: host.initrd.is_none(), ..Machine::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let limited = |memory, milli| Resources {
            memory_limit: memory,
            cpu_limit_milli: milli,
            ..Resources::default()
        };
        let place = PathBuf::new;
        let host = |initrd: Option<PathBuf>| Host {
            program: place(),
            qemu: place(),
            files: place(),
            kernel: place(),
            initrd,
            accelerator: Accelerator::Tcg,
        };
        let linux = host(Some(place()));
        let of = |memory, milli| {
            let size = linux.size(&limited(memory, milli), 4);
            (size.container / MIB, size.guest / MIB, size.processors)
        };
        assert_eq!(of(None, None), (128, 208, 1));
        assert_eq!(of(Some(64 * MIB + 1), Some(1001)), (65, 145, 2));
        assert_eq!(of(Some(1), Some(64_000)), (1, 81, 4));
        assert_eq!(host(None).size(&limited(Some(8 * MIB), None), 4).guest, 8 * MIB);
        let limits = linux.limits(&limited(Some(64 * MIB), None));
        assert_eq!(limits.memory_limit, Some((64 + 80 + 96 + 64) * MIB));
        // All of a pod's containers fit below its limit.
        assert!(linux.pod_limits(&limited(Some(64 * MIB), None)).memory_limit >= limits.memory_limit);
        assert_eq!(linux.pod_limits(&limited(None, None)).memory_limit, None);
    }
}
