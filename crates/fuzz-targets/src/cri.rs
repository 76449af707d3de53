//! What a daemon says that runs containers over CRI.

use std::time::SystemTime;

use bytes::Bytes;
use dunlin_runtime_cri::message::{
    containers, health, image, info, network_namespace, sandboxes, status, text, time, usage,
};

/// The answers of a daemon, each taken for each. A path of a namespace is never empty, and no moment is before 1970.
pub fn messages(data: &[u8]) {
    let bytes = || Bytes::copy_from_slice(data);
    let _ = (containers(bytes()), image(bytes()), health(bytes()), usage(bytes()), text(bytes(), 1));
    for one in sandboxes(bytes()).into_iter().flatten() {
        assert!(time(one.created) >= SystemTime::UNIX_EPOCH, "{one:?}");
    }
    if let Ok(status) = status(bytes()) {
        assert!(time(status.started) >= SystemTime::UNIX_EPOCH, "{status:?}");
    }
    if let Ok(info) = info(bytes(), 2) {
        assert_ne!(network_namespace(&info).as_deref(), Some(""));
    }
}
