//! The archive that Linux unpacks as its first root file system: cpio in the form `newc`.
//!
//! Reference: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.

use std::collections::BTreeSet;
use std::io::{Result, Write};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive that is being written. Folders above an entry come by themselves.
#[derive(Debug)]
pub struct Archive<W> {
    to: W,
    entries: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// An empty archive that goes to `to`.
    pub fn new(to: W) -> Self {
        Self { to, entries: 0, folders: BTreeSet::new() }
    }

    /// Adds an empty folder.
    pub fn folder(&mut self, path: &str) -> Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || !self.folders.insert(path.to_owned()) {
            return Ok(());
        }
        self.folder_above(path)?;
        self.entry(path, DIRECTORY, &[])
    }

    /// Adds a file, executable.
    pub fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.folder_above(path)?;
        self.entry(path, PROGRAM, content)
    }

    /// Writes the end and gives back where everything went.
    pub fn finish(mut self) -> Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn folder_above(&mut self, path: &str) -> Result<()> {
        path.rsplit_once('/').map_or(Ok(()), |(folder, _)| self.folder(folder))
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        self.entries += 1;
        let size = u32::try_from(content.len()).map_err(std::io::Error::other)?;
        // Inode, mode, owner, group, links, time, size, two device numbers, length of the name, checksum.
        let name = path.len() as u32 + 1;
        write!(self.to, "070701")?;
        for field in [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0] {
            write!(self.to, "{field:08x}")?;
        }
        write!(self.to, "{path}\0")?;
        self.pad(110 + path.len() + 1)?;
        self.to.write_all(content)?;
        self.pad(content.len())
    }

    /// Every part begins at a multiple of four.
    fn pad(&mut self, written: usize) -> Result<()> {
        self.to.write_all(&[0; 3][..written.wrapping_neg() % 4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// Busybox's cpio takes it apart again.
    #[test]
    fn another_program_reads_it() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/a/b/odd", b"12345").unwrap();
        archive.file("a/even", b"1234").unwrap();
        archive.folder("a/b").unwrap();
        let bytes = archive.finish().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("/bin/busybox")
            .args(["cpio", "-i"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(child.wait().unwrap().success());
        let read = |path: &str| std::fs::read_to_string(folder.path().join(path)).unwrap();
        assert_eq!((read("a/b/odd"), read("a/even")), ("12345".into(), "1234".into()));
    }
}
