//! Which devices a container may open, in cgroup version 2: a small program that the kernel asks at every open and mknod.
//!
//! Version 1 has files for it, which libcontainer writes; for version 2 it would need libbpf, a C library, to attach the
//! same few instructions. Reference: bpf(2), and struct bpf_cgroup_dev_ctx in linux/bpf.h.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use crate::plan::config::Device;

const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;

/// What is allowed. `None` means any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    kind: u32,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

/// Every container: making nodes, and the devices that libcontainer makes for it.
fn usual() -> Vec<Rule> {
    let mut rules = vec![
        Rule { kind: CHARACTER, major: None, minor: None, access: MKNOD },
        Rule { kind: BLOCK, major: None, minor: None, access: MKNOD },
        // Terminals of the container's own devpts.
        Rule { kind: CHARACTER, major: Some(136), minor: None, access: READ | WRITE | MKNOD },
    ];
    // null, zero, full, random, urandom; tty, console, ptmx.
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        let access = READ | WRITE | MKNOD;
        rules.push(Rule { kind: CHARACTER, major: Some(major), minor: Some(minor), access });
    }
    rules
}

fn rule(device: &Device) -> Rule {
    let bits = [('m', MKNOD), ('r', READ), ('w', WRITE)];
    Rule {
        kind: if device.kind == 'b' { BLOCK } else { CHARACTER },
        major: Some(device.major),
        minor: Some(device.minor),
        access: bits.iter().filter(|(c, _)| device.access.contains(*c)).map(|(_, bit)| bit).sum(),
    }
}

/// One instruction (struct bpf_insn).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const COPY: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const SET: u8 = 0xb4; // BPF_ALU | BPF_MOV | BPF_K
const JUMP_UNEQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

fn i(code: u8, to: u8, from: u8, offset: i16, immediate: u32) -> Instruction {
    Instruction { code, registers: to | from << 4, offset, immediate: immediate as i32 }
}

/// Register 2 holds the kind, 3 the access, 4 the major and 5 the minor number; 1 points to them at first.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut code = vec![
        i(LOAD_WORD, 2, 1, 0, 0),
        i(COPY, 3, 2, 0, 0),
        i(AND, 2, 0, 0, 0xffff),
        i(SHIFT_RIGHT, 3, 0, 0, 16),
        i(LOAD_WORD, 4, 1, 4, 0),
        i(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        // Every test that fails jumps behind the rule; the distances are known when its length is.
        let mut tests = vec![
            i(JUMP_UNEQUAL, 2, 0, 0, rule.kind),
            i(COPY, 1, 3, 0, 0),
            i(AND, 1, 0, 0, !rule.access),
            i(JUMP_UNEQUAL, 1, 0, 0, 0),
        ];
        tests.extend(rule.major.map(|major| i(JUMP_UNEQUAL, 4, 0, 0, major)));
        tests.extend(rule.minor.map(|minor| i(JUMP_UNEQUAL, 5, 0, 0, minor)));
        let length = tests.len();
        for (n, test) in tests.iter_mut().enumerate().filter(|(_, test)| test.code == JUMP_UNEQUAL) {
            test.offset = (length - n - 1 + 2) as i16;
        }
        code.append(&mut tests);
        code.extend([i(SET, 0, 0, 0, 1), i(EXIT, 0, 0, 0, 0)]);
    }
    code.extend([i(SET, 0, 0, 0, 0), i(EXIT, 0, 0, 0, 0)]);
    code
}

/// Allows a cgroup the usual devices and those given, and nothing else.
pub fn allow_only(cgroup: &Path, devices: &[Device]) -> io::Result<()> {
    let mut rules = usual();
    rules.extend(devices.iter().map(rule));
    let code = program(&rules);
    let directory = File::open(cgroup)?;
    // struct bpf_attr begins so for BPF_PROG_LOAD and BPF_PROG_ATTACH; what follows is zero.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        rest: [u64; 12],
    }
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
        rest: [u64; 13],
    }
    const PROG_LOAD: u32 = 5;
    const PROG_ATTACH: u32 = 8;
    const CGROUP_DEVICE_PROGRAM: u32 = 15;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let load = Load {
        kind: CGROUP_DEVICE_PROGRAM,
        count: code.len() as u32,
        instructions: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        rest: [0; 12],
    };
    // SAFETY: both attributes are of the size that is told and live during the calls; the instructions are as many as
    // told; a descriptor that the kernel returns is owned by nobody else.
    unsafe {
        let program = match libc::syscall(libc::SYS_bpf, PROG_LOAD, &load, size_of::<Load>()) {
            fd if fd >= 0 => OwnedFd::from_raw_fd(fd as i32),
            _ => return Err(io::Error::last_os_error()),
        };
        let attach = Attach {
            target: directory.as_raw_fd() as u32,
            program: program.as_raw_fd() as u32,
            kind: CGROUP_DEVICE,
            flags: ALLOW_MULTI,
            rest: [0; 13],
        };
        // The program lives as long as the cgroup it is attached to.
        match libc::syscall(libc::SYS_bpf, PROG_ATTACH, &attach, size_of::<Attach>()) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;

    /// Runs the program as the kernel would.
    fn verdict(code: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> u32 {
        let context = [access << 16 | kind, major, minor];
        let mut r = [0u32; 6];
        let mut at = 0;
        loop {
            let i = code[at];
            at += 1;
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            match i.code {
                LOAD_WORD => r[to] = context[i.offset as usize / 4],
                AND => r[to] &= i.immediate as u32,
                SHIFT_RIGHT => r[to] >>= i.immediate,
                COPY => r[to] = r[from],
                SET => r[to] = i.immediate as u32,
                JUMP_UNEQUAL if r[to] != i.immediate as u32 => at += i.offset as usize,
                JUMP_UNEQUAL => {}
                EXIT => return r[0],
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn disk() -> Device {
        Device {
            path: "/dev/x".into(),
            kind: 'b',
            major: 8,
            minor: 1,
            mode: 0,
            uid: 0,
            gid: 0,
            access: "r".into(),
        }
    }

    #[test]
    fn verdicts() {
        let mut rules = usual();
        rules.push(rule(&disk()));
        let code = program(&rules);
        assert_eq!(verdict(&code, CHARACTER, READ | WRITE, 1, 3), 1);
        assert_eq!(verdict(&code, CHARACTER, READ, 136, 17), 1);
        assert_eq!(verdict(&code, CHARACTER, MKNOD, 99, 99), 1);
        assert_eq!(verdict(&code, CHARACTER, READ, 1, 11), 0);
        assert_eq!(verdict(&code, CHARACTER, MKNOD | READ, 1, 11), 0);
        assert_eq!(verdict(&code, BLOCK, READ, 8, 1), 1);
        assert_eq!(verdict(&code, BLOCK, READ | WRITE, 8, 1), 0);
        assert_eq!(verdict(&code, BLOCK, READ, 8, 0), 0);
        assert_eq!(verdict(&code, BLOCK, READ, 1, 3), 0);
    }

    /// On this kernel, in whatever version 2 hierarchy is mounted; as root.
    #[test]
    fn the_kernel_takes_it() {
        let info = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let Some(mount) = info.lines().find(|l| l.contains(" - cgroup2 ")).and_then(|l| l.split(' ').nth(4))
        else {
            eprintln!("no cgroup version 2 hierarchy is mounted here");
            return;
        };
        let cgroup = Path::new(mount).join(format!("dunlin-devices-{}", std::process::id()));
        std::fs::create_dir(&cgroup).unwrap();
        let result = allow_only(&cgroup, &[]);
        let reads = |device: &str| {
            let procs = cgroup.join("cgroup.procs");
            let mut command = std::process::Command::new("/usr/bin/head");
            command.args(["-c0", device]).stderr(std::process::Stdio::null());
            // SAFETY: a single write of a file, in the child of a test.
            unsafe { command.pre_exec(move || std::fs::write(&procs, "0")) };
            command.status().unwrap().success()
        };
        let seen = (reads("/dev/zero"), reads("/dev/kmsg"));
        std::fs::remove_dir(&cgroup).unwrap();
        result.unwrap();
        assert_eq!(seen, (true, false));
    }
}
