//! Every fuzz binary: its name says which target it runs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dunlin_fuzz_targets::run(env!("CARGO_BIN_NAME"), data));
