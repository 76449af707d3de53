//! What an etcd says: its messages, and the values that somebody may have written there.

use bytes::Bytes;
use dunlin_store::etcd::message::{Ranged, Transacted, Watched};
use dunlin_store::etcd::record::Record;

/// The messages of etcd, and the records in its values. A record that was read can be written again.
pub fn etcd(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let _ =
        (Ranged::decode(bytes.clone()), Transacted::decode(bytes.clone()), Watched::decode(bytes.clone()));
    if let Ok(record) = Record::decode(bytes.clone()) {
        assert_eq!(
            record.encode().expect("it was written once"),
            bytes,
            "a record is written as it was read"
        );
        let (short, long) = (record.value(1), record.value(u64::MAX));
        assert!(short.len() <= long.len() && long.len() - short.len() <= 8 * 19, "only revisions differ");
    }
}
