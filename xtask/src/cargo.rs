//! Calls of cargo: one release profile for everything that is built to be run, so that dependencies compile once.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs cargo with `args` and fails when it fails.
pub fn cargo(args: &[&str]) -> Result<()> {
    println!("$ cargo {}", args.join(" "));
    let status = Command::new(env!("CARGO")).args(args).status().context("starting cargo")?;
    if !status.success() {
        bail!("cargo {} failed", args.join(" "));
    }
    Ok(())
}

/// Builds the program in the profile that every test runs, unless `DUNLIN_BIN` names one that is built already.
pub fn build() -> Result<()> {
    if std::env::var_os("DUNLIN_BIN").is_some() {
        return Ok(());
    }
    cargo(&["build", "--release", "--bin", "dunlin"])
}

/// All tests: unit, contract, and the outside-in suite against the built program.
pub fn test() -> Result<()> {
    // The tests of the program's own crate have it built beside them.
    cargo(&["test", "--release", "--workspace", "--all-features", "--no-fail-fast"])
}

/// Clippy and the documentation, warnings denied.
pub fn lint() -> Result<()> {
    cargo(&[
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ])?;
    // SAFETY: this program is single-threaded.
    unsafe { std::env::set_var("RUSTDOCFLAGS", "-D warnings") };
    cargo(&["doc", "--workspace", "--no-deps", "--all-features"])
}
