//! What needs a real Kubernetes, or programs that are built with it: the corpus of calls, helm, and client libraries.
//!
//! `cargo xtask kubernetes-test [WORD...]` runs those whose names contain a word. A program of its own, because the files of
//! the corpus are its tests, and because one real Kubernetes serves them all.

mod agent;
mod audit;
mod corpus;
mod etcd;
mod helm;
mod python;
mod servers;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

/// The tests that bring a world of their own.
const ALONE: &[(&str, fn() -> Result<()>)] = &[
    ("agent-life", agent::run),
    ("agent-bootstrap", agent::bootstrap::run),
    ("audit", audit::run),
    ("etcd/contract", etcd::contract::run),
    ("etcd/killed", etcd::faults::killed),
    ("etcd/cut", etcd::faults::cut),
    ("etcd/compacted", etcd::faults::compacted),
    ("etcd/members", etcd::faults::members),
    ("etcd/majority", etcd::faults::majority),
    ("etcd/limits", etcd::access::limits),
    ("etcd/tls", etcd::access::tls),
    ("etcd/password", etcd::access::password),
    ("servers/killed", servers::killed),
    ("servers/apart", servers::apart),
    ("helm", helm::run),
    ("python", python::run),
];

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider().install_default().expect("it is installed once");
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let (mut failed, mut ran) = (0, 0);
    for (name, test) in ALONE.iter().filter(|(name, _)| wanted(name)) {
        ran += 1;
        failed += usize::from(!alone(name, *test));
    }
    // Last, because it puts this thread on another network.
    match corpus::run(&wanted) {
        Ok((files, bad)) => {
            ran += files;
            failed += bad;
        }
        Err(error) => {
            failed += 1;
            println!("corpus ... FAILED: {error:#}");
        }
    }
    println!("kubernetes-test: {ran} ran, {failed} failed");
    if failed == 0 && ran > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one test; whether it passed.
fn alone(name: &str, test: fn() -> Result<()>) -> bool {
    let begun = Instant::now();
    let outcome = test();
    let seconds = begun.elapsed().as_secs();
    match &outcome {
        Ok(()) => println!("{name} ... ok ({seconds} s)"),
        Err(error) => println!("{name} ... FAILED ({seconds} s): {error:#}"),
    }
    outcome.is_ok()
}
