//! The walk of a value along its type.

use base64::Engine;
use serde_json::{Map, Value};

use super::Error;
use crate::path;
use crate::schema::{Field, Form, Schema, Type, schema};

const MAX_COMPLAINTS: usize = 100;
/// The type of a custom resource's schema.
const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
const QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Fits a value to a type: the value that Go would have, and the complaints about unknown fields.
pub(super) fn convert(ty: Type, value: Value) -> Result<(Value, Vec<String>), Error> {
    let mut walk =
        Walk { schema: schema(), owner: "", fields: Vec::new(), path: String::new(), unknown: Vec::new() };
    let value = walk.value(ty, value)?;
    Ok((value, walk.unknown))
}

/// Whether Go leaves the value out of a field that is neither a pointer nor a struct.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        // The empty object of a struct is one; that of a map is none, and is left out where it is read.
        Value::Object(_) => false,
    }
}

/// What Go makes of nothing where something must stand.
pub(super) fn zero(schema: &Schema, ty: Type) -> Value {
    match ty {
        Type::String => "".into(),
        Type::Boolean => false.into(),
        Type::Int32 | Type::Int64 | Type::Double => 0.into(),
        Type::Bytes | Type::List(_) | Type::Map(_) => Value::Null,
        Type::Ref(id) => match schema.get(id).form {
            Form::Struct => {
                let always = schema.fields(id).iter().filter(|f| f.always);
                Value::Object(always.map(|f| (f.name.to_owned(), zero_of(schema, f))).collect())
            }
            Form::Quantity => "0".into(),
            Form::IntOrString => 0.into(),
            Form::Time | Form::MicroTime | Form::Free | Form::Any => Value::Null,
        },
    }
}

fn zero_of(schema: &Schema, field: &Field) -> Value {
    if field.pointer { Value::Null } else { zero(schema, field.ty) }
}

struct Walk {
    schema: &'static Schema,
    /// The struct whose field is being read: errors name it.
    owner: &'static str,
    /// Field names from the root, without indexes and map keys, as Go's errors have them.
    fields: Vec<&'static str>,
    /// The whole path, with indexes and keys.
    path: String,
    unknown: Vec<String>,
}

impl Walk {
    fn value(&mut self, ty: Type, value: Value) -> Result<Value, Error> {
        match (ty, value) {
            (Type::String, v @ Value::String(_)) | (Type::Boolean, v @ Value::Bool(_)) => Ok(v),
            (Type::Int32, v) => self.int32(v),
            (Type::Int64, Value::Number(n)) => {
                if n.as_i64().is_some() {
                    Ok(Value::Number(n))
                } else {
                    Err(self.number(&n, "int64"))
                }
            }
            (Type::Double, v @ Value::Number(_)) => Ok(v),
            (Type::Bytes, Value::String(s)) => base64(s),
            (Type::List(e), Value::Array(items)) => self.list(self.schema.element(e), items),
            (Type::Map(e), Value::Object(entries)) => self.map(self.schema.element(e), entries),
            (Type::Ref(id), v) => {
                let def = self.schema.get(id);
                match (def.form, v) {
                    (Form::Struct, Value::Object(fields)) => self.fields(id, fields),
                    (Form::Struct, v) => Err(self.wrong(&v, ty)),
                    (Form::Quantity, v) => quantity(v),
                    (Form::Time, v) => self.time(v, "2006-01-02T15:04:05Z07:00"),
                    (Form::MicroTime, v) => self.time(v, "2006-01-02T15:04:05.000000Z07:00"),
                    (Form::IntOrString, v) => self.int_or_string(v),
                    (Form::Any, v) if def.name.starts_with("JSONSchemaPropsOr") => self.schema_or(v),
                    (Form::Free, v @ Value::Object(_)) | (Form::Any, v) => Ok(v),
                    (Form::Free, v) => Err(self.wrong(&v, ty)),
                }
            }
            (_, v) => Err(self.wrong(&v, ty)),
        }
    }

    fn fields(&mut self, id: crate::schema::TypeId, fields: Map<String, Value>) -> Result<Value, Error> {
        let owner = std::mem::replace(&mut self.owner, self.schema.get(id).name);
        let mut kept = Map::new();
        for (name, value) in fields {
            let before = path::enter(&mut self.path, &name);
            match self.schema.field(id, &name) {
                None => self.complain(),
                Some(_) if value.is_null() => {}
                Some(field) => {
                    self.fields.push(field.name);
                    let value = self.value(field.ty, value)?;
                    self.fields.pop();
                    let nothing = match field.ty {
                        Type::Map(_) => value.as_object().is_some_and(Map::is_empty),
                        _ => is_zero(&value),
                    };
                    if field.always || field.pointer || !nothing {
                        kept.insert(name, value);
                    }
                }
            }
            self.path.truncate(before);
        }
        self.owner = owner;
        for field in self.schema.fields(id).iter().filter(|f| f.always) {
            if !kept.contains_key(field.name) {
                kept.insert(field.name.to_owned(), zero_of(self.schema, field));
            }
        }
        Ok(Value::Object(kept))
    }

    /// A schema where something else may stand, too: the published type says nothing of it, Kubernetes reads it all the
    /// same.
    fn schema_or(&mut self, value: Value) -> Result<Value, Error> {
        match (value, self.schema.named(SCHEMA)) {
            (Value::Object(fields), Some(id)) => {
                // It drops what it does not know there without a word.
                let known = self.unknown.len();
                let read = self.fields(id, fields);
                self.unknown.truncate(known);
                read
            }
            (other, _) => Ok(other),
        }
    }

    fn list(&mut self, element: Type, items: Vec<Value>) -> Result<Value, Error> {
        let mut kept = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let before = self.path.len();
            self.path.push_str(&format!("[{index}]"));
            let item = if item.is_null() { zero(self.schema, element) } else { self.value(element, item)? };
            kept.push(item);
            self.path.truncate(before);
        }
        Ok(Value::Array(kept))
    }

    fn map(&mut self, element: Type, entries: Map<String, Value>) -> Result<Value, Error> {
        let mut kept = Map::new();
        for (key, value) in entries {
            let before = self.path.len();
            self.path.push('.');
            self.path.push_str(&key);
            let value =
                if value.is_null() { zero(self.schema, element) } else { self.value(element, value)? };
            self.path.truncate(before);
            kept.insert(key, value);
        }
        Ok(Value::Object(kept))
    }

    fn complain(&mut self) {
        if self.unknown.len() < MAX_COMPLAINTS {
            self.unknown.push(format!("unknown field \"{}\"", self.path));
        }
    }

    fn wrong(&self, value: &Value, ty: Type) -> Error {
        let what = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        self.mismatch(what, &self.go_type(ty))
    }

    fn number(&self, number: &serde_json::Number, go: &str) -> Error {
        self.mismatch(&format!("number {number}"), go)
    }

    fn mismatch(&self, what: &str, go: &str) -> Error {
        if self.fields.is_empty() {
            return Error::Type(format!("json: cannot unmarshal {what} into Go value of type {go}"));
        }
        let (owner, path) = (self.owner, self.fields.join("."));
        Error::Type(format!("json: cannot unmarshal {what} into Go struct field {owner}.{path} of type {go}"))
    }

    fn go_type(&self, ty: Type) -> String {
        match ty {
            Type::String => "string".into(),
            Type::Boolean => "bool".into(),
            Type::Int32 => "int32".into(),
            Type::Int64 => "int64".into(),
            Type::Double => "float64".into(),
            Type::Bytes => "[]uint8".into(),
            Type::List(e) => format!("[]{}", self.go_type(self.schema.element(e))),
            Type::Map(e) => match self.schema.element(e) {
                // The only named map type.
                Type::Ref(id) if self.schema.get(id).form == Form::Quantity => "v1.ResourceList".into(),
                element => format!("map[string]{}", self.go_type(element)),
            },
            Type::Ref(id) => {
                let def = self.schema.get(id);
                let package = def.package.rsplit('.').next().unwrap_or_default();
                format!("{package}.{}", def.name)
            }
        }
    }

    fn int32(&self, value: Value) -> Result<Value, Error> {
        match value {
            Value::Number(n) if n.as_i64().is_some_and(|i| i32::try_from(i).is_ok()) => Ok(Value::Number(n)),
            Value::Number(n) => Err(self.number(&n, "int32")),
            value => Err(self.wrong(&value, Type::Int32)),
        }
    }

    fn int_or_string(&self, value: Value) -> Result<Value, Error> {
        match value {
            Value::String(_) => Ok(value),
            value => self.int32(value),
        }
    }

    /// A time is checked for its form only; the layout is how Go would name it.
    fn time(&self, value: Value, layout: &str) -> Result<Value, Error> {
        let Value::String(text) = value else {
            return Err(self.wrong(&value, Type::String));
        };
        match bad_time(&text) {
            None => Ok(Value::String(text)),
            Some((at, element)) => Err(Error::Type(format!(
                "parsing time {text:?} as {layout:?}: cannot parse {:?} as {element:?}",
                text.get(at..).unwrap_or_default()
            ))),
        }
    }
}

/// Where a text stops being RFC 3339, and which element of Go's layout was expected there.
fn bad_time(text: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    let digits = |at: usize, n: usize| (at..at + n).all(|i| bytes.get(i).is_some_and(u8::is_ascii_digit));
    let date = [(4, "2006"), (2, "01"), (2, "02"), (2, "15"), (2, "04"), (2, "05")];
    let marks = [b'-', b'-', b'T', b':', b':'];
    let mut at = 0;
    for (index, (width, element)) in date.into_iter().enumerate() {
        if !digits(at, width) {
            return Some((at, element));
        }
        at += width;
        if let Some(mark) = marks.get(index) {
            if bytes.get(at) != Some(mark) {
                return Some((at, ["-", "-", "T", ":", ":"][index]));
            }
            at += 1;
        }
    }
    if bytes.get(at) == Some(&b'.') && digits(at + 1, 1) {
        at += 1;
        while digits(at, 1) {
            at += 1;
        }
    }
    let zone = at;
    match bytes.get(at) {
        Some(b'Z' | b'z') => at += 1,
        Some(b'+' | b'-') if digits(at + 1, 2) && bytes.get(at + 3) == Some(&b':') && digits(at + 4, 2) => {
            at += 6
        }
        _ => return Some((zone, "Z07:00")),
    }
    (at != bytes.len()).then_some((at, ""))
}

fn base64(text: String) -> Result<Value, Error> {
    use base64::DecodeError;
    // Go's decoder skips line ends.
    let clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let at = match base64::engine::general_purpose::STANDARD.decode(&clean) {
        Ok(_) => return Ok(Value::String(clean)),
        Err(DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _)) => at,
        Err(DecodeError::InvalidLength(at)) => at / 4 * 4,
        Err(DecodeError::InvalidPadding) => clean.len(),
    };
    Err(Error::Type(format!("illegal base64 data at input byte {at}")))
}

fn quantity(value: Value) -> Result<Value, Error> {
    match value {
        // Kubernetes answers with the string form of what was a number.
        Value::Number(n) => Ok(Value::String(n.to_string())),
        Value::String(s) if is_quantity(&s) => Ok(Value::String(s)),
        _ => Err(Error::Type(QUANTITY.into())),
    }
}

fn is_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 || number.bytes().filter(|b| *b == b'.').count() > 1 {
        return false;
    }
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']) {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if !digits.is_empty() {
            return digits.bytes().all(|b| b.is_ascii_digit());
        }
    }
    matches!(
        suffix,
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"
    )
}
