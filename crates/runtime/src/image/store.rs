//! The image store: what is here, how it comes, how it goes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Error, PullError};
use super::types::{
    Credentials, Freed, GarbagePolicy, Image, ImageSummary, Progress, PullPolicy, RegistryOptions, Removed,
};

/// A directory of images.
#[derive(Debug)]
pub struct ImageStore {}

impl ImageStore {
    /// Opens the store in `dir`, making it if need be, with default registry options.
    pub fn open(_dir: impl Into<PathBuf>) -> Result<Arc<Self>, Error> {
        todo!()
    }
    /// Opens the store in `dir`.
    pub fn open_with(_dir: impl Into<PathBuf>, _options: RegistryOptions) -> Result<Arc<Self>, Error> {
        todo!()
    }
    /// Makes sure that the image is here, unpacked; fetches it as the policy says.
    pub async fn ensure(
        self: &Arc<Self>,
        _reference: &str,
        _policy: PullPolicy,
        _credentials: Option<Credentials>,
    ) -> Result<Image, PullError> {
        todo!()
    }
    /// Like `ensure` with `Always`, with progress.
    pub async fn pull(self: &Arc<Self>, _r: &str, _c: Option<Credentials>, _p: Progress) -> Result<Image, Error> {
        todo!()
    }
    /// The image if it is here.
    pub async fn get(self: &Arc<Self>, _reference: &str) -> Result<Option<Image>, Error> {
        todo!()
    }
    /// Imports an archive; returns the images under their normalised names.
    pub async fn import(self: &Arc<Self>, _path: &Path, _name: Option<&str>, _p: Progress) -> Result<Vec<Image>, Error> {
        todo!()
    }
    /// All images, by name.
    pub async fn list(self: &Arc<Self>) -> Result<Vec<ImageSummary>, Error> {
        todo!()
    }
    /// Forgets a name, and deletes what no other image needs.
    pub async fn remove(self: &Arc<Self>, _reference: &str) -> Result<Removed, Error> {
        todo!()
    }
    /// Deletes images that are not in use (by image id), and whatever nothing refers to.
    pub async fn garbage_collect(self: &Arc<Self>, _in_use: &BTreeSet<String>, _policy: GarbagePolicy) -> Result<Freed, Error> {
        todo!()
    }
    /// Sends an image to a registry, under `target` or its own name. Returns the manifest's digest.
    pub async fn push(
        self: &Arc<Self>,
        _reference: &str,
        _target: Option<&str>,
        _credentials: Option<Credentials>,
        _progress: Progress,
    ) -> Result<String, Error> {
        todo!()
    }
}
