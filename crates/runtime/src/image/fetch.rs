//! Fetching: a manifest and its blobs from a registry into the store.
//!
//! A blob on its way is a file that stays when the connection breaks, the program ends or the power fails; the next try,
//! by whomever, asks only for the rest. What a blob is worth is decided by its digest once it is whole.

use std::path::Path;
use std::time::Duration;

use dunlin_base::backoff::Backoff;
use futures_util::{StreamExt, TryStreamExt};
use oci_client::client::BlobResponse;
use oci_client::errors::OciDistributionError;
use tokio::io::AsyncWriteExt;

use super::disk::{self, Disk};
use super::error::{Error, IoContext};
use super::manifest::{
    DOCKER_LIST, DOCKER_MANIFEST, Descriptor, ImageManifest, LARGEST_MANIFEST, Manifest, OCI_INDEX,
    OCI_MANIFEST, choose, host, offered,
};
use super::reference::Reference;
use super::registry::{Endpoint, explain, is_temporary};
use super::types::Progress;

const ACCEPTED: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];
/// Tries without a single new byte before a blob is given up; the caller's own backoff takes over then.
const FRUITLESS_TRIES: u32 = 4;
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// Written at once, so that a stream of small pieces does not become a stream of small writes.
const WRITE_BUFFER: usize = 256 * 1024;

/// A manifest that was fetched, and the index that led to it.
pub(crate) struct Fetched {
    /// The digest that the name stands for at the registry.
    pub digest: String,
    /// The digest of the manifest for this machine.
    pub manifest_digest: String,
    pub manifest: ImageManifest,
    /// The bytes of both, to be kept as blobs.
    pub raw: Vec<bytes::Bytes>,
}

/// What the name stands for now, without fetching it.
pub(crate) async fn digest(endpoint: &Endpoint) -> Result<String, Error> {
    let registry = &endpoint.registry;
    endpoint
        .client
        .fetch_manifest_digest(&endpoint.image, &endpoint.auth)
        .await
        .map_err(|e| explain(&e, registry, "pulling", &endpoint.image.to_string()))
}

/// The manifest for this machine.
pub(crate) async fn manifest(endpoint: &Endpoint, reference: &Reference) -> Result<Fetched, Error> {
    let (bytes, digest) = raw(endpoint, &endpoint.image, reference.digest.as_deref()).await?;
    match Manifest::parse(&endpoint.image.to_string(), &bytes)? {
        Manifest::Image(manifest) => {
            Ok(Fetched { digest: digest.clone(), manifest_digest: digest, manifest, raw: vec![bytes] })
        }
        Manifest::Index(entries) => {
            let Some(entry) = choose(&entries, &host()) else {
                return Err(Error::Platform {
                    reference: reference.to_string(),
                    wanted: host().to_string(),
                    found: offered(&entries),
                });
            };
            let image = endpoint.image.clone_with_digest(entry.digest.clone());
            let (inner, manifest_digest) = raw(endpoint, &image, Some(&entry.digest)).await?;
            match Manifest::parse(&image.to_string(), &inner)? {
                Manifest::Image(manifest) => {
                    Ok(Fetched { digest, manifest_digest, manifest, raw: vec![bytes, inner] })
                }
                Manifest::Index(_) => Err(Error::format(image.to_string(), "an index within an index")),
            }
        }
    }
}

async fn raw(
    endpoint: &Endpoint,
    image: &oci_client::Reference,
    expected: Option<&str>,
) -> Result<(bytes::Bytes, String), Error> {
    let name = image.to_string();
    let (bytes, _) = endpoint
        .client
        .pull_manifest_raw(image, &endpoint.auth, &ACCEPTED)
        .await
        .map_err(|e| explain(&e, &endpoint.registry, "pulling", &name))?;
    if bytes.len() as u64 > LARGEST_MANIFEST {
        let found = bytes.len() as u64;
        return Err(Error::Limit {
            what: format!("manifest of {name}"),
            found,
            limit: LARGEST_MANIFEST,
            unit: "bytes",
        });
    }
    let found = disk::digest_of(&bytes);
    match expected {
        Some(expected) if expected != found => {
            Err(Error::Digest { what: format!("manifest of {name}"), expected: expected.to_owned(), found })
        }
        _ => Ok((bytes, found)),
    }
}

/// A blob, unless it is here. One at a time fetches it, among all who use the directory.
pub(crate) async fn blob(
    disk: &Disk,
    endpoint: &Endpoint,
    descriptor: &Descriptor,
    progress: &Progress,
) -> Result<(), Error> {
    if disk.has_blob(&descriptor.digest, Some(descriptor.size)) {
        return Ok(());
    }
    let _lock = disk.lock_item(&descriptor.digest).await?;
    if disk.has_blob(&descriptor.digest, Some(descriptor.size)) {
        return Ok(());
    }
    let partial = disk.partial(&descriptor.digest);
    let what = format!("blob {} from {}", descriptor.digest, endpoint.registry);
    let mut resumed = length(&partial);
    loop {
        if let Err(error) = complete(endpoint, descriptor, &partial, &what, progress).await {
            if matches!(error, Error::DiskFull { .. }) {
                // What came would keep the disk full: others need the room, and a try that starts with all of it gone
                // could never end. The first error is the one to tell.
                let _ = std::fs::remove_file(&partial);
            }
            return Err(error);
        }
        let path = partial.clone();
        let (found, _) = blocking(move || disk::digest_of_file(&path)).await?;
        if found == descriptor.digest {
            break;
        }
        std::fs::remove_file(&partial).at("removing", &partial)?;
        // What an earlier run left may have been damaged by a power cut: once more, from the beginning.
        if resumed == 0 {
            return Err(Error::Digest { what, expected: descriptor.digest.clone(), found });
        }
        tracing::warn!(
            digest = descriptor.digest,
            "the part fetched earlier was damaged, fetching all of it"
        );
        resumed = 0;
    }
    disk.commit_blob(&partial, &descriptor.digest)
}

/// Fetches until the file has all its bytes; as long as some come, it goes on.
async fn complete(
    endpoint: &Endpoint,
    descriptor: &Descriptor,
    partial: &Path,
    what: &str,
    progress: &Progress,
) -> Result<(), Error> {
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    loop {
        let before = length(partial);
        if before == descriptor.size {
            return Ok(());
        }
        if before > descriptor.size {
            std::fs::remove_file(partial).at("removing", partial)?;
            continue;
        }
        let stopped = match stream(endpoint, descriptor, partial, before, what, progress).await {
            Ok(()) if length(partial) >= descriptor.size => continue,
            Ok(()) => "the connection ended early".to_owned(),
            Err(Stop::Disk(error)) => return Err(error),
            Err(Stop::Registry(error)) if !is_temporary(&error) => {
                return Err(explain(&error, &endpoint.registry, "pulling", what));
            }
            Err(Stop::Registry(error)) => dunlin_base::error::chain(&error),
        };
        if length(partial) > before {
            backoff.reset();
        }
        let delay = backoff.next_delay();
        if backoff.failures() > FRUITLESS_TRIES {
            return Err(Error::Unreachable {
                registry: endpoint.registry.clone(),
                operation: "pulling",
                reference: what.to_owned(),
                reason: format!(
                    "{stopped}; {} of {} bytes are kept and will not be fetched again",
                    length(partial),
                    descriptor.size
                ),
            });
        }
        tracing::debug!(
            blob = descriptor.digest,
            have = length(partial),
            reason = stopped,
            "blob interrupted, going on"
        );
        tokio::time::sleep(delay).await;
    }
}

enum Stop {
    Registry(OciDistributionError),
    Disk(Error),
}

/// One request for the rest of the blob, appended to the file.
async fn stream(
    endpoint: &Endpoint,
    descriptor: &Descriptor,
    partial: &Path,
    from: u64,
    what: &str,
    progress: &Progress,
) -> Result<(), Stop> {
    let response = endpoint
        .client
        .pull_blob_stream_partial(&endpoint.image, descriptor.digest.as_str(), from, None)
        .await
        .map_err(Stop::Registry)?;
    let (mut stream, mut have) = match response {
        BlobResponse::Partial(stream) => (stream, from),
        // A registry without ranges begins at the beginning.
        BlobResponse::Full(stream) => (stream, 0),
    };
    let disk_error = |e| Stop::Disk(Error::io("writing", partial, e));
    let mut options = tokio::fs::OpenOptions::new();
    let file = options.create(true).write(true).truncate(have == 0).append(have > 0).open(partial).await;
    let mut file = tokio::io::BufWriter::with_capacity(WRITE_BUFFER, file.map_err(disk_error)?);
    let ended = loop {
        match stream.try_next().await {
            Ok(Some(chunk)) => {
                have += chunk.len() as u64;
                if have > descriptor.size {
                    let (what, limit) = (what.to_owned(), descriptor.size);
                    break Err(Stop::Disk(Error::Limit { what, found: have, limit, unit: "bytes" }));
                }
                file.write_all(&chunk).await.map_err(disk_error)?;
                progress.blob(&descriptor.digest, have, descriptor.size);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(Stop::Registry(OciDistributionError::IoError(error))),
        }
    };
    // What came is kept whatever happened.
    file.flush().await.map_err(disk_error)?;
    ended
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// Runs what blocks on the threads made for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(Error::format("image work", error.to_string())),
        },
    }
}

/// Runs `each` for all items, at most two at a time: more only share the same link, and each holds buffers.
pub(crate) async fn by_twos<T, F: Future<Output = Result<(), Error>>>(
    items: impl IntoIterator<Item = T>,
    each: impl FnMut(T) -> F,
) -> Result<(), Error> {
    futures_util::stream::iter(items).map(each).buffer_unordered(2).try_collect::<()>().await
}
