//! Types and costs of an expression, before it is ever evaluated.
//!
//! One walk finds both: each node has a type, whose sizes bound what evaluating it can cost. The estimate is the most
//! that an evaluation can cost, in the units that [`super::Budget`] counts.

mod operators;

use std::sync::Arc;

use super::ast::{Access, Expr, Kind, Macro, What};
use super::functions::{self, Bound};
use super::types::{Items, Type};
use super::{Environment, Issue};
pub(super) use operators::binary_cost;
use operators::{binary, no_overload};

/// Making a list or a map costs at least this.
pub(super) const LIST: u64 = 10;
pub(super) const MAP: u64 = 30;
/// What each round of a macro costs beside its body.
pub(super) const ROUND: u64 = 3;

/// What the check found out.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub ty: Type,
    pub cost: u64,
}

/// Checks an expression.
pub(super) fn check(expr: &Expr, env: &Environment) -> Result<Found, Issue> {
    let scope = env.variables.iter().map(|(name, ty)| (name.clone(), ty.clone())).collect();
    Checker { scope, env, mixed: 0 }.expr(expr)
}

struct Checker<'a> {
    scope: Vec<(Box<str>, Type)>,
    env: &'a Environment,
    /// In how many calls we are whose lists may hold values that are not known before beside others.
    mixed: u16,
}

fn issue<T>(at: u32, message: impl Into<String>) -> Result<T, Issue> {
    Err(Issue { message: message.into(), at })
}

/// The name of a type as a value.
pub(super) fn is_type_name(name: &str) -> bool {
    const NAMES: [&str; 10] =
        ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
    NAMES.contains(&name)
}

impl Checker<'_> {
    fn expr(&mut self, expr: &Expr) -> Result<Found, Issue> {
        let at = expr.at;
        let found = |ty, cost| Ok(Found { ty, cost });
        match &expr.kind {
            Kind::Null => found(Type::Null, 0),
            Kind::Bool(_) => found(Type::Bool, 0),
            Kind::Int(_) => found(Type::Int, 0),
            Kind::Uint(_) => found(Type::Uint, 0),
            Kind::Double(_) => found(Type::Double, 0),
            Kind::Text(text) => found(Type::String(Some(text.len() as u64)), 0),
            Kind::Bytes(bytes) => found(Type::Bytes(Some(bytes.len() as u64)), 0),
            Kind::Name(name) => match self.scope.iter().rev().find(|(n, _)| n == name) {
                Some((_, ty)) => found(ty.clone(), 1),
                None if is_type_name(name) => found(Type::Type, 1),
                None => issue(at, format!("undeclared reference to '{name}' (in container '')")),
            },
            Kind::Select { of, field, how } => self.select(at, of, field, *how),
            Kind::Index { of, index, optional } => self.index(at, of, index, *optional),
            Kind::List(items) => {
                let (mut item, mut cost) = (None::<Type>, LIST);
                for (expr, optional) in items {
                    let one = self.expr(expr)?;
                    cost = cost.saturating_add(one.cost);
                    let ty = match one.ty {
                        Type::Optional(of) if *optional => (*of).clone(),
                        Type::Dyn => Type::Dyn,
                        other if *optional => {
                            return issue(
                                expr.at,
                                format!("expected type 'optional_type(dyn)' but found '{other}'"),
                            );
                        }
                        other => other,
                    };
                    // What may be none can be none of anything.
                    if *optional && ty.is_dyn() {
                        continue;
                    }
                    if let Some(known) = &item {
                        self.alike(expr.at, known, &ty)?;
                    }
                    item = Some(item.map_or(ty.clone(), |known| known.either(&ty)));
                }
                let item = Arc::new(item.unwrap_or(Type::Dyn));
                found(Type::List(item, Some(items.len() as u64), Items::Atomic), cost)
            }
            Kind::Map(entries) => {
                let (mut types, mut cost) = (None::<(Type, Type)>, MAP);
                for (key, value, optional) in entries {
                    let (k, v) = (self.expr(key)?, self.expr(value)?);
                    cost = cost.saturating_add(k.cost).saturating_add(v.cost);
                    if let (Some((a, b)), false) = (&types, *optional) {
                        self.alike(key.at, a, &k.ty)?;
                        self.alike(value.at, b, &v.ty)?;
                    }
                    types = Some(match types {
                        None => (k.ty, v.ty),
                        Some((a, b)) => (a.either(&k.ty), b.either(&v.ty)),
                    });
                }
                let (key, value) = types.unwrap_or((Type::Dyn, Type::Dyn));
                found(Type::Map(Arc::new(key), Arc::new(value), Some(entries.len() as u64)), cost)
            }
            Kind::Struct { name, fields } => {
                let Some(object) = self.env.structure(name) else {
                    return issue(at, format!("undeclared reference to '{name}' (in container '')"));
                };
                let mut cost = MAP + LIST;
                for (field, value, optional, at) in fields {
                    let one = self.expr(value)?;
                    cost = cost.saturating_add(one.cost);
                    let given = match one.ty {
                        Type::Optional(of) if *optional => (*of).clone(),
                        other => other,
                    };
                    match object.fields.get(field) {
                        Some(known) if !known.ty.fits(&given) => {
                            let want = &known.ty;
                            return issue(
                                *at,
                                format!(
                                    "expected type of field '{field}' is '{want}' but provided type is '{given}'"
                                ),
                            );
                        }
                        None if !object.open => return issue(*at, format!("undefined field '{field}'")),
                        _ => {}
                    }
                }
                found(Type::Object(object), cost)
            }
            Kind::And(all) | Kind::Or(all) => {
                let mut cost = 0u64;
                for side in all {
                    let one = self.expr(side)?;
                    cost = cost.saturating_add(one.cost);
                    if !one.ty.fits(&Type::Bool) {
                        return issue(side.at, format!("expected type 'bool' but found '{}'", one.ty));
                    }
                }
                found(Type::Bool, cost)
            }
            Kind::If(parts) => {
                let [condition, yes, no] = &**parts;
                let (c, y, n) = (self.expr(condition)?, self.expr(yes)?, self.expr(no)?);
                if !c.ty.fits(&Type::Bool) || !y.ty.fits(&n.ty) {
                    return no_overload(at, "_?_:_", &[&c.ty, &y.ty, &n.ty]);
                }
                found(y.ty.either(&n.ty), c.cost.saturating_add(y.cost.max(n.cost)))
            }
            Kind::Not(of) => {
                let one = self.expr(of)?;
                if !one.ty.fits(&Type::Bool) {
                    return no_overload(at, "!_", &[&one.ty]);
                }
                found(Type::Bool, one.cost.saturating_add(1))
            }
            Kind::Negate(of) => {
                let one = self.expr(of)?;
                if !matches!(one.ty, Type::Int | Type::Double | Type::Dyn) {
                    return no_overload(at, "-_", &[&one.ty]);
                }
                found(one.ty, one.cost.saturating_add(1))
            }
            Kind::Binary { op, sides } => {
                let (left, right) = (self.expr(&sides[0])?, self.expr(&sides[1])?);
                let cost = left.cost.saturating_add(right.cost);
                let ty = binary(at, *op, &left.ty, &right.ty)?;
                found(ty, cost.saturating_add(binary_cost(*op, left.ty.size(), right.ty.size())))
            }
            Kind::Call { name, target, args } => self.call(at, name, target.as_deref(), args),
            Kind::Macro(m) => self.comprehension(at, m),
        }
    }

    /// The parts of a list or a map have one type.
    fn alike(&self, at: u32, first: &Type, other: &Type) -> Result<(), Issue> {
        if first.same(other) || (self.mixed > 0 && first.fits(other)) {
            return Ok(());
        }
        issue(at, format!("expected type '{first}' but found '{other}'"))
    }

    fn select(&mut self, at: u32, of: &Expr, field: &str, how: Access) -> Result<Found, Issue> {
        let base = self.expr(of)?;
        let cost = base.cost.saturating_add(1);
        let (ty, optional) = match &base.ty {
            Type::Optional(of) => (&**of, true),
            other => (other, false),
        };
        let selected = match ty {
            Type::Object(object) => match object.fields.get(field) {
                Some(field) => field.ty.clone(),
                None if object.open => Type::Dyn,
                None => return issue(at, format!("undefined field '{field}'")),
            },
            Type::Map(key, value, _) if key.fits(&Type::String(None)) => (**value).clone(),
            Type::Dyn => Type::Dyn,
            Type::Opaque(of) => {
                return issue(at, format!("unexpected failed resolution of '{}'", of.name()));
            }
            other => return issue(at, format!("type '{other}' does not support field selection")),
        };
        let ty = match how {
            Access::Test => Type::Bool,
            Access::Optional => Type::Optional(Arc::new(selected)),
            Access::Plain if optional => Type::Optional(Arc::new(selected)),
            Access::Plain => selected,
        };
        Ok(Found { ty, cost })
    }

    fn index(&mut self, at: u32, of: &Expr, index: &Expr, optional: bool) -> Result<Found, Issue> {
        let (base, key) = (self.expr(of)?, self.expr(index)?);
        let (ty, through) = match &base.ty {
            Type::Optional(of) => (&**of, true),
            other => (other, false),
        };
        let item = match ty {
            Type::List(item, ..) if matches!(key.ty, Type::Int | Type::Uint | Type::Double | Type::Dyn) => {
                (**item).clone()
            }
            Type::Map(k, value, _) if k.fits(&key.ty) => (**value).clone(),
            Type::Dyn => Type::Dyn,
            _ => return no_overload(at, "_[_]", &[&base.ty, &key.ty]),
        };
        let ty = if optional || through { Type::Optional(Arc::new(item)) } else { item };
        Ok(Found { ty, cost: base.cost.saturating_add(key.cost).saturating_add(1) })
    }

    fn call(&mut self, at: u32, name: &str, target: Option<&Expr>, args: &[Expr]) -> Result<Found, Issue> {
        // Only where patches can be made is there anything that a key would have to be escaped for.
        if name.starts_with("jsonpatch.") && self.env.structures.is_empty() {
            let start = at.saturating_sub(name.len() as u32);
            return issue(start, "undeclared reference to 'jsonpatch' (in container '')");
        }
        let mixes = u16::from(name == "format");
        self.mixed += mixes;
        let target = target.map(|t| self.expr(t)).transpose()?;
        let args: Vec<Found> = args.iter().map(|a| self.expr(a)).collect::<Result<_, _>>()?;
        self.mixed -= mixes;
        let cost = target.iter().chain(&args).fold(0u64, |sum, f| sum.saturating_add(f.cost));
        let mut named = false;
        for signature in functions::all().iter().filter(|s| s.name == name) {
            named = true;
            let mut bound: Bound = [None, None];
            let fits = match (&signature.receiver, &target) {
                (Some(want), Some(target)) => want.takes(&target.ty, &mut bound),
                (None, None) => true,
                _ => false,
            };
            let all = signature.args.len() == args.len()
                && fits
                && signature.args.iter().zip(&args).all(|(want, arg)| want.takes(&arg.ty, &mut bound));
            if !all {
                continue;
            }
            let mut sizes = target.iter().chain(&args).map(|f| f.ty.size());
            let (first, second) = (sizes.next().unwrap_or(1), sizes.next().unwrap_or(1));
            let own = functions::cost(signature.cost, first, second);
            // A text that is joined, replaced or formatted is as long as all that went into it.
            let size = sizes
                .fold(first.saturating_add(if target.is_some() { second } else { 0 }), u64::saturating_add);
            let size = if target.is_some() && args.is_empty() { first } else { size };
            return Ok(Found { ty: signature.result.made(&bound, size), cost: cost.saturating_add(own) });
        }
        if !named {
            return issue(at, format!("undeclared reference to '{name}' (in container '')"));
        }
        let types: Vec<&Type> = target.iter().chain(&args).map(|f| &f.ty).collect();
        let types: Vec<String> = types.iter().map(ToString::to_string).collect();
        let applied = match target {
            Some(_) => format!("{}.({})", types[0], types[1..].join(", ")),
            None => format!("({})", types.join(", ")),
        };
        issue(at, format!("found no matching overload for '{name}' applied to '{applied}'"))
    }

    fn comprehension(&mut self, at: u32, m: &Macro) -> Result<Found, Issue> {
        let range = self.expr(&m.range)?;
        if m.what == What::Bind {
            let (_, body) = self.with(&[(&m.names[0], range.ty.clone())], None, &m.body)?;
            return Ok(Found { ty: body.ty, cost: range.cost.saturating_add(body.cost) });
        }
        if matches!(m.what, What::OptMap | What::OptFlatMap) {
            let inside = match &range.ty {
                Type::Optional(of) => (**of).clone(),
                Type::Dyn => Type::Dyn,
                other => return issue(at, format!("expected type 'optional_type(dyn)' but found '{other}'")),
            };
            let (_, body) = self.with(&[(&m.names[0], inside)], None, &m.body)?;
            let cost = range.cost.saturating_add(body.cost).saturating_add(ROUND);
            let ty = match (m.what, body.ty) {
                (What::OptMap, ty) => Type::Optional(Arc::new(ty)),
                (_, ty @ (Type::Optional(_) | Type::Dyn)) => ty,
                (_, other) => {
                    return issue(
                        m.body.at,
                        format!("expected type 'optional_type(dyn)' but found '{other}'"),
                    );
                }
            };
            return Ok(Found { ty, cost });
        }
        let two = m.names.len() == 2;
        let (first, second) = match &range.ty {
            Type::List(item, ..) if two => (Type::Int, (**item).clone()),
            Type::List(item, ..) => ((**item).clone(), Type::Dyn),
            Type::Map(key, value, _) => ((**key).clone(), (**value).clone()),
            Type::Dyn => (Type::Dyn, Type::Dyn),
            other => {
                return issue(
                    m.range.at,
                    format!(
                        "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                    ),
                );
            }
        };
        let names: Vec<(&str, Type)> =
            m.names.iter().zip([first.clone(), second]).map(|(name, ty)| (&**name, ty)).collect();
        let (filter, body) = self.with(&names, m.filter.as_ref(), &m.body)?;
        let must_be_bool =
            matches!(m.what, What::All | What::Exists | What::ExistsOne | What::Filter).then_some(&body.ty);
        for ty in must_be_bool.into_iter().chain(filter.as_ref().map(|f| &f.ty)) {
            if !ty.fits(&Type::Bool) {
                return issue(m.body.at, format!("expected type 'bool' but found '{ty}'"));
            }
        }
        let size = range.ty.size();
        let extra = match m.what {
            What::All | What::Exists | What::ExistsOne => 0,
            _ => LIST,
        };
        let round = body.cost.saturating_add(filter.map_or(0, |f| f.cost)).saturating_add(ROUND + extra);
        let cost = range.cost.saturating_add(size.saturating_mul(round)).saturating_add(1);
        let max = Some(size);
        let ty = match m.what {
            What::All | What::Exists | What::ExistsOne => Type::Bool,
            What::Filter | What::SortBy => match range.ty {
                Type::Map(key, ..) => Type::List(key, max, Items::Atomic),
                other => other,
            },
            What::Map => Type::List(Arc::new(body.ty), max, Items::Atomic),
            What::TransformMap => {
                Type::Map(Arc::new(if two { first } else { Type::Dyn }), Arc::new(body.ty), max)
            }
            _ => Type::Dyn,
        };
        Ok(Found { ty, cost })
    }

    /// Checks with more variables in scope.
    fn with(
        &mut self,
        names: &[(&str, Type)],
        filter: Option<&Expr>,
        body: &Expr,
    ) -> Result<(Option<Found>, Found), Issue> {
        let before = self.scope.len();
        self.scope.extend(names.iter().map(|(name, ty)| ((*name).into(), ty.clone())));
        let filter = filter.map(|f| self.expr(f)).transpose();
        let body = self.expr(body);
        self.scope.truncate(before);
        Ok((filter?, body?))
    }
}
