//! Frames into bytes, in the order in which they are sent.

use super::MAX_DATA;
use super::block::Deflater;
use super::frame::{FIN, Frame, HEAD, UNIDIRECTIONAL, VERSION, kind};

/// Writes one direction of a connection.
#[derive(Debug)]
pub struct Encoder {
    deflater: Deflater,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// One that has written nothing.
    pub fn new() -> Self {
        Self { deflater: Deflater::new() }
    }

    /// Appends a frame. Data longer than [`MAX_DATA`] becomes several frames.
    pub fn encode(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        match frame {
            Frame::SynStream { stream, associated, priority, fin, unidirectional, headers } => {
                let flags = flag(*fin, FIN) | flag(*unidirectional, UNIDIRECTIONAL);
                control(out, kind::SYN_STREAM, flags, |out| {
                    numbers(out, &[*stream, *associated]);
                    out.extend_from_slice(&[priority << 5, 0]);
                    self.deflater.block(headers, out);
                });
            }
            Frame::SynReply { stream, fin, headers } => {
                control(out, kind::SYN_REPLY, flag(*fin, FIN), |out| {
                    numbers(out, &[*stream]);
                    self.deflater.block(headers, out);
                });
            }
            Frame::Headers { stream, fin, headers } => {
                control(out, kind::HEADERS, flag(*fin, FIN), |out| {
                    numbers(out, &[*stream]);
                    self.deflater.block(headers, out);
                });
            }
            Frame::RstStream { stream, status } => {
                control(out, kind::RST_STREAM, 0, |out| numbers(out, &[*stream, *status]));
            }
            Frame::Settings(entries) => control(out, kind::SETTINGS, 0, |out| {
                numbers(out, &[entries.len() as u32]);
                for (flags, id, value) in entries {
                    numbers(out, &[u32::from(*flags) << 24 | (id & 0x00ff_ffff), *value]);
                }
            }),
            Frame::Ping(id) => control(out, kind::PING, 0, |out| numbers(out, &[*id])),
            Frame::GoAway { last, status } => {
                control(out, kind::GO_AWAY, 0, |out| numbers(out, &[*last, *status]));
            }
            Frame::WindowUpdate { stream, delta } => {
                control(out, kind::WINDOW_UPDATE, 0, |out| numbers(out, &[*stream, *delta]));
            }
            Frame::Data { stream, fin, payload } => {
                let mut rest = &payload[..];
                loop {
                    let (piece, more) = rest.split_at(rest.len().min(MAX_DATA));
                    let length = piece.len() as u32;
                    numbers(out, &[*stream, u32::from(flag(*fin && more.is_empty(), FIN)) << 24 | length]);
                    out.extend_from_slice(piece);
                    rest = more;
                    if rest.is_empty() {
                        return;
                    }
                }
            }
        }
    }
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

fn numbers(out: &mut Vec<u8>, numbers: &[u32]) {
    numbers.iter().for_each(|n| out.extend_from_slice(&n.to_be_bytes()));
}

fn control(out: &mut Vec<u8>, kind: u16, flags: u8, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    numbers(out, &[0x8000_0000 | u32::from(VERSION) << 16 | u32::from(kind), 0]);
    content(out);
    // Every content that this side makes is far below the 24 bits of the length.
    let length = (out.len() - start - HEAD) as u32;
    out[start + 4..start + HEAD].copy_from_slice(&(u32::from(flags) << 24 | length).to_be_bytes());
}
