//! `dunlin simulate FILE`: reads a world, has it simulated, and prints what came of it.

mod clock;
mod table;

use std::io::Read;
use std::time::{Duration, Instant};

use dunlin_client::Output;
use dunlin_simulate::world::LARGEST;
use dunlin_simulate::{File, Progress, Report, Wrong, simulate};
use serde::Serialize;

use crate::progress::Shown;

/// Why nothing was simulated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading {0}")]
    Read(String, #[source] std::io::Error),
    #[error("{0} is no world that can be simulated (docs/simulate.md)")]
    World(String, #[source] Wrong),
}

/// The report, and what this process took for it.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    report: &'a Report,
    measured: Took,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Took {
    /// On the wall, and of the processor.
    seconds: f64,
    processor_seconds: f64,
    /// The most memory that was resident; 0 where the kernel does not tell.
    peak_memory_bytes: u64,
}

pub fn run(name: &str, worlds: &[String], output: Output) -> Result<(), crate::Error> {
    let wrong = |wrong| Error::World(name.to_owned(), wrong);
    let text = read(name).map_err(|error| Error::Read(name.to_owned(), error))?;
    let mut file = File::read(&text).map_err(wrong)?;
    file.only(worlds).map_err(wrong)?;
    let began = Instant::now();
    let report = {
        let shown = Shown::new();
        simulate(&file, &clock::busy, &mut |at| shown.show(at.at == 0, line(&at)))
    };
    let tenths = |time: Duration| (time.as_secs_f64() * 10.0).round() / 10.0;
    let took = Took {
        seconds: tenths(began.elapsed()),
        processor_seconds: tenths(clock::busy()),
        peak_memory_bytes: peak_memory().unwrap_or(0),
    };
    match output {
        Output::Json | Output::Yaml => {
            dunlin_client::print(&Whole { report: &report, measured: took }, output)?;
        }
        _ => print!("{}", table::text(&report, &took)),
    }
    Ok(())
}

/// At most one byte more than a world may have, which then is refused.
fn read(name: &str) -> std::io::Result<String> {
    let most = LARGEST as u64 + 1;
    let mut text = String::new();
    match name {
        "-" => std::io::stdin().take(most).read_to_string(&mut text)?,
        path => std::fs::File::open(path)?.take(most).read_to_string(&mut text)?,
    };
    Ok(text)
}

fn line(at: &Progress<'_>) -> String {
    let percent = 100 * at.at / at.of.max(1);
    format!("{}, {}: {percent} %", at.world, table::tree(at.clusters))
}

/// `VmHWM` of this process, bytes.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
