//! Request bodies in Kubernetes' protobuf form, turned into the same JSON values as any other body.
//!
//! kubectl's typed commands (`create deployment`, `auth can-i`, `drain`) send it whether or not a server asks for it.
//! Answers are written by [`encode`]. The table holds the published field numbers, a line per message:
//! `number:name:type`, where `*` means repeated, `%` a map with string keys, and `s y i b d` text, bytes, integer,
//! boolean and float. It is searched per message and never parsed as a whole, so it costs no memory at rest.
//!
//! Depth and sizes are bounded by the body's; anything malformed is a refusal.

pub mod encode;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::time;

const TABLE: &str = include_str!("protobuf/fields.txt");
const MAGIC: &[u8] = b"k8s\0";
/// Deeper messages are refused; Kubernetes' own types are far shallower.
const DEPTH: usize = 64;

/// The body is not what it says it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the body does not start as Kubernetes' protobuf does")]
    Magic,
    #[error("the body ends in the middle of a field")]
    Short,
    #[error("the body nests too deeply")]
    Depth,
    #[error("the kind {0} cannot be read from protobuf")]
    Kind(String),
}

/// Fields whose message is spread over its parent in JSON.
const SPREAD: &[&str] = &[
    "localObjectReference",
    "volumeSource",
    "persistentVolumeSource",
    "handler",
    "ephemeralContainerCommon",
    "deviceConfiguration",
    "ingressRuleValue",
    "rule",
];

/// Numbers that Kubernetes' encoder writes although they are unset; JSON leaves them out, and zero is not valid there.
const UNSET_IF_ZERO: &[&str] = &[
    "hostPort",
    "nodePort",
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
    "generation",
    "observedGeneration",
];

/// The object in an enveloped body.
pub fn decode(body: &[u8]) -> Result<Value, Error> {
    let body = body.strip_prefix(MAGIC).ok_or(Error::Magic)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(body) {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for field in Fields(meta) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = String::from_utf8_lossy(text).into_owned(),
                        (2, Wire::Bytes(text)) => kind = String::from_utf8_lossy(text).into_owned(),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let name = message_of(&api_version, &kind).ok_or_else(|| Error::Kind(kind.clone()))?;
    let mut value = message(&name, raw, 0)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("apiVersion".into(), json!(api_version));
        object.insert("kind".into(), json!(kind));
    }
    Ok(value)
}

/// The message of a kind, if the table has it.
fn message_of(api_version: &str, kind: &str) -> Option<String> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("core", api_version));
    let package = group.split('.').next().unwrap_or(group);
    let names = [format!("{package}.{version}.{kind}"), format!("meta.{kind}")];
    names.into_iter().find(|n| line(n).is_some())
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Error::Short)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Short)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Error> {
        let count = usize::try_from(count).map_err(|_| Error::Short)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Error::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u64, Wire<'a>), Error> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Bytes(self.take(4)?),
            _ => return Err(Error::Short),
        };
        Ok((tag >> 3, wire))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// The table's fields of a message. Lists are all alike, and stand for themselves only where they are nested.
fn line(name: &str) -> Option<Cow<'static, str>> {
    let of = |name: &str| TABLE.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    if let Some(line) = of(name) {
        return Some(Cow::Borrowed(line));
    }
    let item = name.strip_suffix("List").filter(|item| of(item).is_some())?;
    Some(Cow::Owned(format!("1:metadata:meta.ListMeta 2:items:*{item}")))
}

fn message(name: &str, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    if depth > DEPTH {
        return Err(Error::Depth);
    }
    if let Some(value) = special(name, bytes)? {
        return Ok(value);
    }
    let fields = line(name).unwrap_or_default();
    let known: Vec<[&str; 3]> = fields
        .split(' ')
        .filter_map(|f| {
            let mut parts = f.splitn(3, ':');
            Some([parts.next()?, parts.next()?, parts.next()?])
        })
        .collect();
    let mut out = Map::new();
    for field in Fields(bytes) {
        let (number, wire) = field?;
        let number = number.to_string();
        let Some([_, name, kind]) = known.iter().find(|f| f[0] == number) else { continue };
        if let Some(kind) = kind.strip_prefix('*') {
            let slot = out.entry(*name).or_insert_with(|| json!([]));
            if let Some(list) = slot.as_array_mut() {
                match wire {
                    // Numbers may be packed into one field.
                    Wire::Bytes(packed) if kind == "i" => {
                        let mut rest = Fields(packed);
                        while !rest.0.is_empty() {
                            list.push(json!(rest.varint()?.cast_signed()));
                        }
                    }
                    wire => list.push(one(kind, wire, depth)?),
                }
            }
        } else if let Some(kind) = kind.strip_prefix('%') {
            let Wire::Bytes(entry) = wire else { continue };
            let (mut key, mut value) = (String::new(), None);
            for field in Fields(entry) {
                match field? {
                    (1, Wire::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
                    (2, wire) => value = Some(one(kind, wire, depth)?),
                    _ => {}
                }
            }
            let value = match value {
                Some(value) => value,
                None if matches!(kind, "s" | "y") => json!(""),
                None => message(kind, &[], depth + 1)?,
            };
            let slot = out.entry(*name).or_insert_with(|| json!({}));
            slot[key] = value;
        } else {
            let value = one(kind, wire, depth)?;
            match value {
                Value::Object(inner) if SPREAD.contains(name) => out.extend(inner),
                // Unset times and texts are written as nothing by Kubernetes' own encoder.
                Value::String(text) if text.is_empty() => {
                    // An empty text is a value of its own only where a pointer could be unset.
                    if matches!(*name, "storageClassName" | "apiGroup") {
                        out.insert((*name).to_owned(), json!(""));
                    }
                }
                Value::Null => {}
                Value::Number(number) if number.as_i64() == Some(0) && UNSET_IF_ZERO.contains(name) => {}
                value => {
                    out.insert((*name).to_owned(), value);
                }
            }
        }
    }
    Ok(Value::Object(out))
}

fn one(kind: &str, wire: Wire<'_>, depth: usize) -> Result<Value, Error> {
    Ok(match (kind, wire) {
        ("s", Wire::Bytes(text)) => json!(String::from_utf8_lossy(text)),
        ("y", Wire::Bytes(bytes)) => json!(STANDARD.encode(bytes)),
        ("i", Wire::Number(number)) => json!(number.cast_signed()),
        ("b", Wire::Number(number)) => json!(number != 0),
        ("d", Wire::Bytes(bytes)) => match <[u8; 8]>::try_from(bytes) {
            Ok(bytes) => json!(f64::from_le_bytes(bytes)),
            Err(_) => Value::Null,
        },
        (kind, Wire::Bytes(bytes)) => message(kind, bytes, depth + 1)?,
        _ => Value::Null,
    })
}

/// Messages that are not objects in JSON.
fn special(name: &str, bytes: &[u8]) -> Result<Option<Value>, Error> {
    let short = name.rsplit('.').next().unwrap_or(name);
    if !matches!(
        short,
        "Time"
            | "MicroTime"
            | "Quantity"
            | "IntOrString"
            | "RawExtension"
            | "FieldsV1"
            | "ExtraValue"
            | "Verbs"
            | "Duration"
    ) {
        return Ok(None);
    }
    let (mut numbers, mut texts) = ([0i64; 4], [&[][..]; 4]);
    let mut items = Vec::new();
    for field in Fields(bytes) {
        match field? {
            (n @ 0..4, Wire::Number(number)) => numbers[n as usize] = number.cast_signed(),
            (n @ 0..4, Wire::Bytes(text)) => {
                texts[n as usize] = text;
                items.push(json!(String::from_utf8_lossy(text)));
            }
            _ => {}
        }
    }
    let text = |n: usize| json!(String::from_utf8_lossy(texts[n]));
    Ok(Some(match short {
        "Time" | "MicroTime" if bytes.is_empty() => Value::Null,
        "Time" => Timestamp::from_second(numbers[1]).map_or(Value::Null, |t| json!(time::seconds(t))),
        "MicroTime" => Timestamp::new(numbers[1], i32::try_from(numbers[2]).unwrap_or(0))
            .map_or(Value::Null, |t| json!(t.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())),
        "Quantity" => text(1),
        "IntOrString" if numbers[1] == 1 => text(3),
        "IntOrString" => json!(numbers[2]),
        "Duration" => json!(format!("{}ns", numbers[1])),
        "ExtraValue" | "Verbs" => Value::Array(items),
        _ => serde_json::from_slice(texts[1]).unwrap_or(Value::Null),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u8, payload: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, payload.len() as u8], payload].concat()
    }

    #[test]
    fn a_config_map_is_read() {
        let meta = bytes(1, b"m");
        let entry = [bytes(1, b"k"), bytes(2, b"v")].concat();
        let raw = [bytes(1, &meta), bytes(2, &entry)].concat();
        let kind = [bytes(1, b"v1"), bytes(2, b"ConfigMap")].concat();
        let body = [MAGIC, &bytes(1, &kind), &bytes(2, &raw)].concat();
        let expected =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}});
        assert_eq!(decode(&body).unwrap(), expected);
        for end in 5..body.len() {
            let _ = decode(&body[..end]);
        }
    }
}
