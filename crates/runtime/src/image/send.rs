//! Sending: an image of the store to a registry. Blobs that are there already are not sent again.

use std::path::PathBuf;

use futures_util::stream;
use oci_client::RegistryOperation;
use oci_client::errors::OciDistributionError;
use tokio::io::AsyncReadExt;

use super::disk::Disk;
use super::error::{Error, IoContext};
use super::manifest::{Descriptor, ImageManifest};
use super::registry::{Endpoint, explain};
use super::types::Progress;

const READ_BUFFER: usize = 256 * 1024;

/// Sends configuration, layers and then the manifest, so that the name never stands for something incomplete.
pub(crate) async fn image(
    disk: &Disk,
    endpoint: &Endpoint,
    manifest: &ImageManifest,
    raw: Vec<u8>,
    progress: &Progress,
) -> Result<(), Error> {
    let name = endpoint.image.to_string();
    let failed = |e: OciDistributionError| explain(&e, &endpoint.registry, "pushing", &name);
    endpoint.client.auth(&endpoint.image, &endpoint.auth, RegistryOperation::Push).await.map_err(failed)?;
    for descriptor in manifest.layers.iter().chain([&manifest.config]) {
        blob(disk, endpoint, descriptor, progress).await?;
    }
    progress.step(|| format!("sending the manifest of {name}"));
    let content_type = http::HeaderValue::from_str(&manifest.media_type)
        .map_err(|_| Error::format(format!("manifest of {name}"), "its media type is no header value"))?;
    endpoint.client.push_manifest_raw(&endpoint.image, raw, content_type).await.map_err(failed)?;
    Ok(())
}

async fn blob(
    disk: &Disk,
    endpoint: &Endpoint,
    descriptor: &Descriptor,
    progress: &Progress,
) -> Result<(), Error> {
    let what = format!("blob {} to {}", descriptor.digest, endpoint.registry);
    // A registry that answers this wrongly gets the blob once too often.
    if endpoint.client.blob_exists(&endpoint.image, &descriptor.digest).await.unwrap_or(false) {
        progress.blob(&descriptor.digest, descriptor.size, descriptor.size);
        return Ok(());
    }
    let path = disk.blob(&descriptor.digest);
    let file = tokio::fs::File::open(&path).await.at("opening", &path)?;
    let chunks = chunks(file, path, descriptor.clone(), progress.clone());
    endpoint
        .client
        .push_blob_stream(&endpoint.image, chunks, &descriptor.digest, Some(descriptor.size))
        .await
        .map_err(|e| explain(&e, &endpoint.registry, "pushing", &what))?;
    Ok(())
}

/// The file's bytes, piece by piece.
fn chunks(
    file: tokio::fs::File,
    path: PathBuf,
    descriptor: Descriptor,
    progress: Progress,
) -> impl stream::Stream<Item = Result<bytes::Bytes, OciDistributionError>> + Send + 'static {
    stream::try_unfold((file, 0u64), move |(mut file, sent)| {
        let (descriptor, progress, path) = (descriptor.clone(), progress.clone(), path.clone());
        async move {
            let mut buffer = bytes::BytesMut::with_capacity(READ_BUFFER);
            let n = file.read_buf(&mut buffer).await.map_err(|e| {
                OciDistributionError::IoError(std::io::Error::new(
                    e.kind(),
                    format!("reading {}: {e}", path.display()),
                ))
            })?;
            if n == 0 {
                return Ok(None);
            }
            let sent = sent + n as u64;
            progress.blob(&descriptor.digest, sent, descriptor.size);
            Ok(Some((buffer.freeze(), (file, sent))))
        }
    })
}
