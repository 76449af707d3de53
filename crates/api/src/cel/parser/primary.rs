//! What stands by itself: literals, names, calls, and the macros that some calls stand for.

use super::{Parser, Result};
use crate::cel::ast::{Access, Expr, Kind, Macro, What};
use crate::cel::lexer::Word;
use crate::cel::{Issue, RESERVED, functions};

impl Parser<'_> {
    pub(super) fn arguments(&mut self) -> Result<Vec<Expr>> {
        self.expect("(")?;
        let mut args = Vec::new();
        while !self.is(")") {
            args.push(self.expr()?);
            if !self.accept(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(args)
    }

    pub(super) fn primary(&mut self) -> Result<Expr> {
        let at = self.at();
        let kind = match self.peek().clone() {
            Word::Int(n) => Kind::Int(n),
            Word::Uint(n) => Kind::Uint(n),
            Word::Double(n) => Kind::Double(n),
            Word::Text(text) => Kind::Text(text.into()),
            Word::Bytes(bytes) => Kind::Bytes(bytes.into()),
            Word::Name(name) => return self.name(&name, at),
            Word::Mark("(") => {
                self.take();
                let inside = self.expr()?;
                self.expect(")")?;
                return Ok(inside);
            }
            Word::Mark("[") => return self.list(at),
            // In a list literal the first item may be optional.
            Word::Mark("[?") => return self.list(at),
            Word::Mark("{") => return self.map(at),
            Word::Mark(".") => {
                self.take();
                return self.primary();
            }
            _ => return Err(self.unexpected()),
        };
        self.take();
        self.node(kind, at, &[])
    }

    fn name(&mut self, name: &str, at: u32) -> Result<Expr> {
        if RESERVED.contains(&name) {
            return Err(Issue { message: format!("reserved identifier: {name}"), at });
        }
        if name == "in" {
            return Err(self.unexpected());
        }
        self.take();
        let kind = match name {
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            "null" => Kind::Null,
            _ if self.is("(") => {
                let at = self.at();
                let args = self.arguments()?;
                return self.call(name.to_owned(), None, args, at);
            }
            _ if self.is("{") => return self.structure(name),
            _ => Kind::Name(name.into()),
        };
        self.node(kind, at, &[])
    }

    fn list(&mut self, at: u32) -> Result<Expr> {
        let mut optional = matches!(self.take(), Word::Mark("[?"));
        let mut items = Vec::new();
        while !self.is("]") {
            optional |= self.accept("?");
            items.push((self.expr()?, optional));
            optional = false;
            if !self.accept(",") {
                break;
            }
        }
        self.expect("]")?;
        let checked = self.node(Kind::Null, at, &items.iter().map(|(e, _)| e).collect::<Vec<_>>())?;
        Ok(Expr { kind: Kind::List(items.into()), ..checked })
    }

    fn map(&mut self, at: u32) -> Result<Expr> {
        self.expect("{")?;
        let mut entries = Vec::new();
        while !self.is("}") {
            let optional = self.accept("?");
            let key = self.expr()?;
            self.expect(":")?;
            entries.push((key, self.expr()?, optional));
            if !self.accept(",") {
                break;
            }
        }
        self.expect("}")?;
        let below: Vec<&Expr> = entries.iter().flat_map(|(k, v, _)| [k, v]).collect();
        let checked = self.node(Kind::Null, at, &below)?;
        Ok(Expr { kind: Kind::Map(entries.into()), ..checked })
    }

    pub(super) fn structure(&mut self, name: &str) -> Result<Expr> {
        let at = self.at();
        self.expect("{")?;
        let mut fields = Vec::new();
        while !self.is("}") {
            let optional = self.accept("?");
            let Word::Name(field) = self.take() else { return Err(self.unexpected()) };
            let colon = self.at();
            self.expect(":")?;
            fields.push((field.into(), self.expr()?, optional, colon));
            if !self.accept(",") {
                break;
            }
        }
        self.expect("}")?;
        let checked = self.node(
            Kind::Null,
            at,
            &fields.iter().map(|(_, e, ..): &(_, Expr, _, _)| e).collect::<Vec<_>>(),
        )?;
        Ok(Expr { kind: Kind::Struct { name: name.into(), fields: fields.into() }, ..checked })
    }

    /// A call, or the macro that it stands for.
    pub(super) fn call(
        &self,
        name: String,
        target: Option<Expr>,
        mut args: Vec<Expr>,
        at: u32,
    ) -> Result<Expr> {
        if target.is_none() && name == "has" && args.len() == 1 {
            let arg = args.remove(0);
            return match arg.kind {
                Kind::Select { of, field, how: Access::Plain } => {
                    Ok(Expr { kind: Kind::Select { of, field, how: Access::Test }, at, depth: arg.depth })
                }
                // A variable with a dot in its name, where it is the field that is asked about.
                Kind::Name(whole) if whole.contains('.') => {
                    let (root, field) = whole.split_once('.').unwrap_or_default();
                    let of = Box::new(self.node(Kind::Name(root.into()), arg.at, &[])?);
                    self.node(Kind::Select { of, field: field.into(), how: Access::Test }, at, &[])
                }
                _ => Err(Issue { message: "invalid argument to has() macro".into(), at }),
            };
        }
        let what = match (name.as_str(), args.len()) {
            ("all", 2 | 3) => Some(What::All),
            ("exists", 2 | 3) => Some(What::Exists),
            ("exists_one" | "existsOne", 2 | 3) => Some(What::ExistsOne),
            ("filter", 2) => Some(What::Filter),
            ("map", 2 | 3) | ("transformList", 3 | 4) => Some(What::Map),
            ("transformMap", 3 | 4) => Some(What::TransformMap),
            ("transformMapEntry", 3 | 4) => Some(What::TransformMapEntry),
            ("sortBy", 2) => Some(What::SortBy),
            ("bind", 3) => Some(What::Bind),
            ("optMap", 2) => Some(What::OptMap),
            ("optFlatMap", 2) => Some(What::OptFlatMap),
            _ => None,
        };
        let is_cel = |e: &Expr| matches!(&e.kind, Kind::Name(n) if &**n == "cel");
        let mut all: Vec<&Expr> = args.iter().collect();
        all.extend(&target);
        let checked = self.node(Kind::Null, at, &all)?;
        // `math.greatest(...)` is the name of a function and not a call on something called `math`.
        if let Some(Kind::Name(space)) = target.as_ref().map(|t| &t.kind) {
            let qualified = format!("{space}.{name}");
            if functions::all().iter().any(|s| s.name == qualified && s.args.len() == args.len()) {
                return Ok(Expr {
                    kind: Kind::Call { name: qualified.into(), target: None, args: args.into() },
                    ..checked
                });
            }
        }
        match (what, target) {
            (Some(What::Bind), Some(target)) if !is_cel(&target) => Ok(Expr {
                kind: Kind::Call { name: name.into(), target: Some(Box::new(target)), args: args.into() },
                ..checked
            }),
            (Some(What::Bind), Some(_)) => {
                let body = args.pop().expect("three arguments");
                let range = args.pop().expect("three arguments");
                self.macro_of(What::Bind, range, args, None, body, checked)
            }
            (Some(what), Some(range)) => {
                let body = args.pop().expect("at least two arguments");
                let transforms =
                    matches!(name.as_str(), "transformList" | "transformMap" | "transformMapEntry");
                let filter = match (name.as_str(), args.len()) {
                    ("map", 2) => args.pop(),
                    (_, 3) if transforms => args.pop(),
                    _ => None,
                };
                self.macro_of(what, range, args, filter, body, checked)
            }
            (_, target) => Ok(Expr {
                kind: Kind::Call { name: name.into(), target: target.map(Box::new), args: args.into() },
                ..checked
            }),
        }
    }

    fn macro_of(
        &self,
        what: What,
        range: Expr,
        names: Vec<Expr>,
        filter: Option<Expr>,
        body: Expr,
        checked: Expr,
    ) -> Result<Expr> {
        let mut found: Vec<Box<str>> = Vec::new();
        for name in names {
            match name.kind {
                Kind::Name(text) if !found.contains(&text) => found.push(text),
                _ => return Err(Issue { message: "argument must be a simple name".into(), at: name.at }),
            }
        }
        let made = Macro { what, range, names: found.into(), filter, body };
        Ok(Expr { kind: Kind::Macro(Box::new(made)), ..checked })
    }
}

/// `a.b.c`, if the expression is that.
pub(super) fn dotted(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Name(name) => Some(name.to_string()),
        Kind::Select { of, field, how: Access::Plain } => Some(format!("{}.{field}", dotted(of)?)),
        _ => None,
    }
}
