//! Conversions between types, sizes, and encodings.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cel::value::Val;
use crate::cel::{Failed, duration};

type Answer<'a> = Option<Result<Val<'a>, Failed>>;

fn range<'a>() -> Answer<'a> {
    Some(Err(Failed::Error("range error".into())))
}

fn wrong<'a>(what: &str, text: &str) -> Answer<'a> {
    Some(Err(Failed::Error(format!("{what} conversion error for {text:?}"))))
}

pub(super) fn call<'a>(name: &str, args: &[Val<'a>]) -> Answer<'a> {
    let [arg] = args else { return None };
    let value = match (name, arg) {
        ("dyn", value) => value.clone(),
        ("type", value) => Val::Type(Cow::Borrowed(value.type_name())),
        ("size", Val::Text(text)) => Val::Int(text.chars().count() as i64),
        ("size", Val::Bytes(_) | Val::List(_) | Val::Map(_)) => Val::Int(arg.size() as i64),
        ("int", Val::Int(n)) => Val::Int(*n),
        ("int", Val::Uint(n)) => match i64::try_from(*n) {
            Ok(n) => Val::Int(n),
            Err(_) => return range(),
        },
        ("int", Val::Double(n)) if n.is_finite() && n.abs() < 9.2e18 => Val::Int(*n as i64),
        ("int", Val::Double(_)) => return range(),
        ("int", Val::Text(text)) => match text.parse() {
            Ok(n) => Val::Int(n),
            Err(_) => return wrong("int", text),
        },
        ("int", Val::Timestamp(time)) => Val::Int(time.as_second()),
        ("int", Val::Duration(nanos)) => Val::Int(*nanos),
        ("uint", Val::Uint(n)) => Val::Uint(*n),
        ("uint", Val::Int(n)) => match u64::try_from(*n) {
            Ok(n) => Val::Uint(n),
            Err(_) => return range(),
        },
        ("uint", Val::Double(n)) if (0.0..1.8e19).contains(n) => Val::Uint(*n as u64),
        ("uint", Val::Double(_)) => return range(),
        ("uint", Val::Text(text)) => match text.parse() {
            Ok(n) => Val::Uint(n),
            Err(_) => return wrong("uint", text),
        },
        ("double", Val::Double(n)) => Val::Double(*n),
        ("double", Val::Int(n)) => Val::Double(*n as f64),
        ("double", Val::Uint(n)) => Val::Double(*n as f64),
        ("double", Val::Text(text)) => match text.parse() {
            Ok(n) => Val::Double(n),
            Err(_) => return wrong("double", text),
        },
        ("bool", Val::Bool(b)) => Val::Bool(*b),
        ("bool", Val::Text(text)) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Val::Bool(true),
            "false" | "False" | "FALSE" | "f" | "0" => Val::Bool(false),
            _ => return wrong("bool", text),
        },
        ("string", Val::Text(text)) => Val::Text(text.clone()),
        ("string", Val::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Val::text(text),
            Err(_) => return Some(Err(Failed::Error("invalid UTF-8 in bytes".into()))),
        },
        ("string", Val::Double(n)) => Val::text(n.to_string()),
        ("string", Val::Duration(nanos)) => {
            let (whole, rest) = (nanos / 1_000_000_000, (nanos % 1_000_000_000).unsigned_abs());
            let sign = if *nanos < 0 && whole == 0 { "-" } else { "" };
            let fraction = format!("{rest:09}");
            let fraction = fraction.trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            Val::text(format!("{sign}{whole}{point}{fraction}s"))
        }
        ("string", Val::Bool(_) | Val::Int(_) | Val::Uint(_)) => Val::text(arg.to_json()?.to_string()),
        ("string", Val::Timestamp(_) | Val::Ip(_) | Val::Cidr(..)) => Val::text(arg.to_json()?.as_str()?),
        ("bytes", Val::Bytes(bytes)) => Val::Bytes(bytes.clone()),
        ("bytes", Val::Text(text)) => Val::Bytes(text.as_bytes().into()),
        ("duration", Val::Duration(nanos)) => Val::Duration(*nanos),
        ("duration", Val::Text(text)) => match duration::parse(text) {
            Some(nanos) => Val::Duration(nanos),
            None => return wrong("duration", text),
        },
        ("timestamp", Val::Timestamp(time)) => Val::Timestamp(*time),
        ("timestamp", Val::Int(n)) => match jiff::Timestamp::from_second(*n) {
            Ok(time) => Val::Timestamp(time),
            Err(_) => return range(),
        },
        ("timestamp", Val::Text(text)) => match text.parse() {
            Ok(time) => Val::Timestamp(time),
            Err(_) => return wrong("timestamp", text),
        },
        ("base64.encode", Val::Bytes(bytes)) => Val::text(STANDARD.encode(bytes)),
        ("base64.decode", Val::Text(text)) => match STANDARD.decode(&**text) {
            Ok(bytes) => Val::Bytes(bytes.into()),
            Err(_) => return wrong("base64", text),
        },
        ("quote", Val::Text(text)) => Val::text(crate::status::quote(text)),
        ("jsonpatch.escapeKey", Val::Text(text)) => Val::text(text.replace('~', "~0").replace('/', "~1")),
        _ => return None,
    };
    Some(Ok(value))
}
