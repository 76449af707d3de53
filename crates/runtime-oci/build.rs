//! Builds the shim and the program of virtual machines as the programs they have to be (static, position-dependent, small)
//! and hands their paths and a hash of each to the library, which carries them inside.
//!
//! They need flags of their own, which no profile can give to one package, so they are built by a cargo of their own with
//! its own target directory. Everything they need has been fetched by the outer cargo, so this one stays offline.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["shim", "guest"] {
        build(name);
    }
}

fn build(name: &str) {
    let manifest = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join(format!("../{name}/Cargo.toml"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let target = env::var("TARGET").expect("cargo sets it");
    let target_dir = out.join("shim");
    for watched in ["src", "Cargo.toml"] {
        println!("cargo::rerun-if-changed=../{name}/{watched}");
    }
    let program = format!("dunlin-{name}");
    let mut command = Command::new(env::var("CARGO").expect("cargo sets it"));
    command
        .args([
            "build",
            "--release",
            "--offline",
            "--locked",
            "--quiet",
            "--bin",
            &program,
            "--target",
            &target,
        ])
        .arg("--manifest-path")
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target_dir)
        // Flags of the outer build are for the outer build.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env(
            "RUSTFLAGS",
            "-C target-feature=+crt-static -C relocation-model=static -C force-unwind-tables=no",
        );
    for (setting, value) in [
        ("OPT_LEVEL", "z"),
        ("LTO", "fat"),
        ("CODEGEN_UNITS", "1"),
        ("PANIC", "abort"),
        ("STRIP", "symbols"),
        ("DEBUG", "false"),
        ("INCREMENTAL", "false"),
        ("OVERFLOW_CHECKS", "false"),
        ("DEBUG_ASSERTIONS", "false"),
    ] {
        command.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    let status = command.status().expect("cargo can be started");
    assert!(status.success(), "building {program} failed: {command:?}");
    let built = target_dir.join(&target).join("release").join(&program);
    let bytes = fs::read(&built).expect("the program was just built");
    let variable = format!("DUNLIN_{}", name.to_uppercase());
    println!("cargo::rustc-env={variable}={}", built.display());
    println!("cargo::rustc-env={variable}_HASH={:016x}", fnv(&bytes));
}

/// FNV-1a. It only has to tell versions apart: what is installed is compared byte by byte before it is used.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
