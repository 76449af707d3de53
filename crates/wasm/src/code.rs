//! Compiled code on disk: one file for each module that ran here, found by what it was compiled from.
//!
//! Compiled code is machine code, and running a damaged file would run anything. So a file's name holds the digest of what
//! it was compiled from and its own, and it is read in full and checked before every start. What does not fit is thrown
//! away and compiled again: a power cut costs a compilation.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::Engine;

use crate::engine::{Kind, engine, version};

/// The largest module that is compiled, bytes.
pub const LARGEST: u64 = 64 << 20;
/// What a file's name ends in.
const SUFFIX: &str = ".cwasm";
/// Code that nothing has run for so long is removed.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);
/// Bytes that are kept; above it the longest unused goes first.
const KEPT: u64 = 512 << 20;

/// Why there is no code to run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not what this runtime runs.
    #[error("it is no WebAssembly module or component")]
    NotWasm,
    /// It is larger than is compiled.
    #[error("it has more than {LARGEST} bytes")]
    Large,
    /// The compiler refuses it.
    #[error("compiling it failed: {0}")]
    Compile(String),
    /// The cache cannot be used.
    #[error("the cache of compiled code")]
    Cache(#[from] io::Error),
}

/// Code that was checked and can be run.
#[derive(Debug)]
pub struct Code {
    /// What it is.
    pub kind: Kind,
    /// The compiled form, open.
    pub file: File,
    /// What it was compiled by.
    pub(crate) engine: Engine,
}

/// The compiled code of one engine version.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    engine: Engine,
}

impl Cache {
    /// Opens the cache below a directory that is its own; what other versions have left there is removed.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(below: &Path) -> Result<Self, Error> {
        let engine = engine().map_err(|e| Error::Compile(format!("{e:#}")))?;
        let directory = below.join(version(&engine));
        if !directory.exists() {
            fs::create_dir_all(&directory)?;
            for entry in fs::read_dir(below)?.flatten() {
                if entry.path() != directory {
                    let _ = fs::remove_dir_all(entry.path());
                }
            }
        }
        Ok(Self { directory, engine })
    }

    /// The version of the engine, which runs no other's code.
    pub fn version(&self) -> String {
        version(&self.engine)
    }

    /// The code of a module, compiled by `compile` if it is not here or not whole. `compile` writes into the file.
    ///
    /// # Errors
    /// When it is no WebAssembly, cannot be compiled, or the directory cannot be used.
    pub fn code(
        &self,
        bytes: &[u8],
        compile: impl FnOnce(Kind, &[u8], &File) -> Result<(), String>,
    ) -> Result<Code, Error> {
        let kind = Kind::of(bytes).ok_or(Error::NotWasm)?;
        if bytes.len() as u64 > LARGEST {
            return Err(Error::Large);
        }
        let source = hex(&Sha256::digest(bytes));
        let ready = |file| Ok(Code { kind, file, engine: self.engine.clone() });
        if let Some(file) = self.find(&source) {
            return ready(file);
        }
        // One compilation at a time: it is hungry, and who waited for it may find what it wanted.
        let turn = File::create(self.directory.join("lock"))?;
        turn.lock()?;
        if let Some(file) = self.find(&source) {
            return ready(file);
        }
        self.make_room();
        let part = self.directory.join(format!(".{source}.{}", std::process::id()));
        let made = self.make(&part, &source, |file| compile(kind, bytes, file));
        if made.is_err() {
            let _ = fs::remove_file(&part);
        }
        ready(made?)
    }

    /// Code that is whole.
    fn find(&self, source: &str) -> Option<File> {
        for path in self.files() {
            let name = path.file_name()?.to_string_lossy().into_owned();
            let Some(own) = name.strip_prefix(source).and_then(|n| n.strip_prefix('-')?.strip_suffix(SUFFIX))
            else {
                continue;
            };
            let file = File::open(&path).and_then(|mut file| Ok((digest(&mut file)? == own).then_some(file)));
            match file {
                Ok(Some(file)) => {
                    // The time of its last use.
                    let _ = file.set_modified(SystemTime::now());
                    return Some(file);
                }
                _ => drop(fs::remove_file(&path)),
            }
        }
        None
    }

    fn make(
        &self,
        part: &Path,
        source: &str,
        write: impl FnOnce(&File) -> Result<(), String>,
    ) -> Result<File, Error> {
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(part)?;
        write(&file).map_err(Error::Compile)?;
        let own = digest(&mut file)?;
        file.sync_all()?;
        fs::rename(part, self.directory.join(format!("{source}-{own}{SUFFIX}")))?;
        Ok(file)
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with(SUFFIX)).collect()
    }

    /// Removes what was not used for long, and the rest beyond what is kept.
    fn make_room(&self) {
        let age = |path: &PathBuf| {
            let meta = fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = self
            .files()
            .into_iter()
            .filter_map(|path| age(&path).map(|(used, size)| (used, size, path)))
            .collect();
        files.sort();
        files.reverse();
        let mut kept = 0;
        for (used, size, path) in files {
            kept += size;
            if kept > KEPT || used.elapsed().is_ok_and(|age| age > UNUSED) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The digest of a file, which is at its beginning afterwards.
fn digest(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let n = file.read(&mut piece)?;
        if n == 0 {
            break;
        }
        hasher.update(&piece[..n]);
    }
    file.rewind()?;
    Ok(hex(&hasher.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn compiled(cache: &Cache, bytes: &[u8]) -> bool {
        let mut compiled = false;
        let code = cache.code(bytes, |kind, bytes, mut file| {
            compiled = true;
            file.write_all(&crate::compile(kind, bytes)?).map_err(|e| e.to_string())
        });
        let mut text = Vec::new();
        code.unwrap().file.read_to_end(&mut text).unwrap();
        assert!(text.starts_with(b"\x7fELF"));
        compiled
    }

    #[test]
    fn a_module_is_compiled_once_and_again_when_its_code_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let module = wat::parse_str("(module)").unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        assert!(compiled(&cache, &module));
        assert!(!compiled(&cache, &module));
        let [file] = &cache.files()[..] else { panic!("{:?}", cache.files()) };
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, &bytes).unwrap();
        assert!(compiled(&cache, &module));
        bytes.truncate(100);
        fs::write(file, &bytes).unwrap();
        assert!(compiled(&cache, &module));
        assert!(!compiled(&Cache::open(directory.path()).unwrap(), &module));
    }

    #[test]
    fn code_of_other_versions_and_failed_compilations_leave_nothing() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("0000")).unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let module = wat::parse_str("(module)").unwrap();
        let failed = cache.code(&module, |_, _, _| Err("no".into())).unwrap_err();
        assert_eq!(failed.to_string(), "compiling it failed: no");
        assert!(matches!(cache.code(b"#!/bin/sh", |_, _, _| Ok(())), Err(Error::NotWasm)));
        let left = fs::read_dir(&cache.directory).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["lock"]);
    }
}
