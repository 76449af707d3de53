//! An image that is a kernel: which file it is, what it is told, and the smallest one there is. Pure.

use std::path::{Path, PathBuf};

use dunlin_guest::{ADDRESS, Machine, PROBED};
use dunlin_runtime::ContainerSpec;

use super::microvm::{Host, bare, processors};
use crate::paths::text;

/// Where images of the Unikraft project have their kernel. Their commands are its arguments and do not name it.
pub const UNIKRAFT: &str = "/unikraft/bin/kernel";

/// The kernel's path in the image: Unikraft's, or what the command begins with.
pub fn kernel(spec: &ContainerSpec, unikraft: bool) -> PathBuf {
    if unikraft { PathBuf::from(UNIKRAFT) } else { PathBuf::from(&spec.args[0]) }
}

/// What is to run; `kernel` is where the host will find the image's.
pub fn machine(spec: &ContainerSpec, host: &Host, kernel: &Path, unikraft: bool) -> Machine {
    let size = host.size(&spec.resources, processors());
    let host = Host { kernel: kernel.to_owned(), ..host.clone() };
    let mut machine = bare(&host, size.guest, size.processors);
    // Unikraft's libraries take their parameters before `--`, and its programs their arguments after it.
    let words = if unikraft {
        [&["kernel".to_owned(), format!("netdev.ip={ADDRESS}"), "--".to_owned()], spec.args.as_slice()]
            .concat()
    } else {
        spec.args[1..].to_vec()
    };
    machine.qemu.extend(["-append".to_owned(), words.join(" ")]);
    machine.network = true;
    machine
}

/// A kernel that ends QEMU with the code by which a probe knows it: an ELF file for 32 bits with a multiboot header (the
/// Multiboot Specification 0.6.96, 3.1), its code, and nothing else.
pub fn smallest() -> Vec<u8> {
    const LOADED: u32 = 0x10_0000;
    const HEADERS: u32 = 52 + 32;
    const MULTIBOOT: [u32; 3] = [0x1bad_b002, 0, 0x1bad_b002u32.wrapping_neg()];
    // mov dx, 0xf4; mov al, half the code; out dx, al; hlt.
    let code = [0x66, 0xba, 0xf4, 0x00, 0xb0, (PROBED >> 1) as u8, 0xee, 0xf4];
    let size = HEADERS + 12 + code.len() as u32;
    let mut file = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |file: &mut Vec<u8>, words: &[u16]| words.iter().for_each(|w| file.extend(w.to_le_bytes()));
    let word = |file: &mut Vec<u8>, words: &[u32]| words.iter().for_each(|w| file.extend(w.to_le_bytes()));
    // An executable for the 386; entry, program headers, no sections.
    half(&mut file, &[2, 3]);
    word(&mut file, &[1, LOADED + HEADERS + 12, 52, 0, 0]);
    half(&mut file, &[52, 32, 1, 0, 0, 0]);
    // The whole file, to be read and executed.
    word(&mut file, &[1, 0, LOADED, LOADED, size, size, 5, 0x1000]);
    word(&mut file, &MULTIBOOT);
    file.extend(code);
    file
}

/// Whether one of the layers has Unikraft's kernel. What it really is shows when it is opened.
pub fn is_unikraft(layers: &[PathBuf]) -> bool {
    let path = UNIKRAFT.trim_start_matches('/');
    layers.iter().any(|layer| layer.join(path).symlink_metadata().is_ok())
}

/// The image's kernel in a bundle, where the creator puts it.
pub fn place(bundle: &Path) -> PathBuf {
    PathBuf::from(text(bundle)).join("kernel")
}
