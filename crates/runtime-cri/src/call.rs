//! The calls of CRI, by name, with how long each may take.

use std::time::Duration;

use bytes::Bytes;
use dunlin_grpc::wire::{Malformed, Message};
use dunlin_grpc::{Failure, code};
use dunlin_runtime::Error;

use crate::link::{Link, Stream};

/// One kind of call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    path: &'static str,
    /// What it is for, in an error.
    doing: &'static str,
    patience: Duration,
}

const fn call(path: &'static str, doing: &'static str, seconds: u64) -> Call {
    Call { path, doing, patience: Duration::from_secs(seconds) }
}

pub const STATUS: Call = call("/runtime.v1.RuntimeService/Status", "asking how it is", 10);
pub const RUN_SANDBOX: Call = call("/runtime.v1.RuntimeService/RunPodSandbox", "making a sandbox", 240);
pub const STOP_SANDBOX: Call = call("/runtime.v1.RuntimeService/StopPodSandbox", "ending a sandbox", 120);
pub const REMOVE_SANDBOX: Call =
    call("/runtime.v1.RuntimeService/RemovePodSandbox", "removing a sandbox", 120);
pub const SANDBOX: Call = call("/runtime.v1.RuntimeService/PodSandboxStatus", "looking at a sandbox", 20);
pub const SANDBOXES: Call = call("/runtime.v1.RuntimeService/ListPodSandbox", "listing sandboxes", 20);
pub const CREATE: Call = call("/runtime.v1.RuntimeService/CreateContainer", "making a container", 240);
pub const START: Call = call("/runtime.v1.RuntimeService/StartContainer", "starting a container", 240);
/// As long as a container may take that was asked to end, and was given [`crate::container::GRACE`].
pub const STOP: Call = call("/runtime.v1.RuntimeService/StopContainer", "ending a container", 31 * 86_400);
pub const KILL: Call = call("/runtime.v1.RuntimeService/StopContainer", "killing a container", 120);
pub const REMOVE: Call = call("/runtime.v1.RuntimeService/RemoveContainer", "removing a container", 120);
pub const CONTAINERS: Call = call("/runtime.v1.RuntimeService/ListContainers", "listing containers", 20);
pub const CONTAINER: Call = call("/runtime.v1.RuntimeService/ContainerStatus", "looking at a container", 20);
pub const REOPEN: Call =
    call("/runtime.v1.RuntimeService/ReopenContainerLog", "beginning a new log file", 20);
pub const EXEC: Call = call("/runtime.v1.RuntimeService/Exec", "preparing an exec", 20);
pub const ATTACH: Call = call("/runtime.v1.RuntimeService/Attach", "preparing an attach", 20);
pub const STATS: Call = call("/runtime.v1.RuntimeService/ContainerStats", "asking what a container uses", 20);
pub const EVENTS: Call = call("/runtime.v1.RuntimeService/GetContainerEvents", "listening to events", 20);
pub const IMAGE: Call = call("/runtime.v1.ImageService/ImageStatus", "looking for an image", 20);
/// A large image over a thin line takes long; the daemon itself gives up a pull in which nothing comes.
pub const PULL: Call = call("/runtime.v1.ImageService/PullImage", "pulling an image", 6 * 3600);

impl Link {
    /// Makes a call and reads its answer.
    pub async fn ask<T>(
        &self,
        call: Call,
        message: Message,
        read: impl FnOnce(Bytes) -> Result<T, Malformed>,
    ) -> Result<T, Error> {
        match self.call(call.path, message, call.patience).await {
            Ok(answer) => read(answer).map_err(|e| self.failed(call, e.to_string())),
            Err(failure) => Err(self.failed(call, failure.to_string())),
        }
    }

    /// The same, of something that may not be there.
    pub async fn find<T>(
        &self,
        call: Call,
        message: Message,
        read: impl FnOnce(Bytes) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Error> {
        match self.call(call.path, message, call.patience).await {
            Ok(answer) => read(answer).map(Some).map_err(|e| self.failed(call, e.to_string())),
            Err(Failure::Refused { code: code::NOT_FOUND, .. }) => Ok(None),
            Err(failure) => Err(self.failed(call, failure.to_string())),
        }
    }

    /// The same, with the failure as it is.
    pub async fn try_ask(&self, call: Call, message: Message) -> Result<Bytes, Failure> {
        self.call(call.path, message, call.patience).await
    }

    /// Events as they come. [`Failure::Refused`] with [`code::UNIMPLEMENTED`] is a daemon that tells none.
    pub async fn events(&self) -> Result<Stream, Failure> {
        self.open(EVENTS.path, Message::default()).await
    }

    pub fn failed(&self, call: Call, reason: impl Into<String>) -> Error {
        Error::Daemon { daemon: self.name(), operation: call.doing, reason: reason.into() }
    }
}

/// Reads an answer that says nothing.
pub fn nothing(_: Bytes) -> Result<(), Malformed> {
    Ok(())
}
