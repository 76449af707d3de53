//! What is needed of gRPC, on top of the hyper that is there anyway: messages in frames, calls with one message each way,
//! streams of answers, and how a refusal is told from an answer that was lost.
//!
//! Who is called, over which connection and for how long is the caller's business. A client library with all of it
//! would be larger than what uses this (`docs/adr/0008-etcd.md`).

mod call;
pub mod wire;

pub use call::{Body, Failure, Messages, code, frame, opened, unary};
