//! How an error is printed: one function, so that every message reads the same.
//!
//! `Display` of an error never prints its source; this function walks the chain.

use std::error::Error;
use std::fmt::Write as _;

/// The error and all its sources on one line, outermost first, joined by `: `.
///
/// A source whose text the line already ends with is left out, because some libraries print theirs twice.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            // Writing into a String cannot fail.
            let _ = write!(line, ": {text}");
        }
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("opening the store")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn joins_sources() {
        let error = Outer(std::io::Error::other("disk full"));
        assert_eq!(chain(&error), "opening the store: disk full");
    }
}
