//! Virtual machines: what of the contract can hold for them, and what is particular to them. Every container boots a
//! kernel, so of cases that show the same only one is here.

use dunlin_runtime_oci::Kind;

use crate::bench::Bench;

mod contract_of_machines {
    use super::*;

    dunlin_runtime::contract_tests!(Bench::of_machines(Kind::Microvm);
        process: exit_codes;
        exec: output_and_code);
}
