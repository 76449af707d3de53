//! Files that hold keys: written whole or not at all, readable by their owner only.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::{Error, Result};

/// Replaces a file in one step that survives a power cut. The mode is 0600.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<()> {
    let failed = |source| Error::File { operation: "writing", path: path.to_path_buf(), source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // A remainder of an attempt that a power cut ended may have another mode.
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let options = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    let written = options.and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)?;
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(failed)
}

/// The file's text, or nothing if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { operation: "reading", path: path.to_path_buf(), source }),
    }
}
