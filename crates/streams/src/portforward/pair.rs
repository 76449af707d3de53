//! Which data stream belongs to which error stream. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::spdy::Headers;

/// How long the second stream of a pair may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The two streams of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Data,
    Error,
}

/// What the headers of a stream say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub kind: Kind,
    pub port: u16,
    /// The same in both streams of a pair.
    pub request: String,
}

/// A stream that cannot be part of a connection.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0:?} header is required")]
    Missing(&'static str),
    #[error("invalid stream type {0:?}")]
    Kind(String),
    #[error("port {0:?} is no number between 1 and 65535")]
    Port(String),
    #[error("request {0} has this stream already")]
    Twice(String),
    #[error("the streams of request {0} name different ports")]
    Ports(String),
}

impl Label {
    /// Reads the headers of the stream `id`.
    pub fn read(id: u32, headers: &Headers) -> Result<Self, Error> {
        let port = headers.get("port").ok_or(Error::Missing("port"))?;
        let kind = match headers.get("streamtype").ok_or(Error::Missing("streamType"))? {
            "data" => Kind::Data,
            "error" => Kind::Error,
            other => return Err(Error::Kind(other.to_owned())),
        };
        let request = match (headers.get("requestid"), kind) {
            (Some(request), _) => request.to_owned(),
            // The first clients named no request; they open the error stream just before the data stream.
            (None, Kind::Error) => id.to_string(),
            (None, Kind::Data) => id.saturating_sub(2).to_string(),
        };
        match port.parse() {
            Ok(number) if number > 0 => Ok(Self { kind, port: number, request }),
            _ => Err(Error::Port(port.to_owned())),
        }
    }
}

/// A stream that waits for the other of its pair.
#[derive(Debug)]
struct Half<T> {
    kind: Kind,
    port: u16,
    since: Instant,
    stream: T,
}

/// Both streams of a connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Pair<T> {
    pub port: u16,
    pub data: T,
    pub error: T,
}

/// The streams that wait for their other; as many as a connection may have streams.
#[derive(Debug)]
pub struct Pairs<T> {
    waiting: BTreeMap<String, Half<T>>,
}

impl<T> Pairs<T> {
    pub fn new() -> Self {
        Self { waiting: BTreeMap::new() }
    }

    /// Takes a stream in: the pair, if it is complete now. A stream that does not fit is given back.
    pub fn add(&mut self, label: Label, stream: T, now: Instant) -> Result<Option<Pair<T>>, (T, Error)> {
        let Label { kind, port, request } = label;
        let Some(half) = self.waiting.get(&request) else {
            self.waiting.insert(request, Half { kind, port, since: now, stream });
            return Ok(None);
        };
        if half.kind == kind {
            return Err((stream, Error::Twice(request)));
        }
        if half.port != port {
            return Err((stream, Error::Ports(request)));
        }
        let Some(Half { stream: other, .. }) = self.waiting.remove(&request) else { return Ok(None) };
        let (data, error) = match kind {
            Kind::Data => (stream, other),
            Kind::Error => (other, stream),
        };
        Ok(Some(Pair { port, data, error }))
    }

    /// When the stream that has waited longest has waited too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|half| half.since + PATIENCE).min()
    }

    /// Those that have waited too long.
    pub fn expired(&mut self, now: Instant) -> Vec<(Kind, T)> {
        self.waiting
            .extract_if(.., |_, half| half.since + PATIENCE <= now)
            .map(|(_, half)| (half.kind, half.stream))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        Headers(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    fn label(kind: Kind, port: u16, request: &str) -> Label {
        Label { kind, port, request: request.to_owned() }
    }

    #[test]
    fn labels() {
        let check = |pairs: &[(&str, &str)], expect| assert_eq!(Label::read(7, &headers(pairs)), expect);
        let (data, error) = (("streamtype", "data"), ("streamtype", "error"));
        check(&[data, ("port", "80"), ("requestid", "4")], Ok(label(Kind::Data, 80, "4")));
        check(&[error, ("port", "80")], Ok(label(Kind::Error, 80, "7")));
        check(&[data, ("port", "80")], Ok(label(Kind::Data, 80, "5")));
        check(&[data], Err(Error::Missing("port")));
        check(&[("port", "80")], Err(Error::Missing("streamType")));
        check(&[("streamtype", "stdin"), ("port", "80")], Err(Error::Kind("stdin".to_owned())));
        for wrong in ["0", "65536", "-1", "http"] {
            check(&[data, ("port", wrong)], Err(Error::Port(wrong.to_owned())));
        }
    }

    #[test]
    fn pairs_are_made_by_request_in_any_order() {
        let now = Instant::now();
        let mut pairs = Pairs::new();
        assert_eq!(pairs.add(label(Kind::Error, 80, "a"), 1, now), Ok(None));
        assert_eq!(pairs.add(label(Kind::Data, 80, "b"), 2, now), Ok(None));
        assert_eq!(
            pairs.add(label(Kind::Data, 80, "a"), 3, now),
            Ok(Some(Pair { port: 80, data: 3, error: 1 }))
        );
        assert_eq!(pairs.add(label(Kind::Data, 80, "b"), 4, now), Err((4, Error::Twice("b".to_owned()))));
        assert_eq!(pairs.add(label(Kind::Error, 81, "b"), 5, now), Err((5, Error::Ports("b".to_owned()))));
        assert_eq!(
            pairs.add(label(Kind::Error, 80, "b"), 6, now),
            Ok(Some(Pair { port: 80, data: 2, error: 6 }))
        );
        assert_eq!(pairs.deadline(), None);
    }

    #[test]
    fn a_stream_waits_for_its_other_only_so_long() {
        let now = Instant::now();
        let mut pairs = Pairs::new();
        let later = now + PATIENCE / 2;
        pairs.add(label(Kind::Error, 80, "a"), 1, now).unwrap();
        pairs.add(label(Kind::Data, 80, "b"), 2, later).unwrap();
        assert_eq!(pairs.deadline(), Some(now + PATIENCE));
        assert_eq!(pairs.expired(later), []);
        assert_eq!(pairs.expired(now + PATIENCE), [(Kind::Error, 1)]);
        assert_eq!(pairs.deadline(), Some(later + PATIENCE));
    }
}
