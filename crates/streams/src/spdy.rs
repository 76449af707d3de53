//! The SPDY/3.1 codec: bytes into frames and frames into bytes, nothing else.
//!
//! Kubernetes' clients stream over it: `exec` and `attach` before WebSockets, and `port-forward` to this day (inside a
//! WebSocket or by itself). What speaks it here is in `over_spdy`; this must not read or write anything.
//!
//! Three things are bounded, because the bytes are a client's: a control frame, what a header block unfolds to
//! (`block`), and the piece in which data is handed out. A data frame needs no limit, as it is never held whole.
//!
//! Windows are neither kept nor asked for: the one client library there is (Go's spdystream) sends no WINDOW_UPDATE and
//! heeds none, so that a side which waited for one would wait for ever. Pressure is the connection's own: who does not
//! read is not written to.

mod block;
mod decode;
mod dictionary;
mod encode;
mod frame;

pub use block::Headers;
pub use decode::{Decoder, Error};
pub use encode::Encoder;
pub use frame::{Frame, GoAwayStatus, RstStatus};

/// The longest control frame, in bytes without its head. What clients send is below one hundred.
pub const MAX_CONTROL: usize = 16 << 10;
/// The longest that a header block may be once it is decompressed, in bytes.
pub const MAX_BLOCK: usize = 64 << 10;
/// The longest piece of data that is handed out, and the longest data frame that is made, in bytes.
pub const MAX_DATA: usize = 32 << 10;
/// The most entries that a SETTINGS frame may have.
pub const MAX_SETTINGS: usize = 256;

/// Every frame of a recording, as one connection would read it. For tests and fuzzing.
///
/// # Errors
/// When the bytes are not what SPDY/3.1 allows, or are too large.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<Frame>, Error> {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(4096) {
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    decoder.finish()?;
    Ok(frames)
}
