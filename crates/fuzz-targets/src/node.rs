//! A container's log, which the container itself fills, read as `kubectl logs` asks for it.

use dunlin_node::{LogOptions, logs};
use tokio::sync::{mpsc, watch};

/// Three bytes of options, then the log, cut into two files at the first zero byte.
pub fn log(data: &[u8]) {
    let Some((&[flags, tail, limit], text)) = data.split_first_chunk::<3>() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("0.log");
    let at = text.iter().position(|b| *b == 0).unwrap_or(text.len());
    std::fs::write(folder.path().join("0.log.1"), &text[..at]).expect("a file");
    std::fs::write(&path, text.get(at + 1..).unwrap_or_default()).expect("a file");
    let options = LogOptions {
        follow: flags & 1 != 0,
        timestamps: flags & 2 != 0,
        tail_lines: (flags & 4 != 0).then_some(u64::from(tail)),
        limit_bytes: (flags & 8 != 0).then_some(u64::from(limit)),
        ..LogOptions::default()
    };
    let limit = options.limit_bytes;
    let (_ended, ended) = watch::channel(true);
    let (sender, mut receiver) = mpsc::channel::<bytes::Bytes>(4);
    let length = crate::wait_for(async {
        let read = async {
            let mut length = 0;
            while let Some(piece) = receiver.recv().await {
                length += piece.len() as u64;
            }
            length
        };
        futures_util::join!(logs::stream(path.clone(), options, ended, sender), read).1
    });
    assert!(limit.is_none_or(|limit| length <= limit), "{length} bytes were sent, {limit:?} were asked for");
    let text = logs::last_lines(&path, usize::from(tail), usize::from(u8::MAX));
    assert!(text.lines().count() <= usize::from(tail).max(1), "{text:?}");
}
