//! Dunlin beside real Kubernetes: starts both, sends both the same calls, and says where their answers differ.
//!
//! What Kubernetes does is found by asking it, not by reading about it. The corpus (`corpus/**/*.http`) is data: a new
//! call is a few lines there. Nothing here is part of the product, and nothing here is built or run by `make test`;
//! `make kubernetes-test` builds Kubernetes and runs it.

pub mod call;
pub mod compare;
pub mod components;
pub mod corpus;
pub mod etcd;
pub mod kubernetes;
pub mod mask;
pub mod side;
pub mod webhook;
