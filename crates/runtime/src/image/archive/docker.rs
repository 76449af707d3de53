//! docker-archive: `manifest.json` lists configurations, names and layers; the manifest in OCI's form is made here.

use serde::Deserialize;

use super::{Import, Nameless};
use crate::image::compression::Compression;
use crate::image::error::Error;
use crate::image::manifest::{
    Descriptor, ImageManifest, LARGEST_MANIFEST, MOST_LAYERS, OCI_CONFIG, OCI_LAYER_GZIP, OCI_LAYER_TAR,
    OCI_LAYER_ZSTD, OCI_MANIFEST,
};
use crate::image::reference::Reference;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Import<'_> {
    pub(super) fn docker(&mut self) -> Result<Vec<(Vec<Reference>, Nameless)>, Error> {
        let bytes = self.members.read("manifest.json", LARGEST_MANIFEST)?;
        let what = format!("manifest.json of {}", self.file);
        let saved: Vec<Saved> =
            serde_json::from_slice(&bytes).map_err(|e| Error::format(&what, e.to_string()))?;
        saved.into_iter().map(|saved| self.docker_image(saved)).collect()
    }

    fn docker_image(&mut self, saved: Saved) -> Result<(Vec<Reference>, Nameless), Error> {
        let names = saved.repo_tags.unwrap_or_default();
        let names = names.iter().map(|name| Reference::parse(name)).collect::<Result<Vec<_>, _>>()?;
        let members = saved.layers.unwrap_or_default();
        if members.len() > MOST_LAYERS {
            let (found, limit) = (members.len() as u64, MOST_LAYERS as u64);
            return Err(Error::Limit { what: self.file.clone(), found, limit, unit: "layers" });
        }
        let (config_digest, config_size, config) = self.config(&saved.config, None, members.len())?;
        let mut layers = Vec::new();
        for (member, diff_id) in members.iter().zip(&config.diff_ids) {
            self.progress.step(|| format!("layer {diff_id}"));
            let (media_type, promised) = match Compression::of(&self.members.start(member, self.disk)?) {
                // What is not compressed has the digest that the configuration promises.
                Compression::None => (OCI_LAYER_TAR, Some(diff_id.as_str())),
                Compression::Gzip => (OCI_LAYER_GZIP, None),
                Compression::Zstd => (OCI_LAYER_ZSTD, None),
            };
            let (digest, size) = self.members.keep(member, promised, self.disk, self.work)?;
            layers.push(descriptor(media_type, digest, size));
        }
        let manifest = ImageManifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            config: descriptor(OCI_CONFIG, config_digest, config_size),
            layers,
        };
        let bytes = serde_json::to_vec(&manifest).map_err(|e| Error::format(&self.file, e.to_string()))?;
        let digest = self.disk.write_blob(&bytes)?;
        self.work.pin(self.disk, [digest.as_str()])?;
        // Pinned after it was written: what was collected in between is written again.
        self.disk.write_blob(&bytes)?;
        Ok((names, Nameless { digest: digest.clone(), manifest_digest: digest, manifest }))
    }
}

fn descriptor(media_type: &str, digest: String, size: u64) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest, size, platform: None, annotations: None }
}
