//! Frames between our own processes, one of which may have been taken over by what it contains.

use dunlin_api::stream;
use dunlin_guest::{Machine, Message};
use dunlin_shim::ExitRecord;
use dunlin_shim::message::{Config, Reply, Report, Request};
use dunlin_shim::wire::Decoder;

/// The first byte is the size of the pieces in which the rest arrives.
fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (size, rest) = data.split_first().map_or((1, data), |(size, rest)| (usize::from(*size).max(1), rest));
    rest.chunks(size)
}

/// The frames of exec, attach and port-forward. How they are cut into pieces makes no difference.
pub fn stream(data: &[u8]) {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut decoder = stream::Decoder::new();
        let mut frames = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
        (frames, decoder.finish().err())
    };
    let (frames, ended) = read(&mut pieces(data));
    let whole = data.get(1..).unwrap_or_default();
    assert_eq!(read(&mut std::iter::once(whole)), (frames.clone(), ended));
    for frame in frames {
        let _ = (frame.closes(), stream::decode_resize(&frame.payload));
    }
}

/// SPDY/3.1 from a client of exec or port-forward. How the bytes are cut into pieces makes no difference to what frames
/// without data say, and no piece of data is longer than promised.
pub fn spdy(data: &[u8]) {
    use dunlin_streams::spdy::{Decoder, Frame, MAX_DATA};
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut decoder = Decoder::new();
        let (mut frames, mut bytes) = (Vec::new(), 0);
        for piece in pieces {
            decoder.push(piece);
            while let Ok(Some(frame)) = decoder.next_frame() {
                match frame {
                    Frame::Data { payload, .. } => {
                        assert!(payload.len() <= MAX_DATA);
                        bytes += payload.len();
                    }
                    other => frames.push(other),
                }
            }
        }
        (frames, bytes)
    };
    let whole = data.get(1..).unwrap_or_default();
    assert_eq!(read(&mut pieces(data)), read(&mut std::iter::once(whole)));
}

/// The messages of shim, creator, and a virtual machine with its monitor. What was read is written as it was, and read again.
pub fn shim(data: &[u8]) {
    let mut decoder = Decoder::default();
    for piece in pieces(data) {
        decoder.push(piece);
        while let Ok(Some(frame)) = decoder.next_frame() {
            if let Ok(request) = Request::decode(frame.kind, &frame.payload) {
                let (kind, payload) = request.encode();
                assert_eq!(Request::decode(kind, &payload), Ok(request));
            }
            if let Ok(reply) = Reply::decode(frame.kind, &frame.payload) {
                let (kind, payload) = reply.encode();
                assert_eq!(Reply::decode(kind, &payload), Ok(reply));
            }
            if let Ok(message) = Message::read(frame.kind, &frame.payload) {
                let mut bytes = Vec::new();
                message.put(frame.id, &mut bytes);
                let mut decoder = Decoder::default();
                decoder.push(&bytes);
                // What came in a frame need not fit into one when every field is written out, but it never panics.
                if let Ok(Some(frame)) = decoder.next_frame() {
                    assert_eq!(Message::read(frame.kind, &frame.payload), Ok(message));
                }
            }
        }
    }
    if let Ok(config) = Config::decode(data) {
        assert_eq!(Config::decode(&config.encode()), Ok(config));
    }
    if let Ok(machine) = Machine::decode(data) {
        assert_eq!(Machine::decode(&machine.encode()), Ok(machine));
    }
    if let Ok(report) = Report::decode(data) {
        assert_eq!(Report::decode(&report.encode()), Ok(report));
    }
    if let Some(record) = std::str::from_utf8(data).ok().and_then(ExitRecord::from_text) {
        assert_eq!(ExitRecord::from_text(&record.to_text()), Some(record));
    }
}
