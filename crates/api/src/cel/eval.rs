//! Evaluation, with a budget that every step is paid from.

mod operators;

use std::borrow::Cow;
use std::cmp::Ordering;

use super::ast::{Expr, Kind, Macro, What};
use super::check::{LIST, MAP, ROUND, binary_cost, is_type_name};
use super::value::{Map, Val};
use super::{Bindings, Budget, Failed, libraries};
use operators::{binary, index_of, overflow, select};

/// Evaluates an expression.
pub(super) fn eval<'a>(expr: &Expr, bindings: &Bindings<'a>, budget: &mut Budget) -> Result<Val<'a>, Failed> {
    let mut run = Run { bindings, scope: Vec::new(), budget };
    run.expr(expr)
}

struct Run<'r, 'a> {
    bindings: &'r Bindings<'a>,
    scope: Vec<(Box<str>, Val<'a>)>,
    budget: &'r mut Budget,
}

pub(super) fn failed<T>(message: impl Into<String>) -> Result<T, Failed> {
    Err(Failed::Error(message.into()))
}

fn no_overload<T>() -> Result<T, Failed> {
    failed("no such overload")
}

impl<'a> Run<'_, 'a> {
    fn expr(&mut self, expr: &Expr) -> Result<Val<'a>, Failed> {
        Ok(match &expr.kind {
            Kind::Null => Val::Null,
            Kind::Bool(b) => Val::Bool(*b),
            Kind::Int(n) => Val::Int(*n),
            Kind::Uint(n) => Val::Uint(*n),
            Kind::Double(n) => Val::Double(*n),
            Kind::Text(text) => Val::text(&**text),
            Kind::Bytes(bytes) => Val::Bytes((&**bytes).into()),
            Kind::Name(name) => {
                self.budget.spend(1)?;
                return self.name(name);
            }
            Kind::Select { of, field, how } => {
                let base = self.expr(of)?;
                self.budget.spend(1)?;
                return select(base, field, *how);
            }
            Kind::Index { of, index, optional } => {
                let (base, key) = (self.expr(of)?, self.expr(index)?);
                self.budget.spend(1)?;
                return index_of(base, &key, *optional);
            }
            Kind::List(items) => {
                self.budget.spend(LIST)?;
                let mut all = Vec::with_capacity(items.len());
                for (item, optional) in items {
                    match (self.expr(item)?, optional) {
                        (Val::Optional(value), true) => all.extend(value.map(|v| (*v).clone())),
                        (value, _) => all.push(value),
                    }
                }
                Val::list(all)
            }
            Kind::Map(entries) => {
                self.budget.spend(MAP)?;
                let mut all: Vec<(Val<'a>, Val<'a>)> = Vec::with_capacity(entries.len());
                for (key, value, optional) in entries {
                    let key = self.expr(key)?;
                    let value = match (self.expr(value)?, optional) {
                        (Val::Optional(None), true) => continue,
                        (Val::Optional(Some(value)), true) => (*value).clone(),
                        (value, _) => value,
                    };
                    insert(&mut all, key, value)?;
                }
                Val::Map(Map::Made(all.into()))
            }
            Kind::Struct { name, fields } => {
                self.budget.spend(MAP + LIST)?;
                let mut all = Vec::with_capacity(fields.len());
                for (name, value, optional, _) in fields {
                    let value = match (self.expr(value)?, optional) {
                        (Val::Optional(None), true) => continue,
                        (Val::Optional(Some(value)), true) => (*value).clone(),
                        (value, _) => value,
                    };
                    all.push((Val::text(&**name), value));
                }
                Val::Map(Map::Named((&**name).into(), all.into()))
            }
            Kind::And(all) => return self.logic(all, false),
            Kind::Or(all) => return self.logic(all, true),
            Kind::If(parts) => {
                let [condition, yes, no] = &**parts;
                return match self.expr(condition)? {
                    Val::Bool(true) => self.expr(yes),
                    Val::Bool(false) => self.expr(no),
                    _ => no_overload(),
                };
            }
            Kind::Not(of) => match self.expr(of)? {
                Val::Bool(b) => {
                    self.budget.spend(1)?;
                    Val::Bool(!b)
                }
                _ => return no_overload(),
            },
            Kind::Negate(of) => match self.expr(of)? {
                Val::Int(n) => Val::Int(n.checked_neg().ok_or_else(overflow)?),
                Val::Double(n) => Val::Double(-n),
                _ => return no_overload(),
            },
            Kind::Binary { op, sides } => {
                let (left, right) = (self.expr(&sides[0])?, self.expr(&sides[1])?);
                self.budget.spend(binary_cost(*op, left.size(), right.size()))?;
                return binary(*op, left, right);
            }
            Kind::Call { name, target, args } => {
                let target = match target {
                    Some(target) => Some(self.expr(target)?),
                    None => None,
                };
                let args: Vec<Val<'a>> = args.iter().map(|a| self.expr(a)).collect::<Result<_, _>>()?;
                return libraries::call(name, target, args, self.budget);
            }
            Kind::Macro(m) => return self.comprehension(m),
        })
    }

    fn name(&mut self, name: &str) -> Result<Val<'a>, Failed> {
        if let Some((_, value)) = self.scope.iter().rev().find(|(n, _)| &**n == name) {
            return Ok(value.clone());
        }
        if let Some(value) = self.bindings.get(name) {
            return value;
        }
        if is_type_name(name) {
            return Ok(Val::Type(Cow::Owned(name.to_owned())));
        }
        failed(format!("no such attribute: {name}"))
    }

    /// `&&` and `||`: a side that decides makes up for errors of the others.
    fn logic(&mut self, all: &[Expr], decides: bool) -> Result<Val<'a>, Failed> {
        let mut error = None;
        for side in all {
            match self.expr(side) {
                Ok(Val::Bool(b)) if b == decides => return Ok(Val::Bool(decides)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => error = error.or(Some(Failed::Error("no such overload".into()))),
                Err(final_word @ (Failed::Exhausted | Failed::Unanswered)) => return Err(final_word),
                Err(other) => error = error.or(Some(other)),
            }
        }
        error.map_or(Ok(Val::Bool(!decides)), Err)
    }

    fn with(&mut self, names: &[Box<str>], values: [Val<'a>; 2], body: &Expr) -> Result<Val<'a>, Failed> {
        let before = self.scope.len();
        self.scope.extend(names.iter().cloned().zip(values));
        let result = self.expr(body);
        self.scope.truncate(before);
        result
    }

    fn comprehension(&mut self, m: &Macro) -> Result<Val<'a>, Failed> {
        let range = self.expr(&m.range)?;
        match (m.what, &range) {
            (What::Bind, _) => return self.with(&m.names, [range, Val::Null], &m.body),
            (What::OptMap | What::OptFlatMap, Val::Optional(None)) => return Ok(Val::Optional(None)),
            (What::OptMap, Val::Optional(Some(value))) => {
                let value = (**value).clone();
                return self.with(&m.names, [value, Val::Null], &m.body).map(Val::some);
            }
            (What::OptFlatMap, Val::Optional(Some(value))) => {
                let value = (**value).clone();
                return self.with(&m.names, [value, Val::Null], &m.body);
            }
            _ => {}
        }
        let two = m.names.len() == 2;
        let is_map = matches!(range, Val::Map(_));
        let rounds: Vec<[Val<'a>; 2]> = match range {
            Val::List(list) => {
                let items = list.items()?.into_iter().enumerate();
                items.map(|(at, v)| if two { [Val::Int(at as i64), v] } else { [v, Val::Null] }).collect()
            }
            Val::Map(map) => map.entries()?.into_iter().map(|(k, v)| [k, v]).collect(),
            _ => return no_overload(),
        };
        let keys = |at: usize, round: &[Val<'a>; 2]| {
            if two || is_map { round[0].clone() } else { Val::Int(at as i64) }
        };
        let (mut count, mut error) = (0, None);
        let mut made: Vec<Val<'a>> = Vec::new();
        let mut entries: Vec<(Val<'a>, Val<'a>)> = Vec::new();
        for (at, round) in rounds.into_iter().enumerate() {
            let builds = !matches!(m.what, What::All | What::Exists | What::ExistsOne);
            self.budget.spend(ROUND + if builds { LIST } else { 0 })?;
            if let Some(filter) = &m.filter {
                match self.with(&m.names, round.clone(), filter)? {
                    Val::Bool(true) => {}
                    Val::Bool(false) => continue,
                    _ => return no_overload(),
                }
            }
            let result = self.with(&m.names, round.clone(), &m.body);
            match (m.what, result) {
                (_, Err(final_word @ (Failed::Exhausted | Failed::Unanswered))) => return Err(final_word),
                (What::All, Ok(Val::Bool(false))) => return Ok(Val::Bool(false)),
                (What::Exists, Ok(Val::Bool(true))) => return Ok(Val::Bool(true)),
                (What::All | What::Exists, Err(failure)) => error = error.or(Some(failure)),
                (What::ExistsOne, Ok(Val::Bool(true))) => count += 1,
                (What::Filter, Ok(Val::Bool(true))) => made.push(round[0].clone()),
                (What::All | What::Exists | What::ExistsOne | What::Filter, Ok(Val::Bool(_))) => {}
                (_, Err(failure)) => return Err(failure),
                (What::Map, Ok(value)) => made.push(value),
                (What::SortBy, Ok(key)) => entries.push((key, round[0].clone())),
                (What::TransformMap, Ok(value)) => entries.push((keys(at, &round), value)),
                (What::TransformMapEntry, Ok(Val::Map(map))) => {
                    for (key, value) in map.entries()? {
                        insert(&mut entries, key, value)?;
                    }
                }
                _ => return no_overload(),
            }
        }
        if let Some(error) = error {
            return Err(error);
        }
        Ok(match m.what {
            What::All => Val::Bool(true),
            What::Exists => Val::Bool(false),
            What::ExistsOne => Val::Bool(count == 1),
            What::Filter | What::Map => Val::list(made),
            What::SortBy => {
                let comparable = entries.windows(2).all(|w| w[0].0.compare(&w[1].0).is_some());
                if !comparable {
                    return failed("list elements must be of the same, comparable type");
                }
                entries.sort_by(|a, b| a.0.compare(&b.0).unwrap_or(Ordering::Equal));
                Val::list(entries.into_iter().map(|(_, v)| v).collect())
            }
            _ => Val::Map(Map::Made(entries.into())),
        })
    }
}

fn insert<'a>(all: &mut Vec<(Val<'a>, Val<'a>)>, key: Val<'a>, value: Val<'a>) -> Result<(), Failed> {
    for (known, _) in all.iter() {
        if known.equals(&key)? {
            return failed("Failed with repeated key");
        }
    }
    all.push((key, value));
    Ok(())
}
