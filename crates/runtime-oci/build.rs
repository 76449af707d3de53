//! Builds the shim as the program it has to be (static, position-dependent, small) and hands its path and a hash to the
//! library, which carries it inside.
//!
//! It needs flags of its own, which no profile can give to one package, so it is built by a cargo of its own with its
//! own target directory. Everything it needs has been fetched by the outer cargo, so this one stays offline.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let manifest =
        Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../shim/Cargo.toml");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let target = env::var("TARGET").expect("cargo sets it");
    let target_dir = out.join("shim");
    for watched in ["../shim/src", "../shim/Cargo.toml", "build.rs"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let mut command = Command::new(env::var("CARGO").expect("cargo sets it"));
    command
        .args([
            "build",
            "--release",
            "--offline",
            "--locked",
            "--quiet",
            "--bin",
            "dunlin-shim",
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
    assert!(status.success(), "building the shim failed: {command:?}");
    let program = target_dir.join(&target).join("release/dunlin-shim");
    let bytes = fs::read(&program).expect("the shim was just built");
    println!("cargo::rustc-env=DUNLIN_SHIM={}", program.display());
    println!("cargo::rustc-env=DUNLIN_SHIM_HASH={:016x}", fnv(&bytes));
}

/// FNV-1a. It only has to tell versions apart: what is installed is compared byte by byte before it is used.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
