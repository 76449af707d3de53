//! Becoming the user of a process: ids, groups and capabilities (capabilities(7)).

use std::io::Result;

use super::check;

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;
/// More than any kernel has; those that it does not know are refused by it and left.
const MOST: u64 = 63;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up what the process shall not have.
pub fn become_user(uid: u32, gid: u32, groups: &[u32], capabilities: u64, no_new: bool) -> Result<()> {
    let half = |shift: u32| {
        let part = (capabilities >> shift) as u32;
        Data { effective: part, permitted: part, inheritable: 0 }
    };
    let (header, data) = (Header { version: VERSION, pid: 0 }, [half(0), half(32)]);
    // SAFETY: prctl with integers only; the list of groups is as long as it says; capset reads a header and two halves, as
    // this version has it. The process has one thread.
    unsafe {
        for capability in (0..MOST).filter(|n| capabilities & (1 << n) == 0) {
            libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0);
        }
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
        check(libc::setgroups(groups.len(), groups.as_ptr()))?;
        check(libc::setresgid(gid, gid, gid))?;
        check(libc::setresuid(uid, uid, uid))?;
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 0, 0, 0, 0))?;
        check(libc::syscall(libc::SYS_capset, &header, data.as_ptr()) as libc::c_int)?;
        if no_new {
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        }
    }
    Ok(())
}
