//! What tests, the demo and the benchmark stand on: images made by hand, an internet of network namespaces with faults,
//! and the built program started as a process of its own, the way a user starts it.
//!
//! Everything here cleans up after itself when it is dropped, also when a test fails, and touches nothing that it did
//! not make. It never links the program: tests drive `DUNLIN_BIN` from outside.

pub mod cable;
pub mod cluster;
pub mod containerd;
pub mod dice;
pub mod disk;
pub mod guest;
pub mod host;
pub mod image;
pub mod internet;
pub mod kubectl;
pub mod machine;
pub mod namespace;
pub mod process;
pub mod program;
pub mod relay;
pub mod wait;
