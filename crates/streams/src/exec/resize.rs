//! The sizes of a terminal, as a client tells them: one JSON object after the other.

use serde_json::{Deserializer, Value};

/// The longest that one size may be, in bytes.
const LONGEST: usize = 1 << 10;

/// Reads sizes out of pieces, however they are cut.
#[derive(Debug, Default)]
pub struct Sizes {
    unread: Vec<u8>,
}

impl Sizes {
    /// The last whole size in what has come, as its JSON.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.unread.extend_from_slice(bytes);
        let mut values = Deserializer::from_slice(&self.unread).into_iter::<Value>();
        let mut last = None;
        let mut wrong = false;
        for value in values.by_ref() {
            match value {
                Ok(value) => last = Some(value),
                Err(error) => {
                    wrong = !error.is_eof();
                    break;
                }
            }
        }
        let read = values.byte_offset();
        if wrong || self.unread.len() - read > LONGEST {
            self.unread.clear();
        } else {
            self.unread.drain(..read);
        }
        last.map(|value| value.to_string().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_however_they_are_cut() {
        let mut sizes = Sizes::default();
        let mut got = Vec::new();
        for piece in [
            &br#"{"Width":80,"Hei"#[..],
            b"ght\":24}\n",
            b"{\"Width\":1,\"Height\":1}\n{\"Width\":2,\"Height\":2}\n{",
            b"\"Width\":3,\"Height\":3}",
        ] {
            let size = sizes.push(piece).and_then(|json| dunlin_api::stream::decode_resize(&json));
            got.push(size);
        }
        assert_eq!(got, [None, Some((80, 24)), Some((2, 2)), Some((3, 3))]);
    }

    #[test]
    fn what_is_no_size_is_forgotten() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.push(b"]"), None);
        assert_eq!(sizes.push(&[b'['; LONGEST + 1]), None);
        assert!(sizes.push(br#"{"Width":3,"Height":3}"#).is_some());
    }
}
