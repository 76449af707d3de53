//! What the small internet promises to the tests that stand on it.

mod internet;
