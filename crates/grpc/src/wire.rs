//! Protocol buffers' wire format, as far as the messages here need it: integers and length-delimited fields.
//!
//! Source: protobuf.dev, "Encoding". Unknown fields are skipped, so that a newer program may say more.

use bytes::{Buf, Bytes, BytesMut};

/// A message that is being written.
#[derive(Debug, Default)]
pub struct Message(BytesMut);

impl Message {
    /// A field of the types `int64`, `uint64`, `bool` or of an enumeration. The default is left out.
    pub fn int(mut self, field: u32, value: i64) -> Self {
        if value != 0 {
            self.varint(u64::from(field) << 3);
            // Negative numbers take ten bytes, as the format has it.
            self.varint(value.cast_unsigned());
        }
        self
    }

    /// An element of a repeated field of integers; the default is written, too.
    pub fn element(mut self, field: u32, value: i64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value.cast_unsigned());
        self
    }

    /// A field of the types `bytes` or `string`.
    pub fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        if !value.is_empty() {
            self.piece(field, value);
        }
        self
    }

    /// A field of the type `string`.
    pub fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    /// A repeated field of the type `string`; empty ones are elements, too.
    pub fn texts<T: AsRef<str>>(mut self, field: u32, values: impl IntoIterator<Item = T>) -> Self {
        for value in values {
            self.piece(field, value.as_ref().as_bytes());
        }
        self
    }

    /// A field of a map type: each pair is a message with key and value.
    pub fn map<K: AsRef<str>, V: AsRef<str>>(
        self,
        field: u32,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let entry = |key: K, value: V| Self::default().text(1, key.as_ref()).text(2, value.as_ref());
        pairs.into_iter().fold(self, |message, (key, value)| message.message(field, entry(key, value)))
    }

    /// A message inside this one; an empty one is written, too, since its presence says something.
    pub fn message(mut self, field: u32, value: Self) -> Self {
        self.piece(field, &value.0);
        self
    }

    /// The bytes.
    pub fn done(self) -> Bytes {
        self.0.freeze()
    }

    fn piece(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.extend_from_slice(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.0.extend_from_slice(&[value as u8]);
    }
}

/// What a field holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// Any integer type but the fixed ones.
    Int(u64),
    /// Bytes, text, or a message.
    Bytes(Bytes),
}

impl Value {
    /// As a signed number; 0 where it is none.
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(value) => value.cast_signed(),
            Self::Bytes(_) => 0,
        }
    }

    /// As bytes, sharing the buffer; empty where it is none.
    pub fn bytes(self) -> Bytes {
        match self {
            Self::Int(_) => Bytes::new(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// As one pair of a map.
    ///
    /// # Errors
    /// When it is no message.
    pub fn pair(self) -> Result<(String, String), Malformed> {
        let mut pair = (String::new(), String::new());
        fields(self.bytes(), |field, value| {
            match field {
                1 => pair.0 = value.text(),
                2 => pair.1 = value.text(),
                _ => {}
            }
            Ok(())
        })?;
        Ok(pair)
    }

    /// As text; what is no UTF-8 is replaced.
    pub fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

/// The message ends in the middle of a field, or has one of a kind that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is malformed")]
pub struct Malformed;

/// Calls `each` with the number and the value of every field, in order. Fixed-size numbers are skipped: nothing here has any.
pub fn fields(
    mut message: Bytes,
    mut each: impl FnMut(u32, Value) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while message.has_remaining() {
        let tag = varint(&mut message)?;
        let field = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut message)?;
                each(field, Value::Int(value))?;
            }
            1 => skip(&mut message, 8)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).map_err(|_| Malformed)?;
                if length > message.remaining() {
                    return Err(Malformed);
                }
                each(field, Value::Bytes(message.split_to(length)))?;
            }
            5 => skip(&mut message, 4)?,
            _ => return Err(Malformed),
        }
    }
    Ok(())
}

fn skip(message: &mut Bytes, count: usize) -> Result<(), Malformed> {
    if message.remaining() < count {
        return Err(Malformed);
    }
    message.advance(count);
    Ok(())
}

fn varint(message: &mut Bytes) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        if !message.has_remaining() {
            return Err(Malformed);
        }
        let byte = message.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let inner = Message::default().int(1, -1).bytes(2, b"key");
        let bytes =
            Message::default().int(3, 300).message(4, inner).message(5, Message::default()).int(6, 0).done();
        let mut seen = Vec::new();
        fields(bytes, |field, value| {
            seen.push((field, value));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.len(), 3, "a zero is left out, an empty message is not");
        assert_eq!(seen[0], (3, Value::Int(300)));
        let Value::Bytes(inner) = &seen[1].1 else { panic!("{seen:?}") };
        let mut inside = Vec::new();
        fields(inner.clone(), |field, value| {
            inside.push((field, value.int(), value.bytes()));
            Ok(())
        })
        .unwrap();
        assert_eq!(inside, [(1, -1, Bytes::new()), (2, 0, Bytes::from_static(b"key"))]);
    }

    #[test]
    fn what_is_cut_or_odd_is_refused() {
        let read = |bytes: &'static [u8]| fields(Bytes::from_static(bytes), |_, _| Ok(()));
        assert_eq!(read(&[0x08]), Err(Malformed), "no number");
        assert_eq!(read(&[0x0a, 5, 1]), Err(Malformed), "a length beyond the end");
        assert_eq!(read(&[0x0b]), Err(Malformed), "groups do not exist any more");
        assert_eq!(read(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Err(Malformed));
        assert_eq!(
            read(&[0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x0d, 1, 2, 3, 4]),
            Ok(()),
            "fixed sizes are skipped"
        );
    }
}
