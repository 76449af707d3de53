//! What tables show of custom resources: the columns of the definition, or the age. Pure.

use dunlin_api::jsonpath::Path;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::object::{at, int, list, text};
use crate::time;

/// One column.
#[derive(Debug)]
pub struct Column {
    name: Box<str>,
    kind: Kind,
    format: Box<str>,
    description: Box<str>,
    priority: i64,
    path: Path,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Boolean,
    Date,
    Integer,
    Number,
    String,
}

impl Kind {
    const ALL: [(&'static str, Self); 5] = [
        ("boolean", Self::Boolean),
        ("date", Self::Date),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("string", Self::String),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, k)| *k == self).map_or("string", |(name, _)| name)
    }
}

impl Column {
    /// The columns of a version.
    pub fn all(version: &Value) -> Box<[Self]> {
        let columns = list(version, &["additionalPrinterColumns"]);
        if columns.is_empty() {
            let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"});
            return Self::read(&age).into_iter().collect();
        }
        columns.iter().filter_map(Self::read).collect()
    }

    /// What is not readable was refused with the definition.
    fn read(value: &Value) -> Option<Self> {
        let own = |name: &str| -> Box<str> { text(value, &[name]).into() };
        Some(Self {
            name: own("name"),
            kind: Kind::ALL.iter().find(|(name, _)| *name == text(value, &["type"]))?.1,
            format: own("format"),
            description: own("description"),
            priority: int(value, &["priority"]),
            path: Path::parse(text(value, &["jsonPath"])).ok()?,
        })
    }

    pub fn definition(&self) -> Value {
        json!({"name": self.name, "type": self.kind.name(), "format": self.format, "description": self.description,
            "priority": self.priority})
    }

    /// What stands in the column; null where the object has nothing.
    pub fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(found) = self.path.find(object).into_iter().next() else { return Value::Null };
        match (self.kind, found) {
            (_, Value::Null) => Value::Null,
            (Kind::Boolean, Value::Bool(_)) => found.clone(),
            (Kind::Integer, Value::Number(n)) => {
                n.as_i64().or(n.as_f64().map(|f| f as i64)).map_or(Value::Null, Value::from)
            }
            (Kind::Number, Value::Number(_)) => found.clone(),
            (Kind::Date, Value::String(since)) => match time::parse(since) {
                Some(since) => json!(time::human(time::between(since, now))),
                None => json!("<invalid>"),
            },
            (Kind::String, Value::String(_)) => found.clone(),
            (Kind::String, other) => json!(other.to_string()),
            _ => Value::Null,
        }
    }
}

/// The definitions of all columns.
pub fn definitions(columns: &[Column]) -> Vec<Value> {
    let name = json!({"name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": "Name must be unique within a namespace."});
    std::iter::once(name).chain(columns.iter().map(Column::definition)).collect()
}

/// The cells of one object.
pub fn cells(columns: &[Column], object: &Value, now: Timestamp) -> Vec<Value> {
    let name = at(object, &["metadata", "name"]).cloned().unwrap_or_default();
    std::iter::once(name).chain(columns.iter().map(|c| c.cell(object, now))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_show_what_their_type_allows() {
        let version = json!({"additionalPrinterColumns": [
            {"name": "S", "type": "string", "jsonPath": ".spec.s"},
            {"name": "List", "type": "string", "jsonPath": ".spec.l"},
            {"name": "I", "type": "integer", "jsonPath": ".spec.i", "priority": 1},
            {"name": "NoInt", "type": "integer", "jsonPath": ".spec.s"},
            {"name": "None", "type": "string", "jsonPath": ".spec.none"},
            {"name": "D", "type": "date", "jsonPath": ".spec.d"},
        ]});
        let columns = Column::all(&version);
        let object = json!({"metadata": {"name": "n"},
            "spec": {"s": "x", "l": ["a"], "i": 7, "d": "2026-01-01T00:00:00Z"}});
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        assert_eq!(json!(cells(&columns, &object, now)), json!(["n", "x", "[\"a\"]", 7, null, null, "60m"]));
        assert_eq!(definitions(&columns)[3]["priority"], 1);
        assert_eq!(definitions(&Column::all(&json!({})))[1]["name"], "Age");
    }
}
