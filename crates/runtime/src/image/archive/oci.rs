//! oci-archive and oci-layout: `index.json` lists manifests or indexes of them, annotations give the names.

use std::collections::BTreeMap;

use super::{Import, Nameless};
use crate::image::error::Error;
use crate::image::manifest::{Descriptor, ImageManifest, LARGEST_MANIFEST, Manifest, choose, host, offered};
use crate::image::reference::Reference;

/// containerd and BuildKit write the whole name here.
const WHOLE_NAME: &str = "io.containerd.image.name";
/// The specification's annotation: a tag, or by many tools the whole name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

impl Import<'_> {
    pub(super) fn oci(&mut self) -> Result<Vec<(Vec<Reference>, Nameless)>, Error> {
        let bytes = self.members.read("index.json", LARGEST_MANIFEST)?;
        let Manifest::Index(entries) = Manifest::parse(&format!("{}: index.json", self.file), &bytes)? else {
            return Err(Error::format(&self.file, "its index.json is no index"));
        };
        // Entries of one name are one image for several platforms; so are those without any.
        let mut images: BTreeMap<Option<Reference>, Vec<Descriptor>> = BTreeMap::new();
        for entry in entries {
            images.entry(name(&entry)?).or_default().push(entry);
        }
        images
            .into_iter()
            .map(|(name, entries)| {
                let image = self.pick(&entries)?;
                Ok((name.into_iter().collect(), image))
            })
            .collect()
    }

    fn pick(&mut self, entries: &[Descriptor]) -> Result<Nameless, Error> {
        let entry = match entries {
            [only] => only,
            several => choose(several, &host()).ok_or_else(|| self.no_platform(several))?,
        };
        let (manifest_digest, manifest) = match self.manifest(entry)? {
            Manifest::Image(manifest) => (entry.digest.clone(), manifest),
            Manifest::Index(inner) => {
                let chosen = choose(&inner, &host()).ok_or_else(|| self.no_platform(&inner))?;
                match self.manifest(chosen)? {
                    Manifest::Image(manifest) => (chosen.digest.clone(), manifest),
                    Manifest::Index(_) => return Err(Error::format(&self.file, "an index within an index")),
                }
            }
        };
        self.blobs(&manifest)?;
        Ok(Nameless { digest: entry.digest.clone(), manifest_digest, manifest })
    }

    fn manifest(&mut self, entry: &Descriptor) -> Result<Manifest, Error> {
        let (_, bytes) = self.keep_small(&member(&entry.digest), Some(&entry.digest), LARGEST_MANIFEST)?;
        Manifest::parse(&format!("{}: {}", self.file, entry.digest), &bytes)
    }

    fn blobs(&mut self, manifest: &ImageManifest) -> Result<(), Error> {
        let config = &manifest.config.digest;
        self.config(&member(config), Some(config), manifest.layers.len())?;
        for layer in &manifest.layers {
            self.progress.step(|| format!("layer {}", layer.digest));
            let (_, size) =
                self.members.keep(&member(&layer.digest), Some(&layer.digest), self.disk, self.work)?;
            if size != layer.size {
                let reason =
                    format!("layer {} has {size} bytes, its manifest says {}", layer.digest, layer.size);
                return Err(Error::format(&self.file, reason));
            }
        }
        Ok(())
    }

    fn no_platform(&self, entries: &[Descriptor]) -> Error {
        Error::Platform { reference: self.file.clone(), wanted: host().to_string(), found: offered(entries) }
    }
}

fn member(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

/// The name that the annotations give. A bare tag (`latest`, `1.2`) is none.
fn name(entry: &Descriptor) -> Result<Option<Reference>, Error> {
    let annotation = |key: &str| entry.annotations.as_ref().and_then(|a| a.get(key)).map(String::as_str);
    if let Some(name) = annotation(WHOLE_NAME) {
        return Ok(Some(Reference::parse(name)?));
    }
    match annotation(REF_NAME) {
        Some(name) if !is_bare_tag(name) => Ok(Some(Reference::parse(name)?)),
        _ => Ok(None),
    }
}

fn is_bare_tag(name: &str) -> bool {
    let version = name.strip_prefix('v').unwrap_or(name);
    !name.contains(['/', ':']) && (name == "latest" || version.starts_with(|c: char| c.is_ascii_digit()))
}
