//! From words to an expression, by descent along the precedence of operators.

use super::ast::{Access, Expr, Kind, Op};
use super::lexer::{Word, words};
use primary::dotted;
mod primary;

use super::Issue;

/// Longer expressions are refused.
const LONGEST: usize = 64 << 10;
/// Nodes that stand on each other, and parentheses inside each other.
const DEEPEST: u16 = 120;

type Result<T> = std::result::Result<T, Issue>;

/// Reads an expression. `dotted` are variables whose names have a dot in them.
pub(super) fn parse(text: &str, dotted: &[&str]) -> Result<Expr> {
    if text.len() > LONGEST {
        return Err(Issue { message: format!("expression is longer than {LONGEST} bytes"), at: 0 });
    }
    let mut parser = Parser { words: words(text)?, next: 0, nested: 0, known: dotted };
    let expr = parser.expr()?;
    if parser.peek() != &Word::End {
        return Err(parser.unexpected());
    }
    Ok(expr)
}

struct Parser<'a> {
    words: Vec<(Word, u32)>,
    next: usize,
    nested: u16,
    /// Variables with a dot in their names.
    known: &'a [&'a str],
}

impl Parser<'_> {
    fn peek(&self) -> &Word {
        &self.words[self.next].0
    }

    fn at(&self) -> u32 {
        self.words[self.next].1
    }

    fn take(&mut self) -> Word {
        let word = self.words[self.next].0.clone();
        if self.next + 1 < self.words.len() {
            self.next += 1;
        }
        word
    }

    fn is(&self, mark: &str) -> bool {
        matches!(self.peek(), Word::Mark(m) if *m == mark)
    }

    fn accept(&mut self, mark: &str) -> bool {
        let found = self.is(mark);
        if found {
            self.take();
        }
        found
    }

    fn expect(&mut self, mark: &str) -> Result<()> {
        if self.accept(mark) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> Issue {
        let what = match self.peek() {
            Word::End => "<EOF>".to_owned(),
            Word::Name(name) => name.clone(),
            Word::Mark(mark) => (*mark).to_owned(),
            Word::Int(n) => n.to_string(),
            Word::Text(text) => format!("{text:?}"),
            _ => "literal".to_owned(),
        };
        Issue { message: format!("Syntax error: unexpected '{what}'"), at: self.at() }
    }

    fn node(&self, kind: Kind, at: u32, below: &[&Expr]) -> Result<Expr> {
        let depth = 1 + below.iter().map(|e| e.depth).max().unwrap_or_default();
        if depth > DEEPEST {
            return Err(Issue { message: format!("expression is nested more than {DEEPEST} deep"), at });
        }
        Ok(Expr { kind, at, depth })
    }

    fn expr(&mut self) -> Result<Expr> {
        self.nested += 1;
        if self.nested > DEEPEST {
            let message = format!("expression is nested more than {DEEPEST} deep");
            return Err(Issue { message, at: self.at() });
        }
        let condition = self.or()?;
        let expr = if self.is("?") {
            let at = self.at();
            self.take();
            let yes = self.or()?;
            self.expect(":")?;
            let no = self.expr()?;
            let depth = [&condition, &yes, &no];
            let checked = self.node(Kind::Null, at, &depth)?;
            Expr { kind: Kind::If(Box::new([condition, yes, no])), ..checked }
        } else {
            condition
        };
        self.nested -= 1;
        Ok(expr)
    }

    fn or(&mut self) -> Result<Expr> {
        self.chain("||", Self::and, Kind::Or)
    }

    fn and(&mut self) -> Result<Expr> {
        self.chain("&&", Self::relation, Kind::And)
    }

    /// Operands of one logical operator, side by side, so that long chains are not deep.
    fn chain(
        &mut self,
        mark: &str,
        operand: fn(&mut Self) -> Result<Expr>,
        kind: fn(Box<[Expr]>) -> Kind,
    ) -> Result<Expr> {
        let first = operand(self)?;
        if !self.is(mark) {
            return Ok(first);
        }
        let at = self.at();
        let mut all = vec![first];
        while self.accept(mark) {
            all.push(operand(self)?);
        }
        let checked = self.node(Kind::Null, at, &all.iter().collect::<Vec<_>>())?;
        Ok(Expr { kind: kind(all.into()), ..checked })
    }

    fn relation(&mut self) -> Result<Expr> {
        const OPS: [(&str, Op); 6] = [
            ("==", Op::Equal),
            ("!=", Op::NotEqual),
            ("<=", Op::LessEqual),
            (">=", Op::GreaterEqual),
            ("<", Op::Less),
            (">", Op::Greater),
        ];
        let mut left = self.sum()?;
        loop {
            let at = self.at();
            let op = match self.peek() {
                Word::Name(name) if name == "in" => Some(Op::In),
                Word::Mark(mark) => OPS.iter().find(|(m, _)| m == mark).map(|(_, op)| *op),
                _ => None,
            };
            let Some(op) = op else { return Ok(left) };
            self.take();
            let right = self.sum()?;
            left = self.binary(op, left, right, at)?;
        }
    }

    fn binary(&self, op: Op, left: Expr, right: Expr, at: u32) -> Result<Expr> {
        let checked = self.node(Kind::Null, at, &[&left, &right])?;
        Ok(Expr { kind: Kind::Binary { op, sides: Box::new([left, right]) }, ..checked })
    }

    fn sum(&mut self) -> Result<Expr> {
        self.left(&[("+", Op::Add), ("-", Op::Subtract)], Self::product)
    }

    fn product(&mut self) -> Result<Expr> {
        self.left(&[("*", Op::Multiply), ("/", Op::Divide), ("%", Op::Modulo)], Self::unary)
    }

    fn left(&mut self, ops: &[(&str, Op)], operand: fn(&mut Self) -> Result<Expr>) -> Result<Expr> {
        let mut left = operand(self)?;
        while let Some((_, op)) = ops.iter().find(|(mark, _)| self.is(mark)) {
            let at = self.at();
            self.take();
            let right = operand(self)?;
            left = self.binary(*op, left, right, at)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr> {
        let at = self.at();
        let mut signs = 0;
        let mark = if self.is("!") { "!" } else { "-" };
        while self.accept(mark) {
            signs += 1;
        }
        if signs == 0 {
            return self.member();
        }
        if mark == "-" && signs == 1 {
            // The lowest integer has no positive counterpart.
            match self.peek() {
                Word::Lowest => {
                    self.take();
                    let literal = self.node(Kind::Int(i64::MIN), at, &[])?;
                    return self.tail(literal);
                }
                Word::Int(n) => {
                    let n = -*n;
                    self.take();
                    let literal = self.node(Kind::Int(n), at, &[])?;
                    return self.tail(literal);
                }
                Word::Double(n) => {
                    let n = -*n;
                    self.take();
                    let literal = self.node(Kind::Double(n), at, &[])?;
                    return self.tail(literal);
                }
                _ => {}
            }
        }
        let operand = self.member()?;
        if signs % 2 == 0 {
            // Two signs cancel each other, but what they stand before still has to be of the right type.
            let once = self.signed(mark, operand, at)?;
            return self.signed(mark, once, at);
        }
        self.signed(mark, operand, at)
    }

    fn signed(&self, mark: &str, operand: Expr, at: u32) -> Result<Expr> {
        let checked = self.node(Kind::Null, at, &[&operand])?;
        let operand = Box::new(operand);
        Ok(Expr { kind: if mark == "!" { Kind::Not(operand) } else { Kind::Negate(operand) }, ..checked })
    }

    fn member(&mut self) -> Result<Expr> {
        let primary = self.primary()?;
        self.tail(primary)
    }

    /// The variable `root.name`, if there is one of that name.
    fn known(&self, root: &str, name: &str) -> Option<Box<str>> {
        let is = |known: &&&str| {
            known.strip_prefix(root).and_then(|rest| rest.strip_prefix('.')).is_some_and(|rest| rest == name)
        };
        self.known.iter().find(is).map(|known| (**known).into())
    }

    /// Fields, indexes and calls behind a value.
    fn tail(&mut self, mut of: Expr) -> Result<Expr> {
        loop {
            let at = self.at();
            if self.is(".") || self.is(".?") {
                let optional = self.is(".?");
                self.take();
                let Word::Name(name) = self.peek().clone() else { return Err(self.unexpected()) };
                self.take();
                if !optional && self.is("(") {
                    let at = self.at();
                    let args = self.arguments()?;
                    of = self.call(name, Some(of), args, at)?;
                    continue;
                }
                if let Kind::Name(root) = &of.kind
                    && self.is("{")
                    && !optional
                {
                    of = self.structure(&format!("{root}.{name}"))?;
                    continue;
                }
                if let Kind::Name(root) = &of.kind
                    && !optional
                    && let Some(whole) = self.known(root, &name)
                {
                    of = Expr { kind: Kind::Name(whole), ..of };
                    continue;
                }
                let how = if optional { Access::Optional } else { Access::Plain };
                let checked = self.node(Kind::Null, at, &[&of])?;
                of = Expr { kind: Kind::Select { of: Box::new(of), field: name.into(), how }, ..checked };
                if self.is("{")
                    && let Some(name) = dotted(&of)
                {
                    of = self.structure(&name)?;
                }
            } else if self.is("[") || self.is("[?") {
                let optional = self.is("[?");
                self.take();
                let index = self.expr()?;
                self.expect("]")?;
                let checked = self.node(Kind::Null, at, &[&of, &index])?;
                of = Expr {
                    kind: Kind::Index { of: Box::new(of), index: Box::new(index), optional },
                    ..checked
                };
            } else {
                return Ok(of);
            }
        }
    }
}
