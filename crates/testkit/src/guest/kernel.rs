//! The guest's kernel and its modules, unpacked from a distribution's package by `scripts/setup`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dunlin_guest::modules::Modules;

/// Where `scripts/setup` puts it, unless `DUNLIN_GUEST_KERNEL` names another folder.
const FOLDER: &str = "/var/cache/dunlin/guest-kernel";

/// An unpacked kernel package.
#[derive(Debug)]
pub struct Kernel {
    /// What is booted.
    pub image: PathBuf,
    /// The folder below which its modules are.
    pub modules: PathBuf,
}

impl Kernel {
    /// Finds it.
    ///
    /// # Errors
    /// When it was not unpacked.
    pub fn find() -> Result<Self> {
        let folder = std::env::var_os("DUNLIN_GUEST_KERNEL").map_or_else(|| FOLDER.into(), PathBuf::from);
        let missing = || format!("no kernel in {}: run scripts/setup", folder.display());
        let boot = std::fs::read_dir(folder.join("boot")).with_context(missing)?;
        let mut images = boot
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with("vmlinuz-"))
            .map(|e| e.path());
        let image = images.next().with_context(missing)?;
        let places = ["lib/modules", "usr/lib/modules"].map(|place| folder.join(place));
        let modules = places.into_iter().find(|place| place.is_dir()).with_context(missing)?;
        Ok(Self { image, modules })
    }

    /// The files of these modules and of all that they need, each after what it needs.
    ///
    /// # Errors
    /// When one is missing or cannot be read.
    pub fn in_order(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let modules = Modules::below(&[self.modules.as_path() as &Path]);
        modules.in_order(names).with_context(|| self.modules.display().to_string())
    }
}
