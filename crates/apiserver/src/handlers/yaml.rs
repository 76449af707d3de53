//! YAML bodies. A key that occurs twice is no error: the last one wins, and the client is told where it stands, in the
//! words of Kubernetes' parser. Of several documents the first counts.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;

/// The value, and `line 7: key "a" already set in map` for each key that occurs again.
pub fn parse(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let text = std::str::from_utf8(body).map_err(|e| format!("error converting YAML to JSON: yaml: {e}"))?;
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let documents = serde_saphyr::from_multiple_with_options::<Tree>(text, options);
    let documents = documents.map_err(|e| format!("error converting YAML to JSON: yaml: {e}"))?;
    let Some(mut tree) = documents.into_iter().next() else { return Ok((Value::Null, Vec::new())) };
    tree.again.sort();
    let again = tree.again.iter().map(|(line, key)| format!("line {line}: key {key:?} already set in map"));
    Ok((tree.value, again.collect()))
}

/// The complaints as the one error of a strict reader.
pub fn strict(again: &[String]) -> Option<String> {
    (!again.is_empty()).then(|| format!("yaml: unmarshal errors:\n  {}", again.join("\n  ")))
}

/// A value, and the line and name of each key that occurs again in its map.
struct Tree {
    value: Value,
    again: Vec<(u64, String)>,
}

impl Tree {
    fn of(value: impl Into<Value>) -> Self {
        Self { value: value.into(), again: Vec::new() }
    }
}

/// A key as JSON has it: text.
struct Key(String);

struct Trees;
struct Keys;

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Trees)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Keys)
    }
}

impl<'de> Visitor<'de> for Trees {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Tree, E> {
        Ok(Tree::of(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Tree, E> {
        Ok(Tree::of(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Tree, E> {
        Ok(Tree::of(v))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Tree, E> {
        Ok(Tree::of(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Tree, E> {
        Ok(Tree::of(v))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::of(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::of(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let (mut items, mut again) = (Vec::new(), Vec::new());
        while let Some(tree) = seq.next_element::<Tree>()? {
            items.push(tree.value);
            again.extend(tree.again);
        }
        Ok(Tree { value: Value::Array(items), again })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let (mut fields, mut again) = (Map::new(), Vec::new());
        while let Some(key) = map.next_key::<Spanned<Key>>()? {
            let tree = map.next_value::<Tree>()?;
            again.extend(tree.again);
            if fields.insert(key.value.0.clone(), tree.value).is_some() {
                again.push((key.referenced.line(), key.value.0));
            }
        }
        Ok(Tree { value: Value::Object(fields), again })
    }
}

impl Visitor<'_> for Keys {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Key, E> {
        Ok(Key(v.to_string()))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Key, E> {
        Ok(Key(v.to_string()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Key, E> {
        Ok(Key(v.to_string()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Key, E> {
        Ok(Key(v.to_string()))
    }

    fn visit_str<E>(self, v: &str) -> Result<Key, E> {
        Ok(Key(v.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Key, E> {
        Ok(Key("null".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse;

    #[test]
    fn the_last_of_two_keys_wins_and_is_named() {
        let (value, again) = parse(b"a: {x: 1}\nb:\n  c: 1\n  c: 2\na: []\n1: true\n").unwrap();
        assert_eq!(value, json!({"a": [], "b": {"c": 2}, "1": true}));
        assert_eq!(again, [r#"line 4: key "c" already set in map"#, r#"line 5: key "a" already set in map"#]);
        assert_eq!(parse(b"a: 1\n---\nb: 2\n").unwrap().0, json!({"a": 1}));
        assert!(parse(b"a: [").is_err());
    }
}
