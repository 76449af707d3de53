//! A kernel's loadable modules: which files are needed, and in which order.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A module that is larger is none.
const MAX_MODULE: u64 = 64 << 20;

/// Why a module cannot be had.
#[derive(Debug)]
pub enum Error {
    /// No file has its name, and the kernel does not have it built in.
    Missing(String),
    /// Its file cannot be read.
    Read(PathBuf, io::Error),
    /// Its file is compressed.
    Compressed(PathBuf),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing(name) => write!(f, "there is no module {name}, nor is it built in"),
            Error::Read(path, error) => write!(f, "reading {}: {error}", path.display()),
            Error::Compressed(path) => {
                write!(f, "{} is compressed: unpack the kernel's modules first", path.display())
            }
        }
    }
}

impl std::error::Error for Error {}

/// The modules below a folder.
#[derive(Debug, Default)]
pub struct Modules {
    /// Every module's file, by its name as the kernel spells it (`_`, never `-`); none for one that is built in.
    files: HashMap<String, Option<PathBuf>>,
}

impl Modules {
    /// Finds them in folders; one that does not exist holds none.
    pub fn below(folders: &[&Path]) -> Self {
        let mut modules = Self::default();
        folders.iter().for_each(|folder| modules.collect(folder));
        modules
    }

    /// The files of these modules and of all that they need, each after what it needs.
    ///
    /// # Errors
    /// When one is missing or cannot be read.
    pub fn in_order(&self, names: &[&str]) -> Result<Vec<PathBuf>, Error> {
        let mut order = Vec::new();
        for name in names {
            self.add(name, &mut order)?;
        }
        Ok(order)
    }

    fn add(&self, name: &str, order: &mut Vec<PathBuf>) -> Result<(), Error> {
        let found = self.files.get(&spelled(name)).ok_or_else(|| Error::Missing(name.to_owned()))?;
        let Some(file) = found else { return Ok(()) };
        if order.contains(file) {
            return Ok(());
        }
        let failed = |error| Error::Read(file.clone(), error);
        if std::fs::metadata(file).map_err(failed)?.len() > MAX_MODULE {
            return Err(failed(io::Error::other("it is too large")));
        }
        let content = std::fs::read(file).map_err(failed)?;
        if !content.starts_with(b"\x7fELF") {
            return Err(Error::Compressed(file.clone()));
        }
        for needed in depends(&content) {
            self.add(&needed, order)?;
        }
        order.push(file.clone());
        Ok(())
    }

    fn collect(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                self.collect(&path);
            } else if name == "modules.builtin" {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let names = text.lines().filter_map(|line| line.rsplit('/').next()?.strip_suffix(".ko"));
                for name in names {
                    self.files.entry(spelled(name)).or_insert(None);
                }
            } else if let Some((name, "" | ".xz" | ".zst" | ".gz")) = name.split_once(".ko") {
                self.files.insert(spelled(name), Some(path));
            }
        }
    }
}

fn spelled(name: &str) -> String {
    name.replace('-', "_")
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

    #[test]
    fn order_and_what_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("kernel/net");
        std::fs::create_dir_all(&deep).unwrap();
        let write = |name: &str, content: &[u8]| std::fs::write(deep.join(name), content).unwrap();
        write("a-one.ko", b"\x7fELF\0depends=b_two,built\0");
        write("b-two.ko", b"\x7fELF\0depends=\0");
        write("packed.ko.xz", b"\xfd7zXZ");
        write("modules.builtin", b"kernel/lib/built.ko\n");
        let modules = Modules::below(&[folder.path(), Path::new("/no/such/folder")]);
        let order = modules.in_order(&["a_one", "b_two"]).unwrap();
        assert_eq!(order, [deep.join("b-two.ko"), deep.join("a-one.ko")]);
        assert!(matches!(modules.in_order(&["c"]), Err(Error::Missing(name)) if name == "c"));
        assert!(matches!(modules.in_order(&["packed"]), Err(Error::Compressed(_))));
    }
}
