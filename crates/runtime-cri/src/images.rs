//! The daemon's own images: asked for, and pulled with the pod's credentials.

use dunlin_grpc::wire::Message;
use dunlin_grpc::{Failure, code};
use dunlin_runtime::image::{Credentials, Image, ImageConfig, PullError, PullPolicy, Reference};

use crate::call;
use crate::message;
use crate::runtime::Shared;

/// The image of this name, if the daemon has it.
pub async fn get(shared: &Shared, name: &str) -> Result<Option<Image>, PullError> {
    let reference = normalised(name)?;
    let request = Message::default().message(1, spec(&reference)).int(2, 1);
    let answer = shared.link.try_ask(call::IMAGE, request).await;
    let malformed = |e: String| PullError::Failed(format!("{}: {e}", shared.link.name()));
    let found = match answer {
        Ok(answer) => message::image(answer).map_err(|e| malformed(e.to_string()))?,
        Err(Failure::Refused { code: code::NOT_FOUND, .. }) => None,
        Err(failure) => return Err(failed(shared, failure)),
    };
    let Some(found) = found else { return Ok(None) };
    if found.config.is_empty() {
        return Err(malformed(format!("it does not say how containers of {reference} start")));
    }
    let config = ImageConfig::parse(&format!("configuration of {reference}"), found.config.as_bytes())?;
    let digest = found.digests.iter().find_map(|d| d.split_once('@')).map(|(_, digest)| digest.to_owned());
    Ok(Some(Image {
        id: found.id,
        digest: digest.unwrap_or_default(),
        reference,
        // The daemon sends this one itself when it is asked to end a container.
        config: ImageConfig { stop_signal: None, ..config },
        layers: Vec::new(),
        size: found.size,
    }))
}

/// The image, pulled if the policy says so.
pub async fn ensure(
    shared: &Shared,
    name: &str,
    policy: PullPolicy,
    credentials: Option<&Credentials>,
) -> Result<Image, PullError> {
    if policy != PullPolicy::Always
        && let Some(image) = get(shared, name).await?
    {
        return Ok(image);
    }
    let reference = normalised(name)?;
    if policy == PullPolicy::Never {
        return Err(PullError::NeverPull(reference));
    }
    let mut request = Message::default().message(1, spec(&reference));
    if let Some(credentials) = credentials {
        let auth = match credentials {
            Credentials::Basic { username, password } => {
                Message::default().text(1, username).text(2, password)
            }
            Credentials::Bearer(token) => Message::default().text(6, token),
        };
        request = request.message(2, auth);
    }
    shared.link.try_ask(call::PULL, request).await.map_err(|failure| failed(shared, failure))?;
    get(shared, name).await?.ok_or_else(|| {
        PullError::Failed(format!(
            "{} has pulled {reference} and does not have it; try again",
            shared.link.name()
        ))
    })
}

fn normalised(name: &str) -> Result<String, PullError> {
    let reference = Reference::parse(name).map_err(|e| PullError::InvalidName(e.to_string()))?;
    Ok(reference.to_string())
}

fn spec(reference: &str) -> Message {
    Message::default().text(1, reference)
}

fn failed(shared: &Shared, failure: Failure) -> PullError {
    let text = format!("{}: {failure}", shared.link.name());
    match failure {
        Failure::Refused { .. } => PullError::Failed(text),
        Failure::Unreached(_) | Failure::Lost(_) => PullError::Unavailable(text),
    }
}
