//! The flags of an agent that say what pods' virtual machines are booted with.

use std::path::PathBuf;

use clap::Args;
use dunlin_app::options::machines::Machines as Choices;

#[derive(Debug, Args)]
pub struct Machines {
    /// Let pods of the RuntimeClass microvm run in virtual machines with this kernel
    #[arg(long, value_name = "FILE")]
    microvm_kernel: Option<PathBuf>,
    /// The folder with that kernel's modules
    #[arg(long, value_name = "DIR")]
    microvm_modules: Option<PathBuf>,
}

impl From<Machines> for Choices {
    fn from(flags: Machines) -> Self {
        Self { microvm_kernel: flags.microvm_kernel, microvm_modules: flags.microvm_modules }
    }
}
