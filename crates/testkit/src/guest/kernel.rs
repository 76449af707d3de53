//! The guest's kernel and its modules, unpacked from a distribution's package by `scripts/setup`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Where `scripts/setup` puts it, unless `DUNLIN_GUEST_KERNEL` names another folder.
const FOLDER: &str = "/var/cache/dunlin/guest-kernel";

/// An unpacked kernel package.
#[derive(Debug)]
pub struct Kernel {
    /// What is booted.
    pub image: PathBuf,
    /// Every module's file, by its name as the kernel spells it (`_`, never `-`).
    modules: HashMap<String, PathBuf>,
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
        let mut modules = HashMap::new();
        for place in ["lib/modules", "usr/lib/modules"] {
            collect(&folder.join(place), &mut modules);
        }
        Ok(Self { image, modules })
    }

    /// The files of these modules and of all that they need, each after what it needs.
    ///
    /// # Errors
    /// When one is missing or cannot be read.
    pub fn in_order(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let mut order = Vec::new();
        for name in names {
            self.add(name, &mut order)?;
        }
        Ok(order)
    }

    fn add(&self, name: &str, order: &mut Vec<PathBuf>) -> Result<()> {
        let Some(file) = self.modules.get(&name.replace('-', "_")) else {
            bail!("{} has no module {name}", self.image.display());
        };
        if order.contains(file) {
            return Ok(());
        }
        let content = std::fs::read(file).with_context(|| file.display().to_string())?;
        for needed in depends(&content) {
            self.add(&needed, order)?;
        }
        order.push(file.clone());
        Ok(())
    }
}

fn collect(folder: &Path, modules: &mut HashMap<String, PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            collect(&path, modules);
        } else if let Some(name) = entry.file_name().to_string_lossy().strip_suffix(".ko") {
            modules.insert(name.replace('-', "_"), path);
        }
    }
}

/// What a module needs: `depends=a,b` in its section `.modinfo`, which holds strings that end with zero.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"depends=";
    let text = module.split(|b| *b == 0).find_map(|string| string.strip_prefix(KEY)).unwrap_or_default();
    String::from_utf8_lossy(text).split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_module_needs() {
        assert_eq!(depends(b"\x7fELF\0license=GPL\0depends=stp,llc\0name=bridge\0"), ["stp", "llc"]);
        assert_eq!(depends(b"\x7fELF\0depends=\0"), [""; 0]);
    }
}
