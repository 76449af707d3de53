//! The image store of a data directory, for commands that need no role.

use std::path::Path;
use std::sync::Arc;

pub use dunlin_runtime::image::{Image, ImageStore, ImageSummary, Progress};

use crate::error::{Doing, Error};
use crate::layout::Layout;

/// Opens the store of `data_dir`.
///
/// # Errors
/// When it cannot be opened.
pub fn open(data_dir: &Path) -> Result<Arc<ImageStore>, Error> {
    let layout = Layout::open(data_dir)?;
    ImageStore::open(layout.images()).doing("opening the image store")
}

/// Says what was being done with an image.
pub fn failed(doing: String) -> impl FnOnce(dunlin_runtime::image::Error) -> Error {
    move |source| Error::Step { doing, source: source.into() }
}
