//! The connection that a lower level dials and the level above calls on: HTTP/2 with the roles swapped.
//!
//! Right after the TLS handshake the dialled side becomes the HTTP/2 client and the dialling side the server. Requests
//! and responses stream both ways at once, with HTTP/2's own flow control; a ping now and then keeps NAT entries alive
//! and tells both sides that the other lives. Nothing below ever listens.

pub mod accept;
mod alive;
pub mod dial;
mod tasks;

pub use alive::Alive;

use std::time::Duration;

/// The protocol's name in the TLS handshake (ALPN), by which it shares a port with the API.
pub const ALPN: &[u8] = b"dunlin-tunnel/1";

/// The flow control window of one stream, bytes: what a slow reader can make us hold.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The flow control window of a whole connection, bytes.
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// How much of one stream waits to be sent, bytes. Libraries start at several hundred KiB.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams at once: followed logs and forwarded ports all stay open.
const STREAMS: u32 = 1024;

/// How the connection is watched.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often the calling side pings an idle connection. NAT entries for TCP live for minutes at least, and every
    /// ping costs a metered link about 280 bytes with its answer and their acknowledgements.
    pub ping: Duration,
    /// How long a ping may stay unanswered before the connection counts as lost.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ping: Duration::from_secs(25), timeout: Duration::from_secs(10) }
    }
}
