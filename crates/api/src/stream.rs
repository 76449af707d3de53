//! The frames in which `exec` and `attach` travel between the API server and a node.
//!
//! A frame is one byte of channel, four bytes of big-endian length and the payload. It is simpler than WebSockets and
//! has what they lack: a way to close one channel (stdin) and go on with the others. This is the codec alone, on
//! bytes; it must not read or write anything.

/// The longest payload of a frame, in bytes. A frame is held whole in memory on every hop, so this bounds what one
/// session costs there; larger data is sent in several frames.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Bytes before the payload.
pub const HEADER: usize = 5;

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Towards the process.
    Stdin,
    /// From the process.
    Stdout,
    /// From the process; unused with a terminal.
    Stderr,
    /// A `metav1.Status` as JSON; the last frame of an `exec`.
    Status,
    /// `{"Width":..,"Height":..}`, towards the process.
    Resize,
    /// One byte: the channel on which nothing more will come.
    Close,
}

impl Channel {
    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Status => 3,
            Self::Resize => 4,
            Self::Close => 255,
        }
    }

    /// The channel with this byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::Status,
            4 => Self::Resize,
            255 => Self::Close,
            _ => return None,
        })
    }
}

/// One whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where it belongs.
    pub channel: Channel,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
}

impl Frame {
    /// For a frame on [`Channel::Close`]: the channel that is closed.
    pub fn closes(&self) -> Option<Channel> {
        match (self.channel, self.payload.as_slice()) {
            (Channel::Close, [byte]) => Channel::from_byte(*byte),
            _ => None,
        }
    }
}

/// The bytes are no frames; the stream cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A channel that does not exist.
    #[error("unknown channel {0} in a frame")]
    Channel(u8),
    /// A length above [`MAX_PAYLOAD`].
    #[error("a frame of {0} bytes is longer than the {MAX_PAYLOAD} that are allowed")]
    TooLong(u32),
    /// A close frame that does not name exactly one existing channel.
    #[error("a close frame does not name a channel")]
    Close,
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
}

/// Appends data as frames, as many as it needs; nothing for empty data.
pub fn encode(channel: Channel, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(payload.len() + HEADER * payload.len().div_ceil(MAX_PAYLOAD));
    for chunk in payload.chunks(MAX_PAYLOAD) {
        frame(channel, chunk, out);
    }
}

/// Appends the frame that says that nothing more will come on a channel.
pub fn encode_close(channel: Channel, out: &mut Vec<u8>) {
    frame(Channel::Close, &[channel.byte()], out);
}

/// Appends a frame with the size of the terminal.
pub fn encode_resize(width: u16, height: u16, out: &mut Vec<u8>) {
    frame(Channel::Resize, format!("{{\"Width\":{width},\"Height\":{height}}}").as_bytes(), out);
}

/// Appends a status as one frame. A message that would not fit is cut, so that the last frame always arrives whole.
pub fn encode_status(status: &crate::status::Status, out: &mut Vec<u8>) {
    let mut bytes = serde_json::to_vec(status).unwrap_or_default();
    if bytes.len() > MAX_PAYLOAD {
        let mut short = crate::status::Status::failure(status.code, &status.reason, "");
        short.status.clone_from(&status.status);
        // A char is at most 6 bytes as JSON (\u0000).
        short.message = status.message.chars().take(MAX_PAYLOAD / 16).collect();
        short.reason.truncate(short.reason.floor_char_boundary(256));
        bytes = serde_json::to_vec(&short).unwrap_or_default();
    }
    frame(Channel::Status, &bytes, out);
}

/// The terminal size in the payload of a resize frame, width first.
pub fn decode_resize(payload: &[u8]) -> Option<(u16, u16)> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let side = |name: &str| value[name].as_u64().and_then(|n| u16::try_from(n).ok());
    Some((side("Width")?, side("Height")?))
}

fn frame(channel: Channel, payload: &[u8], out: &mut Vec<u8>) {
    let payload = &payload[..payload.len().min(MAX_PAYLOAD)];
    out.push(channel.byte());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
}

/// Turns bytes, in whatever pieces they come, into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` that have been handed out.
    read: usize,
    failed: Option<Error>,
}

impl Decoder {
    /// An empty decoder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes in. Call [`Decoder::next_frame`] until it has no more before taking in the next ones, so that the buffer
    /// stays as small as one frame and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.read > 0 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` when more bytes are needed. An error repeats for ever.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.step();
        if let Err(error) = result {
            self.failed = Some(error);
            self.buffer = Vec::new();
            self.read = 0;
        }
        result
    }

    /// To be asked when the stream has ended: an error if it ended inside a frame.
    pub fn finish(&self) -> Result<(), Error> {
        match self.failed {
            Some(error) => Err(error),
            None if self.read < self.buffer.len() => Err(Error::Truncated),
            None => Ok(()),
        }
    }

    fn step(&mut self) -> Result<Option<Frame>, Error> {
        let rest = &self.buffer[self.read..];
        let Some(&byte) = rest.first() else { return Ok(None) };
        let channel = Channel::from_byte(byte).ok_or(Error::Channel(byte))?;
        let Some(length) = rest.get(1..HEADER).and_then(|b| <[u8; 4]>::try_from(b).ok()) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(length);
        if length as usize > MAX_PAYLOAD {
            return Err(Error::TooLong(length));
        }
        let Some(payload) = rest.get(HEADER..HEADER + length as usize) else { return Ok(None) };
        let frame = Frame { channel, payload: payload.to_vec() };
        if channel == Channel::Close && frame.closes().is_none() {
            return Err(Error::Close);
        }
        self.read += HEADER + length as usize;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(decoder: &mut Decoder) -> Result<Vec<Frame>, Error> {
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn wire_form() {
        let mut out = Vec::new();
        encode(Channel::Stdout, b"hi", &mut out);
        encode_close(Channel::Stdin, &mut out);
        assert_eq!(out, [1, 0, 0, 0, 2, b'h', b'i', 255, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn wrong_bytes() {
        for (bytes, want) in [
            (vec![9], Error::Channel(9)),
            (vec![0, 0, 1, 0, 1], Error::TooLong(65537)),
            (vec![255, 0, 0, 0, 1, 77], Error::Close),
            (vec![255, 0, 0, 0, 0], Error::Close),
        ] {
            let mut decoder = Decoder::new();
            decoder.push(&bytes);
            assert_eq!(decoder.next_frame(), Err(want));
            decoder.push(&[0, 0, 0, 0, 0]);
            assert_eq!(decoder.next_frame(), Err(want));
        }
        let mut decoder = Decoder::new();
        decoder.push(&[1, 0, 0]);
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.finish(), Err(Error::Truncated));
    }

    #[test]
    fn long_data_is_split_and_long_statuses_are_cut() {
        let mut out = Vec::new();
        encode(Channel::Stderr, &vec![7; MAX_PAYLOAD * 2 + 1], &mut out);
        encode_status(&crate::status::Status::internal("\u{1}".repeat(100_000)), &mut out);
        let mut decoder = Decoder::new();
        decoder.push(&out);
        let frames = all(&mut decoder).unwrap();
        assert_eq!(frames.iter().map(|f| f.payload.len()).take(3).collect::<Vec<_>>(), [65536, 65536, 1]);
        let status: crate::status::Status = serde_json::from_slice(&frames[3].payload).unwrap();
        assert_eq!(status.reason, "InternalError");
        assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn resize() {
        let mut out = Vec::new();
        encode_resize(120, 40, &mut out);
        assert_eq!(decode_resize(&out[HEADER..]), Some((120, 40)));
        for wrong in ["", "{}", r#"{"Width":70000,"Height":1}"#, r#"{"Width":-1,"Height":1}"#] {
            assert_eq!(decode_resize(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            frames in prop::collection::vec((0u8..5, prop::collection::vec(any::<u8>(), 1..300)), 0..12),
            cut in 1usize..64,
        ) {
            let mut out = Vec::new();
            let mut want = Vec::new();
            for (byte, payload) in frames {
                let channel = Channel::from_byte(byte).unwrap();
                encode(channel, &payload, &mut out);
                want.push(Frame { channel, payload });
            }
            let mut decoder = Decoder::new();
            let mut got = Vec::new();
            for piece in out.chunks(cut) {
                decoder.push(piece);
                got.extend(all(&mut decoder).unwrap());
            }
            prop_assert_eq!(got, want);
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut decoder = Decoder::new();
            decoder.push(&bytes);
            let _ = all(&mut decoder);
        }
    }
}
