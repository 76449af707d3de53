//! What the first process finds: files, devices, network, limits.

use std::fs;
use std::io;
use std::path::Path;

use dunlin_guest::{Network, ROOT_TAG, Setup};

use super::Failed;
use crate::sys;
use crate::sys::net::Devices;

/// Where the root file system is mounted, until it becomes the root.
pub const ROOT: &str = "/root";
/// The root file system once more, without what is mounted over it.
const BARE: &str = "/bare";
/// The cgroup hierarchy, and the group of all processes.
const GROUPS: &str = "/groups";
/// The group's list of processes.
pub const MEMBERS: &str = "/groups/pod/cgroup.procs";

/// Character devices that every container has.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Makes the guest what the plan says.
pub fn prepare(setup: &Setup) -> Result<(), Failed> {
    let step = |what: &'static str| move |error: std::io::Error| Failed::create(what, error);
    sys::set_clock(setup.now).map_err(step("setting the guest's clock"))?;
    fs::write("/proc/sys/kernel/hostname", &setup.hostname).map_err(step("naming the guest"))?;
    // The limit is that of the group of processes, as for a container; what is asked for beyond it is not refused.
    fs::write("/proc/sys/vm/overcommit_memory", "1").map_err(step("setting up memory"))?;
    connect(setup.network.as_ref()).map_err(step("connecting the guest to the network"))?;
    for setting in &setup.settings {
        let (path, value) = setting.split_once('=').unwrap_or((setting, ""));
        fs::write(Path::new("/proc/sys").join(path), value)
            .map_err(|e| Failed::create(&format!("setting {path}"), e))?;
    }
    for folder in [ROOT, BARE, GROUPS] {
        fs::create_dir_all(folder).map_err(step("making folders"))?;
    }
    sys::mount(ROOT_TAG, ROOT, "virtiofs", 0, "").map_err(step("mounting the root file system"))?;
    sys::mount(ROOT, BARE, "", libc::MS_BIND, "").map_err(step("mounting the root file system"))?;
    devices(&setup.kept).map_err(step("making devices"))?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    sys::mount("sysfs", &format!("{ROOT}/sys"), "sysfs", flags | libc::MS_RDONLY, "")
        .map_err(step("mounting /sys"))?;
    limits(setup).map_err(step("limiting the guest's processes"))
}

fn connect(network: Option<&Network>) -> io::Result<()> {
    let devices = Devices::open()?;
    devices.set_flags("lo", libc::IFF_UP)?;
    let Some(network) = network else { return Ok(()) };
    // Others may still know the address as somebody else's.
    fs::write("/proc/sys/net/ipv4/conf/all/arp_notify", "1")?;
    devices.set_mtu("eth0", network.mtu)?;
    devices.set_address("eth0", network.address, false)?;
    devices.set_address("eth0", network.mask, true)?;
    devices.set_flags("eth0", libc::IFF_UP)?;
    if network.gateway != [0; 4] {
        devices.default_route(network.gateway)?;
    }
    Ok(())
}

fn devices(kept: &[String]) -> io::Result<()> {
    let dev = format!("{ROOT}/dev");
    sys::mount("tmpfs", &dev, "tmpfs", libc::MS_NOSUID, "mode=755,size=64k")?;
    // SAFETY: no memory is involved.
    unsafe { libc::umask(0) };
    for (name, major, minor) in DEVICES {
        let path = sys::c(&format!("{dev}/{name}"))?;
        // SAFETY: the path is a live NUL-terminated string.
        sys::check(unsafe {
            libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(major, minor))
        })?;
    }
    for (target, name) in LINKS {
        std::os::unix::fs::symlink(target, format!("{dev}/{name}"))?;
    }
    for folder in ["pts", "shm", "mqueue"] {
        fs::create_dir(format!("{dev}/{folder}"))?;
    }
    let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
    sys::mount("devpts", &format!("{dev}/pts"), "devpts", flags, "newinstance,ptmxmode=0666,mode=620,gid=5")?;
    sys::mount("tmpfs", &format!("{dev}/shm"), "tmpfs", flags | libc::MS_NODEV, "mode=1777")?;
    sys::mount("mqueue", &format!("{dev}/mqueue"), "mqueue", flags | libc::MS_NODEV, "")?;
    // SAFETY: no memory is involved.
    unsafe { libc::umask(0o022) };
    for path in kept {
        keep(path)?;
    }
    Ok(())
}

/// Brings a file or folder of the root file system back that the guest's `/dev` hides.
fn keep(path: &str) -> io::Result<()> {
    let (from, to) = (format!("{BARE}{path}"), format!("{ROOT}{path}"));
    if fs::metadata(&from)?.is_dir() {
        fs::create_dir_all(&to)?;
    } else {
        Path::new(&to).parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::File::create(&to)?;
    }
    sys::mount(&from, &to, "", libc::MS_BIND, "")
}

fn limits(setup: &Setup) -> io::Result<()> {
    sys::mount("cgroup2", GROUPS, "cgroup2", 0, "")?;
    fs::write(format!("{GROUPS}/cgroup.subtree_control"), "+memory +pids")?;
    fs::create_dir(format!("{GROUPS}/pod"))?;
    let set = |file: &str, value: String| fs::write(format!("{GROUPS}/pod/{file}"), value);
    set("memory.max", setup.memory.to_string())?;
    set("memory.oom.group", u8::from(setup.end_together).to_string())?;
    if setup.pids > 0 {
        set("pids.max", setup.pids.to_string())?;
    }
    Ok(())
}

/// Whether the kernel has killed a process for want of memory.
pub fn oom_killed() -> bool {
    let text = fs::read_to_string(format!("{GROUPS}/pod/memory.events")).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|n| n.trim() != "0")
}

/// Writes everything that is still in memory only.
pub fn sync() {
    // SAFETY: no memory is involved.
    unsafe { libc::sync() };
}

/// Switches the guest off.
pub fn power_off() -> ! {
    sync();
    // SAFETY: no memory is involved; the call does not return when it succeeds.
    unsafe { libc::reboot(libc::LINUX_REBOOT_CMD_POWER_OFF) };
    // A first process must not end: the kernel would panic, which ends the machine as well.
    std::process::exit(1)
}
