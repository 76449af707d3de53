//! The frames of SPDY/3.1 and their numbers.

use bytes::Bytes;

use super::block::Headers;

/// The protocol's version, as every control frame has it.
pub const VERSION: u16 = 3;
/// The flag: nothing more comes on this stream from this side.
pub const FIN: u8 = 0x01;
/// The flag of SYN_STREAM: nothing will come from the other side.
pub const UNIDIRECTIONAL: u8 = 0x02;
/// Bytes before the content of a frame.
pub const HEAD: usize = 8;

/// One frame. Streams are numbered with 31 bits; a client's are odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream.
    SynStream {
        /// The new stream.
        stream: u32,
        /// The stream that it belongs to, or 0.
        associated: u32,
        /// 0 (highest) to 7.
        priority: u8,
        /// The opener will send nothing.
        fin: bool,
        /// The other side will send nothing.
        unidirectional: bool,
        /// What it is for.
        headers: Headers,
    },
    /// Accepts a stream.
    SynReply {
        /// The stream.
        stream: u32,
        /// This side will send nothing.
        fin: bool,
        /// Whatever there is to say.
        headers: Headers,
    },
    /// Ends a stream at once, in both directions.
    RstStream {
        /// The stream.
        stream: u32,
        /// Why: a number of [`RstStatus`], or one unknown.
        status: u32,
    },
    /// Facts about the connection: flags, identifier, value.
    Settings(Vec<(u8, u32, u32)>),
    /// To be sent back unchanged; a client's are odd.
    Ping(u32),
    /// No stream above `last` will be taken any more.
    GoAway {
        /// The last stream that was taken.
        last: u32,
        /// Why: a number of [`GoAwayStatus`], or one unknown.
        status: u32,
    },
    /// Further headers of an open stream.
    Headers {
        /// The stream.
        stream: u32,
        /// Nothing more comes.
        fin: bool,
        /// The headers.
        headers: Headers,
    },
    /// So many bytes more may be sent.
    WindowUpdate {
        /// The stream, or 0 for the connection.
        stream: u32,
        /// How many.
        delta: u32,
    },
    /// Content. A long data frame comes as several of these, of which only the last can be `fin`.
    Data {
        /// The stream.
        stream: u32,
        /// Nothing more comes.
        fin: bool,
        /// The bytes; empty only in an empty frame.
        payload: Bytes,
    },
}

/// The types of control frames.
pub mod kind {
    pub const SYN_STREAM: u16 = 1;
    pub const SYN_REPLY: u16 = 2;
    pub const RST_STREAM: u16 = 3;
    pub const SETTINGS: u16 = 4;
    pub const PING: u16 = 6;
    pub const GO_AWAY: u16 = 7;
    pub const HEADERS: u16 = 8;
    pub const WINDOW_UPDATE: u16 = 9;
}

/// Why a stream was reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum RstStatus {
    /// It breaks the protocol.
    ProtocolError = 1,
    /// It was not begun.
    RefusedStream = 3,
    /// It is not wanted any more.
    Cancel = 5,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum GoAwayStatus {
    /// It is done.
    Ok = 0,
    /// The other side broke the protocol.
    ProtocolError = 1,
}
