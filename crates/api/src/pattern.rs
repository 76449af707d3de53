//! Regular expressions of schemas and rules. Kubernetes runs RE2; this is the same language without Unicode classes
//! (`\p{...}`), matched in time linear in the text, and compiled when it is used, because a compiled one is much larger
//! than its text.

use regex_lite::{Regex, RegexBuilder};

/// The most bytes that a compiled expression may take.
const LARGEST: usize = 1 << 20;

/// Compiles an expression.
///
/// # Errors
/// What is wrong with it.
pub fn compile(expression: &str) -> Result<Regex, String> {
    RegexBuilder::new(expression).size_limit(LARGEST).build().map_err(|e| e.to_string())
}
