//! Log set-up for programs: lines on standard error, filtered by level and target.
//!
//! The filter is `tracing`'s own `Targets` syntax (`info`, `info,dunlin_agent=debug`); regular expressions in filters
//! would cost memory that a small board does not have.

use std::io::IsTerminal;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// A log filter that could not be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "log filter {filter:?} is wrong: {reason}; write a level (error, warn, info, debug, trace) or target=level pairs"
)]
pub struct FilterError {
    filter: String,
    reason: String,
}

/// Starts logging to standard error. A second call changes nothing.
///
/// # Errors
/// When `filter` cannot be read.
pub fn init(filter: &str) -> Result<(), FilterError> {
    let targets: Targets = filter.parse().map_err(|e: tracing_subscriber::filter::ParseError| {
        FilterError { filter: filter.to_owned(), reason: e.to_string() }
    })?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        // It would tell of a line that cannot be written by `eprintln!`, which panics where standard error cannot be
        // written: a log file on a full disk would end the tasks of the program, one by one.
        .log_internal_errors(false)
        .with_ansi(colour)
        .with_filter(targets);
    // A logger that was set before (tests) stays.
    let _ = tracing_subscriber::registry().with(lines).try_init();
    Ok(())
}
