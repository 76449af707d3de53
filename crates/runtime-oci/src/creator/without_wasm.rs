//! In a program that was built without WebAssembly: its guests are refused.

use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;

use super::Failed;
use super::executor::Command;
use crate::bundle::Bundle;

/// There is none.
pub enum Program {}

const WITHOUT: &str = "this program was built without WebAssembly";

/// A bundle whose program is no guest.
pub fn program(
    bundle: &Bundle,
    _first: Option<&Path>,
    _place: impl FnOnce() -> Result<(PathBuf, Vec<String>), Failed>,
) -> Result<Option<Program>, Failed> {
    match bundle.wasm {
        None => Ok(None),
        Some(_) => Err(Failed::create("running a module", WITHOUT)),
    }
}

pub fn run(program: Program, _: &Command, _: &Spec) -> Failed {
    match program {}
}

/// No guest runs here.
pub fn probe() -> Result<(), String> {
    Err(WITHOUT.into())
}

/// Nor is one served for.
pub fn host(_directory: &Path) -> i32 {
    2
}
