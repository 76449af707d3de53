//! Values of expressions. Objects stay the JSON that they are: what an expression does not look at costs nothing.

mod containers;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use jiff::Timestamp;
use serde_json::{Map as Json, Value};

use super::libraries::{semver::Semver, urls::Url};
use super::rights::{Answers, Decision, Question};
use super::types::{Items, Opaque, Type};
use super::{Failed, duration};
use crate::quantity::Quantity;

pub(super) static DYN: Type = Type::Dyn;
static ATOMIC: Items = Items::Atomic;

/// A value.
#[derive(Clone, Debug)]
pub enum Val<'a> {
    /// Null.
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A number.
    Double(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A length of time in nanoseconds.
    Duration(i64),
    /// A moment.
    Timestamp(Timestamp),
    /// A list.
    List(List<'a>),
    /// A map or an object.
    Map(Map<'a>),
    /// A value or none.
    Optional(Option<Arc<Val<'a>>>),
    /// The type of a value.
    Type(Cow<'a, str>),
    /// A resource quantity.
    Quantity(Quantity),
    /// A URL.
    Url(Arc<Url>),
    /// An address.
    Ip(IpAddr),
    /// A network.
    Cidr(IpAddr, u8),
    /// A semantic version.
    Semver(Arc<Semver>),
    /// A named format.
    Format(&'static str),
    /// A question about rights that is not whole yet: what it is so far, and where answers come from.
    Asking(Opaque, Arc<Question>, &'a Answers),
    /// The answer to such a question.
    Decision(Arc<Decision>),
}

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// JSON, with the type of its items and their identities.
    Json(&'a [Value], &'a Type, &'a Items),
    /// Made by an expression.
    Made(Arc<[Val<'a>]>),
}

/// A map, or an object.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// JSON, with its own type.
    Json(&'a Json<String, Value>, &'a Type),
    /// Made by an expression.
    Made(Arc<[(Val<'a>, Val<'a>)]>),
    /// Made by an expression as `Name{field: value}`.
    Named(Arc<str>, Arc<[(Val<'a>, Val<'a>)]>),
}

impl<'a> Val<'a> {
    /// A JSON value of a known type.
    ///
    /// # Errors
    /// When it is not of that type.
    pub fn json(value: &'a Value, ty: &'a Type) -> Result<Self, Failed> {
        let wrong = || Failed::Error(format!("invalid data, expected {ty}, got {value}"));
        Ok(match (value, ty) {
            (Value::Null, _) => Self::Null,
            (Value::Bool(b), _) => Self::Bool(*b),
            (Value::Number(n), Type::Double) => Self::Double(n.as_f64().ok_or_else(wrong)?),
            (Value::Number(n), Type::Uint) => Self::Uint(n.as_u64().ok_or_else(wrong)?),
            (Value::Number(n), _) => match (n.as_i64(), n.as_f64()) {
                (Some(n), _) => Self::Int(n),
                (None, Some(n)) if matches!(ty, Type::Int) && n.fract() == 0.0 => Self::Int(n as i64),
                (None, Some(n)) => Self::Double(n),
                _ => return Err(wrong()),
            },
            (Value::String(text), Type::Timestamp) => Self::Timestamp(text.parse().map_err(|_| wrong())?),
            (Value::String(text), Type::Duration) => Self::Duration(duration::parse(text).ok_or_else(wrong)?),
            (Value::String(text), Type::Bytes(_)) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| wrong())?;
                Self::Bytes(bytes.into())
            }
            (Value::String(text), _) => Self::Text(Cow::Borrowed(text)),
            (Value::Array(items), Type::List(item, _, identity)) => {
                Self::List(List::Json(items, item, identity))
            }
            (Value::Array(items), _) => Self::List(List::Json(items, &DYN, &ATOMIC)),
            (Value::Object(fields), ty) => Self::Map(Map::Json(fields, ty)),
        })
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    pub(super) fn list(items: Vec<Val<'a>>) -> Self {
        Self::List(List::Made(items.into()))
    }

    pub(super) fn some(value: Val<'a>) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// What costs count.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(list) => list.len() as u64,
            Self::Map(map) => map.len() as u64,
            Self::Optional(Some(value)) => value.size(),
            _ => 1,
        }
    }

    /// The name of its type, as messages have it.
    pub fn kind(&self) -> &str {
        match self {
            Self::Map(Map::Named(name, _)) => name,
            other => other.type_name(),
        }
    }

    /// The name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Quantity(_) => Opaque::Quantity.name(),
            Self::Url(_) => Opaque::Url.name(),
            Self::Ip(_) => Opaque::Ip.name(),
            Self::Cidr(..) => Opaque::Cidr.name(),
            Self::Semver(_) => Opaque::Semver.name(),
            Self::Format(_) => Opaque::Format.name(),
            Self::Asking(what, ..) => what.name(),
            Self::Decision(_) => Opaque::Decision.name(),
        }
    }

    /// The value as JSON; `None` for what JSON has no form for.
    pub fn to_json(&self) -> Option<Value> {
        Some(match self {
            Self::Null => Value::Null,
            Self::Bool(b) => (*b).into(),
            Self::Int(n) => (*n).into(),
            Self::Uint(n) => (*n).into(),
            Self::Double(n) => (*n).into(),
            Self::Text(text) => (&**text).into(),
            Self::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
            Self::Duration(nanos) => duration::print(*nanos).into(),
            Self::Timestamp(time) => time.to_string().into(),
            Self::List(List::Json(items, ..)) => Value::Array(items.to_vec()),
            Self::List(List::Made(items)) => {
                Value::Array(items.iter().map(Val::to_json).collect::<Option<_>>()?)
            }
            Self::Map(Map::Json(fields, _)) => Value::Object((*fields).clone()),
            Self::Map(Map::Made(entries) | Map::Named(_, entries)) => {
                let mut fields = Json::new();
                for (key, value) in entries.iter() {
                    let Val::Text(key) = key else { return None };
                    fields.insert(key.to_string(), value.to_json()?);
                }
                Value::Object(fields)
            }
            Self::Quantity(quantity) => quantity.to_string().into(),
            Self::Ip(ip) => ip.to_string().into(),
            Self::Cidr(ip, bits) => format!("{ip}/{bits}").into(),
            Self::Optional(Some(value)) => value.to_json()?,
            _ => return None,
        })
    }

    /// Whether two values are equal; values of different kinds are not.
    pub(super) fn equals(&self, other: &Val<'a>) -> Result<bool, Failed> {
        if let Some(order) = numbers(self, other) {
            return Ok(order == Some(Ordering::Equal));
        }
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a.nano() == b.nano(),
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, m), Self::Cidr(b, n)) => a == b && m == n,
            (Self::Semver(a), Self::Semver(b)) => a.compare(b) == Ordering::Equal,
            (Self::Format(a), Self::Format(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b)?,
                (a, b) => a.is_none() && b.is_none(),
            },
            (Self::List(a), Self::List(b)) => a.equals(b)?,
            (Self::Map(a), Self::Map(b)) => a.equals(b)?,
            _ => false,
        })
    }

    /// The order of two values; `None` if there is none.
    pub(super) fn compare(&self, other: &Val<'a>) -> Option<Ordering> {
        if let Some(order) = numbers(self, other) {
            return order;
        }
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Quantity(a), Self::Quantity(b)) => Some(a.nano().cmp(&b.nano())),
            (Self::Semver(a), Self::Semver(b)) => Some(a.compare(b)),
            _ => None,
        }
    }
}

/// The order of two numbers of any kind; `None` if one is no number.
fn numbers(a: &Val<'_>, b: &Val<'_>) -> Option<Option<Ordering>> {
    let whole = |v: &Val<'_>| match v {
        Val::Int(n) => Some(i128::from(*n)),
        Val::Uint(n) => Some(i128::from(*n)),
        _ => None,
    };
    let double = |v: &Val<'_>| match v {
        Val::Double(n) => Some(*n),
        Val::Int(n) => Some(*n as f64),
        Val::Uint(n) => Some(*n as f64),
        _ => None,
    };
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        return Some(Some(a.cmp(&b)));
    }
    Some(double(a)?.partial_cmp(&double(b)?))
}
