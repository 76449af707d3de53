//! The shared libraries that a program needs, as the machine's own loader finds them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Every library with its path, the loader included; none for a static program.
///
/// # Errors
/// When one is missing, or `ldd` cannot be run.
pub fn of(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("starting ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("not found") {
        bail!("{} lacks libraries:\n{text}", program.display());
    }
    Ok(paths(&text))
}

/// Lines are `name => /path (0x…)` or `/path (0x…)`; the kernel's own page has no path.
fn paths(text: &str) -> Vec<PathBuf> {
    let words = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    words.map(|word| PathBuf::from(word.trim_end_matches(':'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ldd() {
        let text =
            "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/libc.so.6 (0x0001)\n\t/lib64/ld.so (0x0002)\n";
        assert_eq!(paths(text), [PathBuf::from("/lib/libc.so.6"), PathBuf::from("/lib64/ld.so")]);
        assert!(paths("\tnot a dynamic executable\n").is_empty());
    }
}
