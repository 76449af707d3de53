//! Runs every `*.scenario` file beside this one: machines, links and faults, and what must come of them.
//!
//! `cargo test -p dunlin --test scenarios -- WORD...` runs those whose names contain a word. The language is described in
//! `README.md` beside this file. A program of its own and not a module of the suite, because files are its tests.

mod chaos;
mod expect;
mod parse;
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of this file is there")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "scenario"))
        .filter(|path| words.is_empty() || words.iter().any(|word| path.to_string_lossy().contains(word)))
        .collect();
    files.sort();
    let mut failed = 0;
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let begun = Instant::now();
        match run(file) {
            Ok(()) => println!("scenario {name} ... ok ({} s)", begun.elapsed().as_secs()),
            Err(error) => {
                failed += 1;
                println!("scenario {name} ... FAILED ({} s)\n{error:#}", begun.elapsed().as_secs());
            }
        }
    }
    println!("{} scenarios, {failed} failed", files.len());
    if failed == 0 && !files.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(file: &Path) -> Result<()> {
    let shown = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(file).with_context(|| shown.clone())?;
    let mut world = world::World::new()?;
    for step in parse::steps(&text) {
        let done =
            world.step(&step).with_context(|| format!("{shown}:{}: {}", step.line, step.words.join(" ")));
        if done.is_err() {
            world.print_logs();
            return done;
        }
    }
    Ok(())
}
