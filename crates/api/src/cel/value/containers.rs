//! Lists and maps: JSON as it lies, or made by an expression.

use std::borrow::Cow;

use serde_json::Value;

use super::{ATOMIC, DYN, List, Map, Val};
use crate::cel::Failed;
use crate::cel::types::{Items, Type};

impl<'a> List<'a> {
    pub(in crate::cel) fn len(&self) -> usize {
        match self {
            Self::Json(items, ..) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    pub(in crate::cel) fn get(&self, at: usize) -> Option<Result<Val<'a>, Failed>> {
        match self {
            Self::Json(items, ty, _) => items.get(at).map(|v| Val::json(v, ty)),
            Self::Made(items) => items.get(at).cloned().map(Ok),
        }
    }

    /// All items.
    ///
    /// # Errors
    /// When one is not of the type that it should have.
    pub fn items(&self) -> Result<Vec<Val<'a>>, Failed> {
        (0..self.len()).filter_map(|at| self.get(at)).collect()
    }

    /// How items are told apart.
    pub(in crate::cel) fn identity(&self) -> &Items {
        match self {
            Self::Json(_, _, identity) => identity,
            Self::Made(_) => &ATOMIC,
        }
    }

    pub(super) fn equals(&self, other: &List<'a>) -> Result<bool, Failed> {
        if self.len() != other.len() {
            return Ok(false);
        }
        let (a, b) = (self.items()?, other.items()?);
        let identity = if *self.identity() == Items::Atomic { other.identity() } else { self.identity() };
        if *identity == Items::Atomic {
            for (x, y) in a.iter().zip(&b) {
                if !x.equals(y)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        // Sets and maps are equal in any order.
        'items: for x in &a {
            for y in &b {
                if x.equals(y)? {
                    continue 'items;
                }
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// Both lists, as `+` makes of them: items of a set stand once, items of a map replace those with the same key.
    pub(in crate::cel) fn concat(&self, other: &List<'a>) -> Result<Val<'a>, Failed> {
        let mut all = self.items()?;
        for item in other.items()? {
            let same = match self.identity() {
                Items::Atomic => None,
                Items::Set => position(&all, |known| known.equals(&item))?,
                Items::Map(keys) => position(&all, |known| same_keys(known, &item, keys))?,
            };
            match same {
                Some(at) => all[at] = item,
                None => all.push(item),
            }
        }
        Ok(Val::list(all))
    }
}

fn position<'a>(
    all: &[Val<'a>],
    mut same: impl FnMut(&Val<'a>) -> Result<bool, Failed>,
) -> Result<Option<usize>, Failed> {
    for (at, known) in all.iter().enumerate() {
        if same(known)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn same_keys<'a>(a: &Val<'a>, b: &Val<'a>, keys: &[Box<str>]) -> Result<bool, Failed> {
    let (Val::Map(a), Val::Map(b)) = (a, b) else { return a.equals(b) };
    for key in keys {
        let same = match (a.field(key), b.field(key)) {
            (Some(a), Some(b)) => a?.equals(&b?)?,
            (a, b) => a.is_none() && b.is_none(),
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

impl<'a> Map<'a> {
    pub(in crate::cel) fn len(&self) -> usize {
        match self {
            Self::Json(fields, _) => fields.len(),
            Self::Made(entries) | Self::Named(_, entries) => entries.len(),
        }
    }

    /// The value under a name: a field by the name that expressions use, an entry by its key.
    pub(in crate::cel) fn field(&self, name: &str) -> Option<Result<Val<'a>, Failed>> {
        match self {
            Self::Json(fields, Type::Object(object)) => {
                let field = object.fields.get(name)?;
                fields.get(&*field.json).map(|v| Val::json(v, &field.ty))
            }
            Self::Json(fields, Type::Map(_, ty, _)) => fields.get(name).map(|v| Val::json(v, ty)),
            Self::Json(fields, _) => fields.get(name).map(|v| Val::json(v, &DYN)),
            Self::Made(entries) | Self::Named(_, entries) => {
                let found = entries.iter().find(|(key, _)| matches!(key, Val::Text(t) if t == name));
                found.map(|(_, value)| Ok(value.clone()))
            }
        }
    }

    pub(in crate::cel) fn get(&self, key: &Val<'a>) -> Result<Option<Val<'a>>, Failed> {
        if let Val::Text(name) = key {
            return self.field(name).transpose();
        }
        let (Self::Made(entries) | Self::Named(_, entries)) = self else { return Ok(None) };
        for (known, value) in entries.iter() {
            if known.equals(key)? {
                return Ok(Some(value.clone()));
            }
        }
        Ok(None)
    }

    pub(in crate::cel) fn entries(&self) -> Result<Vec<(Val<'a>, Val<'a>)>, Failed> {
        match self {
            Self::Json(fields, ty) => {
                let ty: &'a Type = match ty {
                    Type::Map(_, value, _) => value,
                    _ => &DYN,
                };
                let entry =
                    |(k, v): (&'a String, &'a Value)| Ok((Val::Text(Cow::Borrowed(k)), Val::json(v, ty)?));
                fields.iter().map(entry).collect()
            }
            Self::Made(entries) | Self::Named(_, entries) => Ok(entries.to_vec()),
        }
    }

    pub(super) fn equals(&self, other: &Map<'a>) -> Result<bool, Failed> {
        if let (Self::Json(a, _), Self::Json(b, _)) = (self, other)
            && a == b
        {
            return Ok(true);
        }
        if self.len() != other.len() {
            return Ok(false);
        }
        for (key, value) in self.entries()? {
            match other.get(&key)? {
                Some(found) if value.equals(&found)? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}
