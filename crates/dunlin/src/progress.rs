//! Progress on standard error: one line that changes on a terminal, a line for each step elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a line on a terminal is written anew.
const REFRESH: Duration = Duration::from_millis(100);

/// Where progress is shown; a terminal's line is cleared when this goes.
pub struct Shown {
    /// When a terminal's line was written last; none elsewhere.
    terminal: Option<Mutex<Option<Instant>>>,
}

impl Shown {
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal().then(Mutex::default) }
    }

    /// Shows where the work is; `step` says that it has come to the next part.
    pub fn show(&self, step: bool, text: impl std::fmt::Display) {
        match &self.terminal {
            None if step => eprintln!("{text}"),
            None => {}
            Some(last) => {
                let Ok(mut last) = last.lock() else { return };
                if step || last.is_none_or(|at| at.elapsed() >= REFRESH) {
                    *last = Some(Instant::now());
                    write(&text.to_string());
                }
            }
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if self.terminal.is_some() {
            write("");
        }
    }
}

fn write(text: &str) {
    let mut terminal = std::io::stderr();
    // A terminal that went away needs no progress.
    let _ = write!(terminal, "\r\x1b[K{text}").and_then(|()| terminal.flush());
}
