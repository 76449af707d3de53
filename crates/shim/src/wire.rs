//! Bytes on the wire: frames, and the fields inside them.
//!
//! A frame is `u32` length of what follows, `u8` kind, `u32` request id, payload; all numbers little-endian. Nothing is
//! allocated on the word of a peer: a length is checked against [`MAX_FRAME`] before a byte is kept, and a field's
//! length against what the frame really holds. Hostile bytes give an [`Error`], never a panic.

use std::fmt;

/// Greatest length of a frame after its length field. A start request with long paths needs some kilobytes, and
/// streamed output comes in pieces of 32 KiB; more would only let a broken peer make us hold memory.
pub const MAX_FRAME: usize = 256 * 1024;

const HEADER: usize = 5;

/// Why bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A frame longer than [`MAX_FRAME`], or shorter than its header.
    Length(usize),
    /// A field reaches past the end of its frame.
    Truncated,
    /// A kind of message that does not exist in this version.
    Kind(u8),
    /// Text that is not UTF-8.
    Text,
    /// A value that the field cannot have.
    Value,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Length(n) => write!(f, "frame of {n} bytes"),
            Error::Truncated => f.write_str("truncated field"),
            Error::Kind(k) => write!(f, "unknown message kind {k}"),
            Error::Text => f.write_str("text is not UTF-8"),
            Error::Value => f.write_str("impossible value"),
        }
    }
}

impl std::error::Error for Error {}

/// Appends fields to a payload.
#[derive(Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    /// One byte.
    pub fn u8(&mut self, v: u8) {
        self.0.push(v);
    }
    /// A truth value.
    pub fn bool(&mut self, v: bool) {
        self.0.push(u8::from(v));
    }
    /// Two bytes.
    pub fn u16(&mut self, v: u16) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }
    /// Four bytes.
    pub fn u32(&mut self, v: u32) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }
    /// Four bytes with a sign.
    pub fn i32(&mut self, v: i32) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }
    /// Eight bytes.
    pub fn u64(&mut self, v: u64) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }
    /// Length and bytes.
    pub fn bytes(&mut self, v: &[u8]) {
        self.u32(v.len() as u32);
        self.0.extend_from_slice(v);
    }
    /// Length and text.
    pub fn text(&mut self, v: &str) {
        self.bytes(v.as_bytes());
    }
}

/// Takes fields from a payload.
#[derive(Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Error::Truncated)?;
        self.0 = tail;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().map_err(|_| Error::Truncated)
    }
    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }
    /// A truth value; anything but 0 and 1 is refused.
    pub fn bool(&mut self) -> Result<bool, Error> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::Value),
        }
    }
    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    /// Four bytes with a sign.
    pub fn i32(&mut self) -> Result<i32, Error> {
        Ok(i32::from_le_bytes(self.array()?))
    }
    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    /// Length and bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let n = self.u32()? as usize;
        self.take(n)
    }
    /// Length and text.
    pub fn text(&mut self) -> Result<String, Error> {
        std::str::from_utf8(self.bytes()?).map(str::to_owned).map_err(|_| Error::Text)
    }
    /// A list of at most `most` elements.
    pub fn list<T>(
        &mut self,
        most: usize,
        one: impl Fn(&mut Self) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let n = self.u32()? as usize;
        if n > most {
            return Err(Error::Value);
        }
        // No capacity is reserved: the count is only the peer's word until the elements are there.
        let mut list = Vec::new();
        for _ in 0..n {
            list.push(one(self)?);
        }
        Ok(list)
    }
}

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What kind of message it holds.
    pub kind: u8,
    /// Which request it is or answers; 0 for what nobody asked for.
    pub id: u32,
    /// The message's fields.
    pub payload: Vec<u8>,
}

/// Appends a frame to `out`.
pub fn put_frame(out: &mut Vec<u8>, kind: u8, id: u32, payload: &[u8]) {
    out.extend_from_slice(&((payload.len() + HEADER) as u32).to_le_bytes());
    out.push(kind);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes what was read from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their frame.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame, `None` if more bytes are needed.
    ///
    /// # Errors
    /// When the length is impossible; the connection cannot be used any more then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        let mut reader = Reader(&self.buffer);
        let Ok(length) = reader.u32() else { return Ok(None) };
        let length = length as usize;
        if !(HEADER..=MAX_FRAME).contains(&length) {
            return Err(Error::Length(length));
        }
        let Ok(body) = reader.take(length) else { return Ok(None) };
        let mut body = Reader(body);
        let frame = Frame { kind: body.u8()?, id: body.u32()?, payload: body.0.to_vec() };
        self.buffer.drain(..4 + length);
        if self.buffer.is_empty() && self.buffer.capacity() > 4096 {
            self.buffer = Vec::new();
        }
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_split() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, 7, 42, b"hello");
        put_frame(&mut bytes, 8, 43, b"");
        for split in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for part in [&bytes[..split], &bytes[split..]] {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    got.push(frame);
                }
            }
            assert_eq!(got.len(), 2, "split at {split}");
            assert_eq!(got[0], Frame { kind: 7, id: 42, payload: b"hello".to_vec() });
            assert_eq!(decoder.buffered(), 0);
        }
    }

    #[test]
    fn impossible_lengths_are_refused_at_once() {
        for length in [0u32, 4, MAX_FRAME as u32 + 1, u32::MAX] {
            let mut decoder = Decoder::default();
            decoder.push(&length.to_le_bytes());
            assert_eq!(decoder.next_frame(), Err(Error::Length(length as usize)));
        }
    }

    #[test]
    fn a_count_without_elements_is_truncated() {
        let mut writer = Writer::default();
        writer.u32(1000);
        assert_eq!(Reader(&writer.0).list(5000, |r| r.u64()), Err(Error::Truncated));
        assert_eq!(Reader(&writer.0).list(10, |r| r.u64()), Err(Error::Value));
    }
}
