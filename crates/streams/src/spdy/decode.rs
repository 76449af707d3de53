//! Bytes, in whatever pieces they come, into frames.

use bytes::{Buf, Bytes, BytesMut};

use super::block::Inflater;
use super::frame::{FIN, Frame, HEAD, UNIDIRECTIONAL, VERSION, kind};
use super::{MAX_BLOCK, MAX_CONTROL, MAX_DATA, MAX_SETTINGS};

/// The bytes are no SPDY/3.1; the connection cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A control frame of another version.
    #[error("a control frame has version {0}, not {VERSION}")]
    Version(u16),
    /// A control frame above [`MAX_CONTROL`].
    #[error("a control frame of {0} bytes is longer than the {MAX_CONTROL} that are allowed")]
    LongControl(usize),
    /// A header block that unfolds to more than [`MAX_BLOCK`].
    #[error("a header block is longer than the {MAX_BLOCK} bytes that are allowed")]
    LongBlock,
    /// More than [`MAX_SETTINGS`] settings.
    #[error("a SETTINGS frame has {0} entries, {MAX_SETTINGS} are allowed")]
    LongSettings(u32),
    /// A control frame whose length does not fit its type.
    #[error("a control frame of type {0} has a length that it cannot have")]
    Length(u16),
    /// A header block that cannot be decompressed.
    #[error("a header block cannot be decompressed")]
    Compression,
    /// Bytes that are no pairs of names in lower case and values, each name once.
    #[error("a header block holds what is no header")]
    Header,
    /// The connection ended inside a frame.
    #[error("the connection ended inside a frame")]
    Truncated,
}

/// The head and the rest of a data frame that is being handed out.
#[derive(Debug, Clone, Copy)]
struct Open {
    stream: u32,
    fin: bool,
    left: usize,
}

/// Reads one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    data: Option<Open>,
    inflater: Inflater,
    failed: Option<Error>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// One that has read nothing.
    pub fn new() -> Self {
        Self { buffer: BytesMut::new(), data: None, inflater: Inflater::new(), failed: None }
    }

    /// Takes bytes in. Call [`Decoder::next_frame`] until it has no more before taking in the next ones, so that the
    /// buffer stays as small as one control frame and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next frame, or piece of a data frame; `None` when more bytes are needed. An error repeats for ever.
    ///
    /// # Errors
    /// When the bytes are not what SPDY/3.1 allows, or too large.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.step();
        if let Err(error) = result {
            self.failed = Some(error);
            self.buffer = BytesMut::new();
        }
        result
    }

    /// To be asked when the connection has ended: an error if it ended inside a frame.
    ///
    /// # Errors
    /// When it did, or the decoder had failed before.
    pub fn finish(&self) -> Result<(), Error> {
        match self.failed {
            Some(error) => Err(error),
            None if self.data.is_some() || !self.buffer.is_empty() => Err(Error::Truncated),
            None => Ok(()),
        }
    }

    fn step(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            if let Some(open) = self.data {
                return Ok(self.piece(open));
            }
            let Some(head) = self.buffer.first_chunk::<HEAD>() else { return Ok(None) };
            let [a, b, c, d, flags, e, f, g] = *head;
            let length = u32::from_be_bytes([0, e, f, g]) as usize;
            if a & 0x80 == 0 {
                self.buffer.advance(HEAD);
                let open =
                    Open { stream: u32::from_be_bytes([a, b, c, d]), fin: flags & FIN != 0, left: length };
                if length == 0 {
                    return Ok(Some(Frame::Data {
                        stream: open.stream,
                        fin: open.fin,
                        payload: Bytes::new(),
                    }));
                }
                self.data = Some(open);
                continue;
            }
            let version = u16::from_be_bytes([a & 0x7f, b]);
            if version != VERSION {
                return Err(Error::Version(version));
            }
            if length > MAX_CONTROL {
                return Err(Error::LongControl(length));
            }
            if self.buffer.len() < HEAD + length {
                return Ok(None);
            }
            self.buffer.advance(HEAD);
            let content = self.buffer.split_to(length);
            if let Some(frame) = self.control(u16::from_be_bytes([c, d]), flags, &content)? {
                return Ok(Some(frame));
            }
        }
    }

    fn piece(&mut self, open: Open) -> Option<Frame> {
        let length = open.left.min(self.buffer.len()).min(MAX_DATA);
        if length == 0 {
            return None;
        }
        let payload = self.buffer.split_to(length).freeze();
        let left = open.left - length;
        self.data = (left > 0).then_some(Open { left, ..open });
        Some(Frame::Data { stream: open.stream, fin: open.fin && left == 0, payload })
    }

    /// The control frame with this content; nothing for a type that is not known, as the specification wants.
    fn control(&mut self, kind: u16, flags: u8, content: &[u8]) -> Result<Option<Frame>, Error> {
        let fin = flags & FIN != 0;
        let wrong = Error::Length(kind);
        Ok(Some(match kind {
            kind::SYN_STREAM => {
                let (&[a, b, c, d, e, f, g, h, priority, _slot], block) =
                    content.split_first_chunk().ok_or(wrong)?;
                Frame::SynStream {
                    stream: id([a, b, c, d]),
                    associated: id([e, f, g, h]),
                    priority: priority >> 5,
                    fin,
                    unidirectional: flags & UNIDIRECTIONAL != 0,
                    headers: self.inflater.block(block)?,
                }
            }
            kind::SYN_REPLY | kind::HEADERS => {
                let (stream, block) = content.split_first_chunk().ok_or(wrong)?;
                let (stream, headers) = (id(*stream), self.inflater.block(block)?);
                match kind {
                    kind::SYN_REPLY => Frame::SynReply { stream, fin, headers },
                    _ => Frame::Headers { stream, fin, headers },
                }
            }
            kind::SETTINGS => Frame::Settings(settings(content)?),
            kind::PING => Frame::Ping(u32::from_be_bytes(content.try_into().map_err(|_| wrong)?)),
            kind::RST_STREAM | kind::GO_AWAY | kind::WINDOW_UPDATE => {
                let &[a, b, c, d, e, f, g, h] = <&[u8; 8]>::try_from(content).map_err(|_| wrong)?;
                let (stream, status) = (id([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
                match kind {
                    kind::RST_STREAM => Frame::RstStream { stream, status },
                    kind::GO_AWAY => Frame::GoAway { last: stream, status },
                    _ => Frame::WindowUpdate { stream, delta: id([e, f, g, h]) },
                }
            }
            _ => return Ok(None),
        }))
    }
}

/// A number of 31 bits.
fn id(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes) & 0x7fff_ffff
}

fn settings(content: &[u8]) -> Result<Vec<(u8, u32, u32)>, Error> {
    let (count, entries) = content.split_first_chunk().ok_or(Error::Length(kind::SETTINGS))?;
    let count = u32::from_be_bytes(*count);
    if count as usize > MAX_SETTINGS {
        return Err(Error::LongSettings(count));
    }
    let (entries, rest) = entries.as_chunks::<8>();
    if entries.len() != count as usize || !rest.is_empty() {
        return Err(Error::Length(kind::SETTINGS));
    }
    Ok(entries
        .iter()
        .map(|&[flags, a, b, c, d, e, f, g]| {
            (flags, u32::from_be_bytes([0, a, b, c]), u32::from_be_bytes([d, e, f, g]))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Encoder, Headers, decode_all};
    use super::*;
    use proptest::prelude::*;

    fn encode(frames: &[Frame]) -> Vec<u8> {
        let mut encoder = Encoder::new();
        let mut out = Vec::new();
        frames.iter().for_each(|frame| encoder.encode(frame, &mut out));
        out
    }

    #[test]
    fn wire_form() {
        assert_eq!(encode(&[Frame::Ping(7)]), [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 7]);
        assert_eq!(
            encode(&[Frame::Data { stream: 5, fin: true, payload: Bytes::from_static(b"hi") }]),
            [0, 0, 0, 5, 1, 0, 0, 2, b'h', b'i']
        );
        assert_eq!(
            encode(&[Frame::RstStream { stream: 3, status: 5 }]),
            [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 5]
        );
        let reply = encode(&[Frame::SynReply { stream: 1, fin: false, headers: Headers::default() }]);
        assert_eq!(reply[..12], [0x80, 3, 0, 2, 0, 0, 0, reply.len() as u8 - 8, 0, 0, 0, 1]);
    }

    #[test]
    fn wrong_bytes() {
        let long = (MAX_CONTROL as u32 + 1).to_be_bytes();
        for (bytes, want) in [
            (vec![0x80, 2, 0, 6, 0, 0, 0, 4], Error::Version(2)),
            (vec![0x80, 3, 0, 1, 0, long[1], long[2], long[3]], Error::LongControl(MAX_CONTROL + 1)),
            (vec![0x80, 3, 0, 6, 0, 0, 0, 3, 0, 0, 0], Error::Length(kind::PING)),
            (vec![0x80, 3, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1], Error::Length(kind::SYN_STREAM)),
            (vec![0x80, 3, 0, 8, 0, 0, 0, 6, 0, 0, 0, 1, 9, 9], Error::Compression),
            (vec![0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 1, 1], Error::LongSettings(257)),
            (vec![0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1], Error::Length(kind::SETTINGS)),
            (vec![0, 0, 0, 1, 0, 0, 0, 2, 1], Error::Truncated),
            (vec![0x80, 3], Error::Truncated),
        ] {
            assert_eq!(decode_all(&bytes), Err(want), "{bytes:?}");
        }
    }

    #[test]
    fn unknown_types_are_skipped_and_long_data_comes_in_pieces() {
        let mut bytes = vec![0x80, 3, 0, 77, 0, 0, 0, 2, 1, 2];
        let length = (MAX_DATA as u32 * 3).to_be_bytes();
        bytes.extend([0, 0, 0, 9, FIN, length[1], length[2], length[3]]);
        let mut decoder = Decoder::new();
        decoder.push(&bytes);
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.push(&vec![1; MAX_DATA * 3]);
        for last in [false, false, true] {
            let Ok(Some(Frame::Data { stream: 9, fin, payload })) = decoder.next_frame() else { panic!() };
            assert_eq!((fin, payload.len()), (last, MAX_DATA));
        }
        assert_eq!((decoder.next_frame(), decoder.finish()), (Ok(None), Ok(())));
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let id = 0..1u32 << 31;
        let headers = prop::collection::btree_map("[a-z-]{1,12}", "[ -~\u{0}]{0,40}", 0..6)
            .prop_map(|map| Headers(map.into_iter().collect()));
        let frame =
            prop_oneof![
                (id.clone(), id.clone(), 0u8..8, any::<bool>(), any::<bool>(), headers.clone()).prop_map(
                    |(stream, associated, priority, fin, unidirectional, headers)| Frame::SynStream {
                        stream,
                        associated,
                        priority,
                        fin,
                        unidirectional,
                        headers
                    }
                ),
                (id.clone(), any::<bool>(), headers.clone())
                    .prop_map(|(stream, fin, headers)| Frame::SynReply { stream, fin, headers }),
                (id.clone(), any::<bool>(), headers).prop_map(|(stream, fin, headers)| Frame::Headers {
                    stream,
                    fin,
                    headers
                }),
                (id.clone(), any::<u32>()).prop_map(|(stream, status)| Frame::RstStream { stream, status }),
                prop::collection::vec((any::<u8>(), 0..1u32 << 24, any::<u32>()), 0..5)
                    .prop_map(Frame::Settings),
                any::<u32>().prop_map(Frame::Ping),
                (id.clone(), any::<u32>()).prop_map(|(last, status)| Frame::GoAway { last, status }),
                (id.clone(), 0..1u32 << 31).prop_map(|(stream, delta)| Frame::WindowUpdate { stream, delta }),
                (id, any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(
                    |(stream, fin, payload)| Frame::Data { stream, fin, payload: Bytes::from(payload) }
                ),
            ];
        prop::collection::vec(frame, 0..12)
    }

    /// Joins the pieces of data frames, which depend on how the bytes were cut.
    fn joined(frames: Vec<Frame>) -> Vec<(Option<Frame>, u32, bool, Vec<u8>)> {
        let mut out: Vec<(Option<Frame>, u32, bool, Vec<u8>)> = Vec::new();
        for frame in frames {
            match (frame, out.last_mut()) {
                (Frame::Data { stream, fin, payload }, Some((None, last, ended, bytes)))
                    if *last == stream && !*ended =>
                {
                    bytes.extend_from_slice(&payload);
                    *ended = fin;
                }
                (Frame::Data { stream, fin, payload }, _) => out.push((None, stream, fin, payload.to_vec())),
                (frame, _) => out.push((Some(frame), 0, false, Vec::new())),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(frames in frames(), cut in 1usize..64) {
            let mut decoder = Decoder::new();
            let mut got = Vec::new();
            for piece in encode(&frames).chunks(cut) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    got.push(frame);
                }
            }
            prop_assert_eq!(joined(got), joined(frames));
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        #[test]
        fn any_bytes_are_survived(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            kind in 0u8..12,
            honest in any::<bool>(),
        ) {
            // Half of the time a head that leads into the content.
            let mut all = if honest { vec![0x80, 3, 0, kind, 0, 0, 0, bytes.len().min(255) as u8] } else { vec![] };
            all.extend(bytes);
            let _ = decode_all(&all);
        }
    }
}
