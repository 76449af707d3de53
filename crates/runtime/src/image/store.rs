//! The image store: what is here, how it comes, how it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::archive;
use super::config::ConfigBlob;
use super::disk::{Disk, Work};
use super::error::{Error, PullError};
use super::fetch::{self, blocking, by_twos};
use super::gc;
use super::index::{Index, Named};
use super::layer::{self, Limits};
use super::manifest::{Descriptor, ImageManifest, LARGEST_CONFIG, LARGEST_MANIFEST, Manifest};
use super::reference::Reference;
use super::registry::{self, Endpoint};
use super::send;
use super::types::{
    Credentials, Freed, GarbagePolicy, Image, ImageSummary, Progress, PullPolicy, RegistryOptions, Removed,
};

/// How exactly the time of an image's last use is kept on disk. Written more often it would wear flash memory out.
const USE_GRAIN: Duration = Duration::from_secs(3600);
/// How long a registry is asked whether a name has changed when the image is here: without it, a start would wait for
/// timeouts whenever the link is down.
const FRESHNESS_PATIENCE: Duration = Duration::from_secs(10);

/// A directory of images, shared with every other process that opens it.
#[derive(Debug)]
pub struct ImageStore {
    disk: Arc<Disk>,
    options: RegistryOptions,
    /// Last uses since the start, by reference: finer than what is on disk.
    used: Mutex<BTreeMap<String, u64>>,
}

impl ImageStore {
    /// Opens the store in `dir`, making it if need be. Registries are reached directly; plain HTTP only on this machine.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Arc<Self>, Error> {
        Self::open_with(dir, RegistryOptions::default())
    }

    /// Opens the store in `dir` with mirrors, registries without TLS, and certificate authorities of its own.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open_with(dir: impl Into<PathBuf>, options: RegistryOptions) -> Result<Arc<Self>, Error> {
        let disk = Arc::new(Disk::open(dir.into())?);
        Index::load(&disk.index())?;
        Ok(Arc::new(Self { disk, options, used: Mutex::new(BTreeMap::new()) }))
    }

    /// Makes sure that the image is here, unpacked; fetches it as the policy says.
    ///
    /// With [`PullPolicy::Always`] a registry that cannot be reached is no error while an earlier copy is here: an edge
    /// machine must be able to restart its pods while the link is down. The same holds for an imported image that the
    /// registry does not know or does not show to us.
    ///
    /// # Errors
    /// Why the image cannot be run, in the kinds that a container's status distinguishes.
    pub async fn ensure(
        self: &Arc<Self>,
        reference: &str,
        policy: PullPolicy,
        credentials: Option<Credentials>,
    ) -> Result<Image, PullError> {
        let reference = Reference::parse(reference).map_err(Error::from)?;
        let here = self.find(&reference).await?;
        if let Some((image, _)) = &here
            && policy != PullPolicy::Always
        {
            return Ok(image.clone());
        }
        if policy == PullPolicy::Never {
            return Err(PullError::NeverPull(reference.to_string()));
        }
        match self.fetch(&reference, credentials.as_ref(), here.as_ref(), &Progress::none()).await {
            Ok(image) => Ok(image),
            Err(error) => match here {
                Some((image, named)) if may_stand_in(&error, &named) => {
                    let error = dunlin_base::error::chain(&error);
                    tracing::warn!(image = %reference, error, "registry did not help, using the image that is here");
                    Ok(image)
                }
                _ => Err(error.into()),
            },
        }
    }

    /// Fetches the image from its registry (a mirror first), or finds that it has not changed. Blobs that were begun are
    /// continued; two layers come at a time.
    ///
    /// The TLS library underneath takes the process-wide cryptography provider; the first call installs `ring` if the
    /// program has not chosen one.
    ///
    /// # Errors
    /// When no endpoint delivers it, it is damaged or not for this machine, or the disk refuses.
    pub async fn pull(
        self: &Arc<Self>,
        reference: &str,
        credentials: Option<Credentials>,
        progress: Progress,
    ) -> Result<Image, Error> {
        let reference = Reference::parse(reference)?;
        let here = self.find(&reference).await?;
        self.fetch(&reference, credentials.as_ref(), here.as_ref(), &progress).await
    }

    /// The image if it is here; its layers are unpacked if they were not.
    ///
    /// # Errors
    /// When the name is invalid or the store cannot be read.
    pub async fn get(self: &Arc<Self>, reference: &str) -> Result<Option<Image>, Error> {
        let reference = Reference::parse(reference)?;
        Ok(self.find(&reference).await?.map(|(image, _)| image))
    }

    /// Imports a docker-archive, oci-archive or oci-layout; returns its images under their normalised names, or the only
    /// one under `name`.
    ///
    /// # Errors
    /// When the archive is damaged, hostile, nameless or not for this machine, or the disk refuses.
    pub async fn import(
        self: &Arc<Self>,
        path: &Path,
        name: Option<&str>,
        progress: Progress,
    ) -> Result<Vec<Image>, Error> {
        let name = name.map(Reference::parse).transpose()?;
        let done = self.import_archive(path, name, progress).await;
        self.give_back(done).await
    }

    async fn import_archive(
        self: &Arc<Self>,
        path: &Path,
        name: Option<Reference>,
        progress: Progress,
    ) -> Result<Vec<Image>, Error> {
        let (disk, path, hear) = (self.disk.clone(), path.to_owned(), progress.clone());
        let (work, imported) = blocking(move || {
            let work = Arc::new(disk.work()?);
            let imported = archive::import(&disk, &work, &path, name.as_ref(), &hear)?;
            Ok((work, imported))
        })
        .await?;
        let mut images = Vec::new();
        for import in imported {
            let config = self.config(&import.manifest, &import.reference)?;
            self.unpack(&import.manifest, &config, &work, &progress).await?;
            let named = self.named(&import.digest, &import.manifest_digest, &import.manifest, true);
            self.put(&import.reference, named.clone()).await?;
            images.extend(self.load(&import.reference, &named).await?);
        }
        Ok(images)
    }

    /// All images, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(self: &Arc<Self>) -> Result<Vec<ImageSummary>, Error> {
        let store = self.clone();
        blocking(move || {
            let index = Index::load(&store.disk.index())?;
            Ok(index
                .images
                .into_iter()
                .map(|(reference, named)| ImageSummary {
                    last_used: store.last_used(&reference, &named),
                    reference,
                    digest: named.digest,
                    id: named.id,
                    size: named.size,
                    created: named.created,
                })
                .collect())
        })
        .await
    }

    /// Forgets a name, and deletes what no other image and no running container needs.
    ///
    /// # Errors
    /// When there is no such image, or the disk refuses.
    pub async fn remove(self: &Arc<Self>, reference: &str) -> Result<Removed, Error> {
        let reference = Reference::parse(reference)?;
        let disk = self.disk.clone();
        blocking(move || {
            let trash = disk.work()?;
            let guard = disk.lock()?;
            let mut index = Index::load(&disk.index())?;
            let name = match index.find(&reference) {
                Some((name, _)) => name.clone(),
                None => return Err(Error::NotFound { reference: reference.to_string() }),
            };
            index.images.remove(&name);
            let full = match index.save(&disk.index()) {
                Ok(()) => false,
                Err(Error::DiskFull { .. }) => true,
                Err(error) => return Err(error),
            };
            let pins = disk.live_pins(&guard)?;
            let mut freed = gc::sweep(&disk, &index, pins, &BTreeSet::new(), None, trash.path())?;
            // On a full disk the new index had no room before. Should the power fail here, the old one names an image
            // without blobs, which counts as absent.
            if full {
                index.save(&disk.index())?;
            }
            freed.images = 1;
            Ok(Removed { reference: name, freed })
        })
        .await
    }

    /// Deletes images that are not `in_use` (ids of images, [`Image::id`]) as the policy says, and whatever belongs to
    /// no image. Imported images go only by [`ImageStore::remove`].
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn garbage_collect(
        self: &Arc<Self>,
        in_use: &BTreeSet<String>,
        policy: GarbagePolicy,
    ) -> Result<Freed, Error> {
        let (store, in_use) = (self.clone(), in_use.clone());
        blocking(move || {
            let disk = &store.disk;
            let trash = disk.work()?;
            let guard = disk.lock()?;
            let mut index = Index::load(&disk.index())?;
            let images =
                gc::expire(disk, &mut index, &in_use, &policy, |name, named| store.last_used(name, named));
            if images > 0 {
                index.save(&disk.index())?;
            }
            let pins = disk.live_pins(&guard)?;
            let freed = gc::sweep(disk, &index, pins, &in_use, Some(policy.min_age), trash.path())?;
            Ok(Freed { images, ..freed })
        })
        .await
    }

    /// Sends an image to a registry under the name `target`. Returns the digest of its manifest there.
    ///
    /// # Errors
    /// When the image is not here, or the registry refuses or cannot be reached.
    pub async fn push(
        self: &Arc<Self>,
        reference: &str,
        target: &str,
        credentials: Option<Credentials>,
        progress: Progress,
    ) -> Result<String, Error> {
        let reference = Reference::parse(reference)?;
        let target = Reference::parse(target)?;
        // A manifest is stored under a tag; a digest follows from it.
        let target = Reference { tag: target.tag.or(Some("latest".to_owned())), digest: None, ..target };
        let work = self.disk.work()?;
        let index = Index::load(&self.disk.index())?;
        let (_, named) =
            index.find(&reference).ok_or_else(|| Error::NotFound { reference: reference.to_string() })?;
        let raw = self.disk.read_blob(&named.manifest, LARGEST_MANIFEST)?;
        let manifest = image_manifest(&named.manifest, &raw)?;
        work.pin(&self.disk, digests(&manifest))?;
        let missing = |d: &&Descriptor| !self.disk.has_blob(&d.digest, Some(d.size));
        if let Some(blob) = manifest.layers.iter().chain([&manifest.config]).find(missing) {
            let reason = format!("blob {} is missing; pull or import the image again", blob.digest);
            return Err(Error::format(format!("image {reference}"), reason));
        }
        let endpoint = registry::endpoint(&target, credentials.as_ref(), &self.options)?;
        send::image(&self.disk, &endpoint, &manifest, raw, &progress).await?;
        Ok(named.manifest.clone())
    }

    /// The image by name, whole; none if a part of it is missing.
    async fn find(self: &Arc<Self>, reference: &Reference) -> Result<Option<(Image, Named)>, Error> {
        let (store, wanted) = (self.clone(), reference.clone());
        let found = blocking(move || {
            let index = Index::load(&store.disk.index())?;
            Ok(index.find(&wanted).map(|(name, named)| (name.clone(), named.clone())))
        })
        .await?;
        let Some((name, named)) = found else { return Ok(None) };
        let Some(image) = self.load(reference, &named).await? else {
            tracing::warn!(image = %reference, "a part of the image is missing or damaged");
            return Ok(None);
        };
        self.touch(name, &named).await?;
        Ok(Some((image, named)))
    }

    async fn load(self: &Arc<Self>, reference: &Reference, named: &Named) -> Result<Option<Image>, Error> {
        let manifest = self
            .disk
            .read_blob(&named.manifest, LARGEST_MANIFEST)
            .and_then(|bytes| image_manifest(&named.manifest, &bytes));
        let Ok(manifest) = manifest else { return Ok(None) };
        let Ok(config) = self.config(&manifest, reference) else { return Ok(None) };
        let ready: Option<Vec<PathBuf>> =
            config.diff_ids.iter().map(|id| layer::unpacked(&self.disk, id)).collect();
        let layers = match ready {
            Some(layers) => layers,
            None if manifest.layers.iter().all(|l| self.disk.has_blob(&l.digest, Some(l.size))) => {
                let work = Arc::new(self.disk.work()?);
                self.unpack(&manifest, &config, &work, &Progress::none()).await?
            }
            None => return Ok(None),
        };
        Ok(Some(Image {
            id: named.id.clone(),
            digest: named.digest.clone(),
            reference: reference.to_string(),
            config: config.config,
            layers,
            size: named.size,
        }))
    }

    async fn fetch(
        self: &Arc<Self>,
        reference: &Reference,
        credentials: Option<&Credentials>,
        here: Option<&(Image, Named)>,
        progress: &Progress,
    ) -> Result<Image, Error> {
        let done = self.fetch_from_any(reference, credentials, here, progress).await;
        self.give_back(done).await
    }

    /// Passes a result on. When the disk is full, what the failed work had brought and nothing else needs is deleted
    /// first: it would keep the disk full, for the next try and for everybody else.
    async fn give_back<T>(&self, done: Result<T, Error>) -> Result<T, Error> {
        let Err(full @ Error::DiskFull { .. }) = done else { return done };
        let disk = self.disk.clone();
        let swept = blocking(move || {
            let trash = disk.work()?;
            let guard = disk.lock()?;
            let index = Index::load(&disk.index())?;
            let pins = disk.live_pins(&guard)?;
            gc::sweep(&disk, &index, pins, &BTreeSet::new(), None, trash.path())
        });
        if let Err(error) = swept.await {
            let error = dunlin_base::error::chain(&error);
            tracing::warn!(error, "what a full disk left of an image could not be removed");
        }
        Err(full)
    }

    async fn fetch_from_any(
        self: &Arc<Self>,
        reference: &Reference,
        credentials: Option<&Credentials>,
        here: Option<&(Image, Named)>,
        progress: &Progress,
    ) -> Result<Image, Error> {
        let endpoints = registry::endpoints(reference, credentials, &self.options)?;
        let mut last = None;
        for endpoint in &endpoints {
            match self.fetch_from(endpoint, reference, here, progress).await {
                Ok(image) => return Ok(image),
                Err(error @ (Error::DiskFull { .. } | Error::Io { .. })) => return Err(error),
                Err(error) => {
                    if let Some(earlier) = last.replace(error) {
                        let error = dunlin_base::error::chain(&earlier);
                        tracing::info!(image = %reference, error, "mirror did not deliver");
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::NotFound { reference: reference.to_string() }))
    }

    async fn fetch_from(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        reference: &Reference,
        here: Option<&(Image, Named)>,
        progress: &Progress,
    ) -> Result<Image, Error> {
        if let Some((image, named)) = here {
            progress.step(|| format!("asking {} whether {reference} has changed", endpoint.registry));
            let asked = tokio::time::timeout(FRESHNESS_PATIENCE, fetch::digest(endpoint)).await;
            let digest = asked.unwrap_or_else(|_| {
                Err(Error::Unreachable {
                    registry: endpoint.registry.clone(),
                    operation: "pulling",
                    reference: reference.to_string(),
                    reason: format!("no answer in {} s", FRESHNESS_PATIENCE.as_secs()),
                })
            })?;
            if digest == named.digest || digest == named.manifest {
                return Ok(image.clone());
            }
        }
        progress.step(|| format!("pulling {reference} from {}", endpoint.registry));
        let work = Arc::new(self.disk.work()?);
        let fetched = fetch::manifest(endpoint, reference).await?;
        work.pin(
            &self.disk,
            digests(&fetched.manifest).chain([fetched.digest.as_str(), &fetched.manifest_digest]),
        )?;
        for raw in &fetched.raw {
            self.disk.write_blob(raw)?;
        }
        if fetched.manifest.config.size > LARGEST_CONFIG {
            let (what, found) = (format!("configuration of {reference}"), fetched.manifest.config.size);
            return Err(Error::Limit { what, found, limit: LARGEST_CONFIG, unit: "bytes" });
        }
        fetch::blob(&self.disk, endpoint, &fetched.manifest.config, progress).await?;
        let config = self.config(&fetched.manifest, reference)?;
        work.pin(&self.disk, config.diff_ids.iter().map(String::as_str))?;
        let pairs: Vec<(&Descriptor, &String)> =
            fetched.manifest.layers.iter().zip(&config.diff_ids).collect();
        by_twos(pairs, |(descriptor, diff_id)| async {
            if layer::unpacked(&self.disk, diff_id).is_none() || !self.disk.has_blob(&descriptor.digest, None)
            {
                fetch::blob(&self.disk, endpoint, descriptor, progress).await?;
            }
            self.unpack_one(descriptor, diff_id, &work, progress).await
        })
        .await?;
        let named = self.named(&fetched.digest, &fetched.manifest_digest, &fetched.manifest, false);
        self.put(reference, named.clone()).await?;
        let image = self.load(reference, &named).await?;
        image.ok_or_else(|| {
            Error::format(format!("image {reference}"), "it vanished while it was pulled; try again")
        })
    }

    /// The configuration, checked.
    fn config(&self, manifest: &ImageManifest, reference: &Reference) -> Result<ConfigBlob, Error> {
        let bytes = self.disk.read_blob(&manifest.config.digest, LARGEST_CONFIG)?;
        let config = ConfigBlob::parse(&format!("configuration of {reference}"), &bytes)?;
        archive::check(&config, manifest.layers.len(), &reference.to_string())?;
        Ok(config)
    }

    async fn unpack(
        self: &Arc<Self>,
        manifest: &ImageManifest,
        config: &ConfigBlob,
        work: &Arc<Work>,
        progress: &Progress,
    ) -> Result<Vec<PathBuf>, Error> {
        work.pin(&self.disk, digests(manifest).chain(config.diff_ids.iter().map(String::as_str)))?;
        for (descriptor, diff_id) in manifest.layers.iter().zip(&config.diff_ids) {
            self.unpack_one(descriptor, diff_id, work, progress).await?;
        }
        let layers =
            config.diff_ids.iter().map(|id| layer::unpacked(&self.disk, id)).collect::<Option<Vec<_>>>();
        layers.ok_or_else(|| Error::format("image", "a layer vanished while it was unpacked; try again"))
    }

    async fn unpack_one(
        self: &Arc<Self>,
        descriptor: &Descriptor,
        diff_id: &str,
        work: &Arc<Work>,
        progress: &Progress,
    ) -> Result<(), Error> {
        if layer::unpacked(&self.disk, diff_id).is_some() {
            return Ok(());
        }
        let lock = self.disk.lock_item(&format!("layer-{diff_id}")).await?;
        progress.step(|| format!("unpacking layer {diff_id}"));
        let (disk, work, diff_id) = (self.disk.clone(), work.clone(), diff_id.to_owned());
        let blob = disk.blob(&descriptor.digest);
        blocking(move || {
            // Held by the thread that unpacks: a caller that gives up must not let a second one begin.
            let _lock = lock;
            layer::unpack(&disk, &work, &blob, &diff_id, Limits::default()).map(|_| ())
        })
        .await
    }

    fn named(&self, digest: &str, manifest_digest: &str, manifest: &ImageManifest, imported: bool) -> Named {
        let now = gc::seconds(SystemTime::now());
        Named {
            digest: digest.to_owned(),
            manifest: manifest_digest.to_owned(),
            id: manifest.config.digest.clone(),
            size: manifest.layers.iter().chain([&manifest.config]).map(|d| d.size).sum(),
            created: now,
            last_used: now,
            imported,
        }
    }

    async fn put(&self, reference: &Reference, named: Named) -> Result<(), Error> {
        let (disk, name) = (self.disk.clone(), reference.to_string());
        blocking(move || {
            let _guard = disk.lock()?;
            let mut index = Index::load(&disk.index())?;
            index.images.insert(name, named);
            index.save(&disk.index())
        })
        .await
    }

    /// Notes that the image was used now; on disk only when the time there is older than the grain.
    async fn touch(&self, name: String, named: &Named) -> Result<(), Error> {
        let now = gc::seconds(SystemTime::now());
        if let Ok(mut used) = self.used.lock() {
            used.insert(name.clone(), now);
        }
        if now.saturating_sub(named.last_used) < USE_GRAIN.as_secs() {
            return Ok(());
        }
        let disk = self.disk.clone();
        let written = blocking(move || {
            let _guard = disk.lock()?;
            let mut index = Index::load(&disk.index())?;
            match index.images.get_mut(&name) {
                Some(named) => named.last_used = now,
                None => return Ok(()),
            }
            index.save(&disk.index())
        })
        .await;
        if let Err(error) = written {
            // A full disk must not keep a pod from starting whose image is here.
            tracing::warn!(
                error = dunlin_base::error::chain(&error),
                "the image's last use could not be noted"
            );
        }
        Ok(())
    }

    fn last_used(&self, name: &str, named: &Named) -> u64 {
        let here = self.used.lock().ok().and_then(|used| used.get(name).copied()).unwrap_or(0);
        here.max(named.last_used)
    }
}

/// Whether the copy that is here may be used although the registry failed.
fn may_stand_in(error: &Error, named: &Named) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        Error::Unknown { .. } | Error::Unauthorized { .. } | Error::Registry { .. } => named.imported,
        _ => false,
    }
}

fn image_manifest(digest: &str, bytes: &[u8]) -> Result<ImageManifest, Error> {
    match Manifest::parse(digest, bytes)? {
        Manifest::Image(manifest) => Ok(manifest),
        Manifest::Index(_) => Err(Error::format(format!("manifest {digest}"), "it is an index")),
    }
}

fn digests(manifest: &ImageManifest) -> impl Iterator<Item = &str> {
    manifest.layers.iter().chain([&manifest.config]).map(|d| d.digest.as_str())
}

#[cfg(test)]
mod tests;
