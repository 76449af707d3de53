//! Putting the embedded programs where they can be executed.
//!
//! The file's name holds a hash of its content, so that a new version never replaces the program of shims that run.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

static SHIM: &[u8] = include_bytes!(env!("DUNLIN_SHIM"));
const HASH: &str = env!("DUNLIN_SHIM_HASH");

/// The program of virtual machines.
pub static GUEST: &[u8] = include_bytes!(env!("DUNLIN_GUEST"));
/// Tells its versions apart.
pub const GUEST_HASH: &str = env!("DUNLIN_GUEST_HASH");

/// Installs the shim below `directory` if it is not there as it should be, and returns its path.
pub fn install(directory: &Path) -> io::Result<PathBuf> {
    put(directory, &format!("dunlin-shim-{HASH}"), SHIM)
}

/// Installs the program of virtual machines, the same way.
pub fn install_guest(directory: &Path) -> io::Result<PathBuf> {
    put(directory, &format!("dunlin-guest-{GUEST_HASH}"), GUEST)
}

/// Makes a program, or what it needs, be there with this content.
pub fn put(directory: &Path, name: &str, content: &[u8]) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let path = directory.join(name);
    if fs::read(&path).is_ok_and(|found| found == content) {
        return Ok(path);
    }
    // A power cut may have left half a file; the name appears only with the whole content on disk.
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    fs::write(&temporary, content)?;
    fs::set_permissions(&temporary, Permissions::from_mode(0o755))?;
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, &path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_program_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = install(directory.path()).unwrap();
        fs::write(&path, b"half").unwrap();
        assert_eq!(install(directory.path()).unwrap(), path);
        assert_eq!(fs::read(&path).unwrap(), SHIM);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_shim_is_static_and_small() {
        assert_eq!(&SHIM[..4], b"\x7fELF");
        // ET_EXEC: position-dependent, so that starting it relocates nothing.
        assert_eq!(u16::from_le_bytes([SHIM[16], SHIM[17]]), 2);
        assert!(SHIM.len() < 1300 * 1024, "{} bytes", SHIM.len());
    }
}
