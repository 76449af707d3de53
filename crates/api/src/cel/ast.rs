//! An expression as it was written, macros included: they are evaluated as what they mean and never expanded.

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expr {
    pub kind: Kind,
    /// Where errors about it point to, in bytes.
    pub at: u32,
    /// How many nodes stand on each other here.
    pub depth: u16,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    Name(Box<str>),
    /// `of.field`, `of.?field`, and `has(of.field)`.
    Select {
        of: Box<Expr>,
        field: Box<str>,
        how: Access,
    },
    /// `of[index]`, `of[?index]`.
    Index {
        of: Box<Expr>,
        index: Box<Expr>,
        optional: bool,
    },
    /// Items with a `?` before them are left out when they are none.
    List(Box<[(Expr, bool)]>),
    Map(Box<[(Expr, Expr, bool)]>),
    /// `Name{field: value}`.
    Struct {
        name: Box<str>,
        fields: Box<[Named]>,
    },
    And(Box<[Expr]>),
    Or(Box<[Expr]>),
    If(Box<[Expr; 3]>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary {
        op: Op,
        sides: Box<[Expr; 2]>,
    },
    Call {
        name: Box<str>,
        target: Option<Box<Expr>>,
        args: Box<[Expr]>,
    },
    Macro(Box<Macro>),
}

/// A field of a structure: name, value, whether there is a `?` before it (left out when it is none), and where errors about
/// it point to.
pub(super) type Named = (Box<str>, Expr, bool, u32);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Access {
    Plain,
    Optional,
    Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

impl Op {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "_+_",
            Self::Subtract => "_-_",
            Self::Multiply => "_*_",
            Self::Divide => "_/_",
            Self::Modulo => "_%_",
            Self::Equal => "_==_",
            Self::NotEqual => "_!=_",
            Self::Less => "_<_",
            Self::LessEqual => "_<=_",
            Self::Greater => "_>_",
            Self::GreaterEqual => "_>=_",
            Self::In => "@in",
        }
    }
}

/// A macro that binds variables over the items of a range, or over one value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Macro {
    pub what: What,
    pub range: Expr,
    /// One or two names: the item, or key (index) and value.
    pub names: Box<[Box<str>]>,
    /// A condition on items, where the macro takes one beside its body.
    pub filter: Option<Expr>,
    pub body: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    All,
    Exists,
    ExistsOne,
    Filter,
    /// `map`, `transformList`.
    Map,
    TransformMap,
    TransformMapEntry,
    SortBy,
    /// `cel.bind(name, range, body)`.
    Bind,
    OptMap,
    OptFlatMap,
}

impl Expr {
    /// Whether a name that stands for a variable occurs in it.
    pub fn uses(&self, variable: &str) -> bool {
        let any = |all: &[&Expr]| all.iter().any(|e| e.uses(variable));
        match &self.kind {
            Kind::Name(name) => &**name == variable,
            Kind::Select { of, .. } | Kind::Not(of) | Kind::Negate(of) => of.uses(variable),
            Kind::Index { of, index, .. } => any(&[of, index]),
            Kind::List(items) => items.iter().any(|(e, _)| e.uses(variable)),
            Kind::Map(entries) => entries.iter().any(|(k, v, _)| any(&[k, v])),
            Kind::Struct { fields, .. } => fields.iter().any(|(_, e, ..)| e.uses(variable)),
            Kind::And(all) | Kind::Or(all) => all.iter().any(|e| e.uses(variable)),
            Kind::If(all) => all.iter().any(|e| e.uses(variable)),
            Kind::Binary { sides, .. } => sides.iter().any(|e| e.uses(variable)),
            Kind::Call { target, args, .. } => {
                target.as_ref().is_some_and(|t| t.uses(variable)) || args.iter().any(|e| e.uses(variable))
            }
            Kind::Macro(m) => {
                m.range.uses(variable)
                    || (!m.names.iter().any(|n| &**n == variable)
                        && (m.body.uses(variable) || m.filter.as_ref().is_some_and(|f| f.uses(variable))))
            }
            _ => false,
        }
    }
}
