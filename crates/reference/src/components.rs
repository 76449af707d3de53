//! Where the programs of the real Kubernetes lie: `cargo xtask kubernetes-test` builds them and names their folder.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// The variable that names the folder.
pub const FOLDER: &str = "DUNLIN_REFERENCE";

/// The path of the component `name`, for example `kube-apiserver`.
///
/// # Errors
/// When it has not been built.
pub fn component(name: &str) -> Result<PathBuf> {
    let Some(folder) = std::env::var_os(FOLDER) else {
        bail!(
            "{FOLDER} does not name the folder of the real Kubernetes' programs: run `make kubernetes-test`"
        );
    };
    let path = PathBuf::from(folder).join(name);
    if !path.is_file() {
        bail!("{} is not there: `make kubernetes-test` builds it", path.display());
    }
    Ok(path)
}
