//! What pods' virtual machines are booted with.

use std::path::PathBuf;

use dunlin_base::error::chain;
use dunlin_runtime_oci::microvm::Choice;
use serde::Deserialize;

use crate::error::Error;

/// The guests' kernel. Nothing is optional by itself: without a kernel there are no virtual machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Machines {
    /// Its file.
    pub microvm_kernel: Option<PathBuf>,
    /// The folder below which its modules are.
    pub microvm_modules: Option<PathBuf>,
}

impl Machines {
    /// These, and those of `below` where these leave something open.
    pub fn over(self, below: Self) -> Self {
        Self {
            microvm_kernel: self.microvm_kernel.or(below.microvm_kernel),
            microvm_modules: self.microvm_modules.or(below.microvm_modules),
        }
    }

    /// What was chosen, if virtual machines were.
    ///
    /// # Errors
    /// When modules were given without their kernel, or something that machines need is not installed.
    pub fn choice(&self) -> Result<Option<Choice>, Error> {
        match (&self.microvm_kernel, &self.microvm_modules) {
            (Some(kernel), modules) => {
                let choice = Choice { kernel: kernel.clone(), modules: modules.clone() };
                choice.check().map_err(|e| Error::Input(format!("microvm-kernel: {}", chain(&e))))?;
                Ok(Some(choice))
            }
            (None, Some(_)) => {
                let text = "microvm-modules means nothing without microvm-kernel: name the kernel whose modules these are";
                Err(Error::Input(text.to_owned()))
            }
            (None, None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_need_a_kernel() {
        let with = |kernel: Option<&str>, modules: Option<&str>| Machines {
            microvm_kernel: kernel.map(PathBuf::from),
            microvm_modules: modules.map(PathBuf::from),
        };
        assert!(with(None, None).choice().unwrap().is_none());
        assert!(with(None, Some("/m")).choice().unwrap_err().to_string().contains("microvm-kernel"));
        let error = with(Some("/no/such/kernel"), None).choice().unwrap_err().to_string();
        assert!(error.starts_with("microvm-kernel: "), "{error}");
        let laid = with(Some("/k"), None).over(with(Some("/other"), Some("/m")));
        assert_eq!((laid.microvm_kernel, laid.microvm_modules), (Some("/k".into()), Some("/m".into())));
    }
}
