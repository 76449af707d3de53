//! The OCI runtime for real: the contract suite and what is particular to it. Needs root and `busybox-static`.

mod bench;
#[cfg(target_arch = "x86_64")]
mod guest;
mod shim;

use bench::Oci;

dunlin_runtime::contract_tests!(Oci::new());
