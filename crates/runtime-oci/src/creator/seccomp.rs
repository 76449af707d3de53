//! The default seccomp filter, assembled by hand.
//!
//! It refuses what the usual runtimes' default profiles refuse: kernel keys, modules, mounts, other namespaces, io_uring
//! and the like, each unless the capability that governs it is granted. Everything else is allowed, where those profiles
//! list what is allowed; a system call that a new kernel brings is therefore open here until it is added. Reference:
//! seccomp(2), and the table of blocked calls in Docker's documentation "Seccomp security profiles".

use std::io;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const GREATER_OR_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in struct seccomp_data; the low half of an argument comes first on little-endian machines.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENT_0: u32 = 16;

/// Flags of clone(2) that make namespaces.
const NAMESPACES: u32 = 0x7e02_0000;

#[cfg(target_arch = "x86_64")]
const OURS: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const OURS: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OURS: Option<u32> = None;

/// A filter ready to be installed.
#[derive(Debug, Clone)]
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// Installs it in this process; needs no-new-privileges or `CAP_SYS_ADMIN`.
    pub fn install(&self) -> io::Result<()> {
        let program = libc::sock_fprog { len: self.0.len() as u16, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: the program points to as many instructions as it says, and the kernel only reads them.
        let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &program) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// System calls that are refused unless the capability is granted; an empty name is never granted.
fn guarded() -> Vec<(&'static str, Vec<libc::c_long>)> {
    use libc::*;
    let mut all = vec![
        (
            "",
            vec![
                SYS_add_key,
                SYS_keyctl,
                SYS_request_key,
                SYS_pivot_root,
                SYS_swapon,
                SYS_swapoff,
                SYS_userfaultfd,
                SYS_nfsservctl,
                SYS_io_uring_setup,
                SYS_io_uring_enter,
                SYS_io_uring_register,
            ],
        ),
        (
            "CAP_SYS_ADMIN",
            vec![
                SYS_bpf,
                SYS_fanotify_init,
                SYS_fsconfig,
                SYS_fsmount,
                SYS_fsopen,
                SYS_fspick,
                SYS_lookup_dcookie,
                SYS_mount,
                SYS_mount_setattr,
                SYS_move_mount,
                SYS_open_tree,
                SYS_perf_event_open,
                SYS_quotactl,
                SYS_setdomainname,
                SYS_sethostname,
                SYS_setns,
                SYS_umount2,
                SYS_unshare,
            ],
        ),
        ("CAP_SYS_BOOT", vec![SYS_reboot, SYS_kexec_load]),
        ("CAP_SYS_MODULE", vec![SYS_delete_module, SYS_init_module, SYS_finit_module]),
        ("CAP_SYS_PACCT", vec![SYS_acct]),
        ("CAP_SYS_PTRACE", vec![SYS_kcmp, SYS_process_madvise, SYS_process_vm_readv, SYS_process_vm_writev]),
        ("CAP_SYS_TIME", vec![SYS_settimeofday, SYS_clock_settime]),
        ("CAP_SYS_TTY_CONFIG", vec![SYS_vhangup]),
        ("CAP_SYS_CHROOT", vec![SYS_chroot]),
        ("CAP_SYSLOG", vec![SYS_syslog]),
        ("CAP_DAC_READ_SEARCH", vec![SYS_open_by_handle_at]),
        (
            "CAP_SYS_NICE",
            vec![SYS_get_mempolicy, SYS_mbind, SYS_set_mempolicy, SYS_move_pages, SYS_migrate_pages],
        ),
    ];
    #[cfg(target_arch = "x86_64")]
    all.extend([
        ("", vec![SYS_uselib, SYS_ustat, SYS_sysfs, SYS__sysctl]),
        ("CAP_SYS_RAWIO", vec![SYS_iopl, SYS_ioperm]),
        ("CAP_SYS_BOOT", vec![SYS_kexec_file_load]),
    ]);
    all
}

/// The filter for a container with these capabilities; `None` on an architecture for which there is none.
pub fn default_filter(capabilities: &[String]) -> Option<Filter> {
    let ours = OURS?;
    let has = |name: &str| capabilities.iter().any(|c| c == name);
    let mut code = Vec::new();
    let mut put = |op: u16, jt: u8, jf: u8, k: u32| code.push(libc::sock_filter { code: op, jt, jf, k });
    let refuse = |errno: i32| ERRNO | errno as u32;
    // Another architecture's numbers mean other calls; such programs do not run here.
    put(LOAD, 0, 0, ARCHITECTURE);
    put(EQUAL, 1, 0, ours);
    put(RETURN, 0, 0, refuse(libc::ENOSYS));
    put(LOAD, 0, 0, NUMBER);
    if cfg!(target_arch = "x86_64") {
        // The x32 numbers reach the same calls by another way.
        put(GREATER_OR_EQUAL, 0, 1, 0x4000_0000);
        put(RETURN, 0, 0, refuse(libc::ENOSYS));
    }
    for number in
        guarded().into_iter().filter(|(capability, _)| !has(capability)).flat_map(|(_, numbers)| numbers)
    {
        put(EQUAL, 0, 1, number as u32);
        put(RETURN, 0, 0, refuse(libc::EPERM));
    }
    if !has("CAP_SYS_ADMIN") {
        // Its flags are behind a pointer, where a filter cannot look; the C libraries then use clone.
        put(EQUAL, 0, 1, libc::SYS_clone3 as u32);
        put(RETURN, 0, 0, refuse(libc::ENOSYS));
        put(EQUAL, 0, 4, libc::SYS_clone as u32);
        put(LOAD, 0, 0, ARGUMENT_0);
        put(ANY_BIT, 0, 1, NAMESPACES);
        put(RETURN, 0, 0, refuse(libc::EPERM));
        put(RETURN, 0, 0, ALLOW);
    }
    // Sockets to the hypervisor know no namespaces.
    put(EQUAL, 0, 3, libc::SYS_socket as u32);
    put(LOAD, 0, 0, ARGUMENT_0);
    put(EQUAL, 0, 1, libc::AF_VSOCK as u32);
    put(RETURN, 0, 0, refuse(libc::EPERM));
    put(RETURN, 0, 0, ALLOW);
    Some(Filter(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would, on a call's number and first argument.
    fn verdict(filter: &Filter, number: i64, argument: u32) -> u32 {
        let mut accumulator = 0;
        let mut at = 0;
        loop {
            let i = &filter.0[at];
            at += 1;
            let jump = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
            match i.code {
                LOAD => {
                    accumulator = match i.k {
                        NUMBER => number as u32,
                        ARCHITECTURE => OURS.unwrap(),
                        _ => argument,
                    }
                }
                EQUAL => at += jump(accumulator == i.k),
                GREATER_OR_EQUAL => at += jump(accumulator >= i.k),
                ANY_BIT => at += jump(accumulator & i.k != 0),
                RETURN => return i.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn verdicts() {
        let Some(filter) = default_filter(&[]) else { return };
        let eperm = ERRNO | libc::EPERM as u32;
        let enosys = ERRNO | libc::ENOSYS as u32;
        assert_eq!(verdict(&filter, libc::SYS_read, 0), ALLOW);
        assert_eq!(verdict(&filter, libc::SYS_mount, 0), eperm);
        assert_eq!(verdict(&filter, libc::SYS_keyctl, 0), eperm);
        assert_eq!(verdict(&filter, libc::SYS_clone3, 0), enosys);
        assert_eq!(verdict(&filter, libc::SYS_clone, libc::SIGCHLD as u32), ALLOW);
        assert_eq!(verdict(&filter, libc::SYS_clone, libc::CLONE_NEWUSER as u32), eperm);
        assert_eq!(verdict(&filter, libc::SYS_socket, libc::AF_INET as u32), ALLOW);
        assert_eq!(verdict(&filter, libc::SYS_socket, libc::AF_VSOCK as u32), eperm);
        let Some(admin) = default_filter(&["CAP_SYS_ADMIN".to_owned()]) else { return };
        assert_eq!(verdict(&admin, libc::SYS_mount, 0), ALLOW);
        assert_eq!(verdict(&admin, libc::SYS_clone, libc::CLONE_NEWUSER as u32), ALLOW);
        assert_eq!(verdict(&admin, libc::SYS_socket, libc::AF_VSOCK as u32), eperm);
        assert_eq!(verdict(&admin, libc::SYS_keyctl, 0), eperm);
    }
}
