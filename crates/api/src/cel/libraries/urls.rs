//! URLs, as far as Kubernetes' library takes them apart.

use std::sync::Arc;

use crate::cel::Failed;
use crate::cel::value::{Map, Val};

/// A URL in its parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    /// With the port.
    host: String,
    path: String,
    query: String,
}

type Answer<'a> = Option<Result<Val<'a>, Failed>>;

pub(super) fn global<'a>(name: &str, args: &[Val<'a>]) -> Answer<'a> {
    let [Val::Text(text)] = args else { return None };
    match name {
        "isURL" => Some(Ok(Val::Bool(parse(text).is_some()))),
        "url" => Some(match parse(text) {
            Some(url) => Ok(Val::Url(Arc::new(url))),
            None => Err(Failed::Error(format!("URL parse error during conversion from string: {text:?}"))),
        }),
        _ => None,
    }
}

/// An absolute URI or an absolute path.
fn parse(text: &str) -> Option<Url> {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c == ' ') {
        return None;
    }
    let (text, _fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = text.split_once('?').unwrap_or((text, ""));
    if rest.starts_with('/') && !rest.starts_with("//") {
        return Some(Url {
            scheme: String::new(),
            host: String::new(),
            path: rest.into(),
            query: query.into(),
        });
    }
    let (scheme, rest) = rest.split_once(':')?;
    let letters = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !letters {
        return None;
    }
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) => {
            let at = rest.find('/').unwrap_or(rest.len());
            let host = rest[..at].rsplit('@').next().unwrap_or_default();
            let port =
                host.rsplit_once(':').filter(|(name, _)| !name.starts_with('[') || name.ends_with(']'));
            if port.is_some_and(|(_, p)| !p.bytes().all(|b| b.is_ascii_digit())) {
                return None;
            }
            (host, &rest[at..])
        }
        None => ("", rest),
    };
    Some(Url { scheme: scheme.to_lowercase(), host: host.into(), path: path.into(), query: query.into() })
}

impl Url {
    /// Host and port.
    fn split(&self) -> (&str, &str) {
        if let Some(inside) = self.host.strip_prefix('[') {
            let (name, rest) = inside.split_once(']').unwrap_or((inside, ""));
            return (name, rest.trim_start_matches(':'));
        }
        self.host.rsplit_once(':').unwrap_or((&self.host, ""))
    }
}

pub(super) fn call<'a>(name: &str, url: &Url, args: &[Val<'a>]) -> Answer<'a> {
    if !args.is_empty() {
        return None;
    }
    Some(Ok(match name {
        "getScheme" => Val::text(&*url.scheme),
        "getHost" => Val::text(&*url.host),
        "getHostname" => Val::text(url.split().0),
        "getPort" => Val::text(url.split().1),
        "getEscapedPath" => Val::text(&*url.path),
        "getQuery" => {
            let mut found: Vec<(String, Vec<Val<'a>>)> = Vec::new();
            for part in url.query.split('&').filter(|p| !p.is_empty()) {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                let (key, value) = (decode(key), decode(value));
                match found.iter_mut().find(|(k, _)| *k == key) {
                    Some((_, values)) => values.push(Val::text(value)),
                    None => found.push((key, vec![Val::text(value)])),
                }
            }
            let entries: Vec<_> = found.into_iter().map(|(k, v)| (Val::text(k), Val::list(v))).collect();
            Val::Map(Map::Made(entries.into()))
        }
        _ => return None,
    }))
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
