//! `fuzz [SECONDS]`: every target of `crates/fuzz-targets` for a while, each on from what it learned before.

use std::process::Command;

use anyhow::{Context, Result, bail};
use dunlin_testkit::program::workspace;

/// How long each target runs if nothing else is said.
const SECONDS: &str = "60";

/// Runs all targets and reports those that found something.
pub fn run(seconds: Option<&str>) -> Result<()> {
    let seconds: u32 = seconds.unwrap_or(SECONDS).parse().context("the time for each target, in seconds")?;
    let folder = workspace().join("fuzz");
    let cargo = |args: &[&str]| -> Result<std::process::ExitStatus> {
        println!("$ cargo {}", args.join(" "));
        let mut command = Command::new(env!("CARGO"));
        // The instrumentation is behind flags that the stable compiler has, but hides.
        command.args(args).current_dir(&folder).env("RUSTC_BOOTSTRAP", "1").status().context("starting cargo")
    };
    if !Command::new(env!("CARGO")).args(["fuzz", "--version"]).output()?.status.success() {
        bail!("cargo-fuzz is not installed: cargo install cargo-fuzz --locked");
    }
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).context("fuzz/Cargo.toml")?;
    let mut found = Vec::new();
    for target in targets(&manifest) {
        let corpus = format!("corpus/{target}");
        std::fs::create_dir_all(folder.join(&corpus))?;
        let time = format!("-max_total_time={seconds}");
        // No address sanitizer: the parsers are safe Rust, where a bug is a panic, an overflow, or time and memory
        // without end, and without it twice as much is tried.
        let ended = cargo(&[
            "fuzz",
            "run",
            "--fuzz-dir",
            ".",
            "--sanitizer",
            "none",
            target,
            &corpus,
            &format!("seeds/{target}"),
            "--",
            &time,
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ])?;
        if !ended.success() {
            found.push(target);
        }
    }
    if !found.is_empty() {
        bail!(
            "{} found something: the inputs are in fuzz/artifacts/; docs/how-to/fuzz.md says what to do with them",
            found.join(", ")
        );
    }
    Ok(())
}

/// The names of the binaries.
fn targets(manifest: &str) -> Vec<&str> {
    let sections = manifest.split("[[bin]]").skip(1);
    sections.filter_map(|section| section.split("name = \"").nth(1)?.split('"').next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_binaries() {
        let manifest =
            "[package]\nname = \"x\"\n[[bin]]\nname = \"a\"\npath = \"t.rs\"\n[[bin]]\nname = \"b\"\n";
        assert_eq!(targets(manifest), ["a", "b"]);
    }
}
