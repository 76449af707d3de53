//! A small disk of a test's own: a tmpfs, which fills up in a moment and is gone with the test.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::namespace::system;

/// A tmpfs of a given size. Dropping it unmounts it, also when a test fails.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts `mib` MiB at `path`.
    ///
    /// # Errors
    /// When it cannot be mounted (needs root).
    pub fn mount(path: &Path, mib: u32) -> Result<Self> {
        let size = format!("size={mib}m,mode=0700");
        system(&["mount", "-t", "tmpfs", "-o", &size, "dunlin-test", &path.to_string_lossy()])?;
        Ok(Self { path: path.to_owned() })
    }

    /// Takes all space but `left` bytes, in a file of its own.
    ///
    /// # Errors
    /// When the disk cannot be written for another reason than that it is full.
    pub fn fill(&self, left: u64) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(self.ballast()).context("ballast")?;
        let block = vec![b'x'; 64 * 1024];
        while left == 0 || self.free()? > left + block.len() as u64 {
            match file.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => bail!("filling {}: {error}", self.path.display()),
            }
        }
        Ok(())
    }

    /// Gives back what [`SmallDisk::fill`] took.
    ///
    /// # Errors
    /// When nothing was taken.
    pub fn make_room(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.ballast())?)
    }

    /// Bytes that are free.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn free(&self) -> Result<u64> {
        let answer = system(&["stat", "--file-system", "--format=%a %S", &self.path.to_string_lossy()])?;
        let (blocks, size) = answer.trim().split_once(' ').context("two numbers")?;
        Ok(blocks.parse::<u64>()? * size.parse::<u64>()?)
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a container that outlived a failed test may still look at it.
        if let Err(error) = system(&["umount", "--lazy", &self.path.to_string_lossy()]) {
            eprintln!("{error:#}");
        }
    }
}
