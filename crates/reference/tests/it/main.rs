//! What needs a real Kubernetes: the corpus of calls.
//!
//! `cargo xtask kubernetes-test [WORD...]` runs those whose names contain a word. A program of its own, because the files of
//! the corpus are its tests, and because one real Kubernetes serves them all.

mod corpus;

use std::process::ExitCode;

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider().install_default().expect("it is installed once");
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    match corpus::run(&wanted) {
        Ok((0, calls)) => {
            println!("kubernetes-test: ok, {calls} calls answered alike");
            ExitCode::SUCCESS
        }
        Ok((failed, _)) => {
            println!("kubernetes-test: FAILED, {failed} failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("kubernetes-test: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
