//! The runtimes of containers and of native processes for real: the contract suite and what is particular to each. Needs
//! root and `busybox-static`.

mod bench;
#[cfg(target_arch = "x86_64")]
mod guest;
#[cfg(target_arch = "x86_64")]
mod microvm;
mod native;
mod shim;
#[cfg(target_arch = "x86_64")]
mod unikernel;
#[cfg(feature = "wasm")]
mod wasm;

use bench::Bench;
use dunlin_runtime_oci::Kind;

dunlin_runtime::contract_tests!(Bench::new(Kind::Oci));
