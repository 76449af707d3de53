//! Importing: images from files, as `docker save`, `podman save`, `skopeo` and build tools write them.
//!
//! Three forms are taken: a docker-archive (tar with `manifest.json`), an oci-archive (tar with `index.json`), and an
//! oci-layout (the same as a directory); the tar may be compressed as a whole. Blobs go to the store by their digest; what
//! the archive promises of them is checked.

mod docker;
mod members;
mod oci;

use std::path::Path;

use super::config::ConfigBlob;
use super::disk::{Disk, Work};
use super::error::Error;
use super::manifest::{ImageManifest, LARGEST_CONFIG, Platform, host, runs_here};
use super::reference::Reference;
use super::types::Progress;
use members::Members;

/// An image whose blobs are in the store now; its layers are not unpacked yet.
#[derive(Debug)]
pub(crate) struct Imported {
    pub reference: Reference,
    /// What the archive's index names: a manifest, or an index of them.
    pub digest: String,
    /// The manifest for this machine.
    pub manifest_digest: String,
    pub manifest: ImageManifest,
}

/// An image of the archive, before it has a name.
#[derive(Debug, Clone)]
struct Nameless {
    digest: String,
    manifest_digest: String,
    manifest: ImageManifest,
}

/// What both forms are read with.
struct Import<'a> {
    disk: &'a Disk,
    work: &'a Work,
    members: Members,
    /// For messages.
    file: String,
    progress: &'a Progress,
}

/// Imports every image of the archive for this machine, or the only one under `name`. This blocks.
pub(crate) fn import(
    disk: &Disk,
    work: &Work,
    path: &Path,
    name: Option<&Reference>,
    progress: &Progress,
) -> Result<Vec<Imported>, Error> {
    let members = Members::open(path, work, progress)?;
    let mut import = Import { disk, work, members, file: path.display().to_string(), progress };
    let images = if import.members.has("index.json") {
        import.oci()?
    } else if import.members.has("manifest.json") {
        import.docker()?
    } else {
        return Err(Error::format(
            import.file,
            "it is no docker-archive, oci-archive or oci-layout: it has neither `manifest.json` nor `index.json`",
        ));
    };
    import.name(images, name)
}

impl Import<'_> {
    fn name(
        &self,
        images: Vec<(Vec<Reference>, Nameless)>,
        name: Option<&Reference>,
    ) -> Result<Vec<Imported>, Error> {
        let wrong = |reason: &str| Err(Error::format(&self.file, reason));
        if images.is_empty() {
            return wrong("it has no image");
        }
        let named = |reference: &Reference, image: &Nameless| Imported {
            reference: reference.clone(),
            digest: image.digest.clone(),
            manifest_digest: image.manifest_digest.clone(),
            manifest: image.manifest.clone(),
        };
        match name {
            Some(name) if images.len() == 1 => {
                Ok(images.iter().map(|(_, image)| named(name, image)).collect())
            }
            Some(_) => wrong(
                "it has several images, which cannot all get the one name given with --name; leave --name out",
            ),
            None if images.iter().any(|(names, _)| names.is_empty()) => {
                wrong("it does not say the image's name; give one with --name")
            }
            None => Ok(images
                .iter()
                .flat_map(|(names, image)| names.iter().map(|name| named(name, image)))
                .collect()),
        }
    }

    /// A small member, checked against its digest and kept as a blob.
    fn keep_small(
        &mut self,
        member: &str,
        digest: Option<&str>,
        limit: u64,
    ) -> Result<(String, Vec<u8>), Error> {
        let (digest, _) = self.members.keep(member, digest, self.disk, self.work)?;
        Ok((digest.clone(), self.disk.read_blob(&digest, limit)?))
    }

    /// The configuration, which must fit this machine and the number of layers.
    fn config(
        &mut self,
        member: &str,
        digest: Option<&str>,
        layers: usize,
    ) -> Result<(String, u64, ConfigBlob), Error> {
        let (digest, bytes) = self.keep_small(member, digest, LARGEST_CONFIG)?;
        let what = format!("configuration {digest} in {}", self.file);
        let config = ConfigBlob::parse(&what, &bytes)?;
        check(&config, layers, &what)?;
        Ok((digest, bytes.len() as u64, config))
    }
}

/// Whether an image with this configuration can run here, and whether it is consistent.
pub(crate) fn check(config: &ConfigBlob, layers: usize, what: &str) -> Result<(), Error> {
    let platform = Platform {
        architecture: config.architecture.clone(),
        os: config.os.clone(),
        variant: config.variant.clone(),
    };
    if !runs_here(&platform, &host()) {
        return Err(Error::Platform {
            reference: what.to_owned(),
            wanted: host().to_string(),
            found: platform.to_string(),
        });
    }
    if config.diff_ids.len() != layers {
        return Err(Error::format(
            what,
            format!("it lists {} layers, the manifest {layers}", config.diff_ids.len()),
        ));
    }
    match config.diff_ids.iter().find(|d| !super::reference::is_digest(d)) {
        Some(digest) => Err(Error::format(what, format!("{digest:?} is no sha256 digest"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
