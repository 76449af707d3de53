//! The runtime for real: the contract suite on Debian's containerd, and what is particular to CRI. Needs root,
//! `containerd`, `runc` and `busybox-static`.

mod bench;
mod gvisor;

use bench::Bench;

dunlin_runtime::contract_tests!(Bench::new());
