//! Everything that CI and the Makefile do: `cargo xtask <task>`.

mod bench;
mod cargo;
mod demo;
mod fuzz;
mod kubernetes;
mod tidy;

use anyhow::{Result, bail};

const USAGE: &str =
    "usage: cargo xtask tidy | test | lint | demo [--keep] | bench [scheduler|tree] | fuzz [SECONDS]
       | kubernetes-test [WORD...]";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy::run(),
        ["test"] => cargo::test(),
        ["lint"] => cargo::lint(),
        ["demo"] => demo::run(false),
        ["demo", "--keep"] => demo::run(true),
        ["bench"] => bench::run(),
        ["fuzz"] => fuzz::run(None),
        ["fuzz", seconds] => fuzz::run(Some(seconds)),
        ["bench", "scheduler"] => {
            cargo::cargo(&["run", "--release", "-p", "dunlin-control", "--example", "placements"])
        }
        ["bench", "tree"] => {
            let example = dunlin_testkit::program::workspace().join("examples/world-edgeio.yaml");
            let example = example.to_string_lossy();
            cargo::cargo(&["run", "--release", "--bin", "dunlin", "--", "simulate", &example])
        }
        ["kubernetes-test", words @ ..] => kubernetes::test(words),
        _ => bail!("{USAGE}"),
    }
}
