//! The types of expressions, with the sizes that costs are estimated from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The most bytes or items that a value can have; `None`: as much as a request can carry.
pub type Max = Option<u64>;

/// What a request can carry, in bytes.
pub(crate) const REQUEST: u64 = 3 << 20;

/// A type.
#[derive(Clone, Debug)]
pub enum Type {
    /// Not known before evaluation.
    Dyn,
    /// `null`.
    Null,
    /// A boolean.
    Bool,
    /// A signed integer of 64 bits.
    Int,
    /// An unsigned integer of 64 bits.
    Uint,
    /// A floating point number.
    Double,
    /// A text.
    String(Max),
    /// Bytes.
    Bytes(Max),
    /// `google.protobuf.Duration`.
    Duration,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// A list of one type.
    List(Arc<Type>, Max, Items),
    /// A map from one type to another.
    Map(Arc<Type>, Arc<Type>, Max),
    /// An object with known fields.
    Object(Arc<Object>),
    /// A value or none.
    Optional(Arc<Type>),
    /// A type of Kubernetes' libraries.
    Opaque(Opaque),
    /// The type of types.
    Type,
}

/// How items of a list are told apart, which decides what `==` and `+` mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Items {
    /// By their place.
    #[default]
    Atomic,
    /// By their value.
    Set,
    /// By these fields.
    Map(Arc<[Box<str>]>),
}

/// The types of Kubernetes' libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opaque {
    /// A resource quantity.
    Quantity,
    /// A URL.
    Url,
    /// An IP address.
    Ip,
    /// A network.
    Cidr,
    /// A semantic version.
    Semver,
    /// A named format of strings.
    Format,
    /// Somebody whose rights can be asked for.
    Authorizer,
    /// A path that somebody may want to use.
    PathCheck,
    /// An API group that somebody may want to use.
    GroupCheck,
    /// A resource that somebody may want to use.
    ResourceCheck,
    /// Whether somebody may do something.
    Decision,
}

/// An object with known fields.
#[derive(Debug, Default)]
pub struct Object {
    /// What messages call it.
    pub name: String,
    /// Fields by the name that expressions use.
    pub fields: BTreeMap<Box<str>, Field>,
    /// Whether there may be other fields, of any type.
    pub open: bool,
}

/// One field of an object.
#[derive(Debug)]
pub struct Field {
    /// The name in JSON, which differs where it is no identifier.
    pub json: Box<str>,
    /// Its type.
    pub ty: Type,
}

impl Type {
    /// A list without identities.
    pub fn list(of: Type) -> Self {
        Self::List(Arc::new(of), None, Items::Atomic)
    }

    /// A map from strings.
    pub fn map(to: Type) -> Self {
        Self::Map(Arc::new(Self::String(None)), Arc::new(to), None)
    }

    /// The most bytes or items of a value, as costs count them.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Dyn => REQUEST,
            Self::String(max) | Self::Bytes(max) | Self::List(_, max, _) | Self::Map(_, _, max) => {
                max.unwrap_or(REQUEST)
            }
            Self::Object(object) => object.fields.len() as u64,
            Self::Optional(of) => of.size(),
            _ => 1,
        }
    }

    pub(super) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }

    /// Whether two types are the same, whatever their sizes; `dyn` is the same as any.
    pub(super) fn fits(&self, other: &Type) -> bool {
        match (self, other) {
            (Self::Dyn, _) | (_, Self::Dyn) => true,
            (Self::List(a, ..), Self::List(b, ..)) | (Self::Optional(a), Self::Optional(b)) => a.fits(b),
            (Self::Map(a, b, _), Self::Map(c, d, _)) => a.fits(c) && b.fits(d),
            (Self::Object(a), Self::Object(b)) => Arc::ptr_eq(a, b) || a.name == b.name,
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// Whether two types are the same, whatever their sizes, and both known or both not.
    pub(super) fn same(&self, other: &Type) -> bool {
        match (self, other) {
            (Self::List(a, ..), Self::List(b, ..)) | (Self::Optional(a), Self::Optional(b)) => {
                // An empty list is one of anything.
                a.same(b)
                    || matches!(
                        (self, other),
                        (Self::List(_, Some(0), _), _) | (_, Self::List(_, Some(0), _))
                    )
            }
            (Self::Map(a, b, m), Self::Map(c, d, n)) => {
                (a.same(c) && b.same(d)) || *m == Some(0) || *n == Some(0)
            }
            _ => self.is_dyn() == other.is_dyn() && self.fits(other),
        }
    }

    /// The type of either of two values.
    pub(super) fn either(&self, other: &Type) -> Type {
        let larger = |a: &Max, b: &Max| a.zip(*b).map(|(a, b)| a.max(b));
        match (self, other) {
            (Self::String(a), Self::String(b)) => Self::String(larger(a, b)),
            (Self::Bytes(a), Self::Bytes(b)) => Self::Bytes(larger(a, b)),
            (Self::List(a, m, i), Self::List(b, n, _)) if a.fits(b) => {
                Self::List(Arc::new(a.either(b)), larger(m, n), i.clone())
            }
            (Self::Map(k, a, m), Self::Map(_, b, n)) if self.fits(other) => {
                Self::Map(k.clone(), Arc::new(a.either(b)), larger(m, n))
            }
            (a, b) if a.is_dyn() || b.is_dyn() || !a.fits(b) => Self::Dyn,
            (a, _) => a.clone(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String(_) => f.write_str("string"),
            Self::Bytes(_) => f.write_str("bytes"),
            Self::Duration => f.write_str("google.protobuf.Duration"),
            Self::Timestamp => f.write_str("google.protobuf.Timestamp"),
            Self::List(of, ..) => write!(f, "list({of})"),
            Self::Map(key, value, _) => write!(f, "map({key}, {value})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Opaque(opaque) => f.write_str(opaque.name()),
            Self::Type => f.write_str("type"),
        }
    }
}

impl Opaque {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quantity => "kubernetes.Quantity",
            Self::Url => "kubernetes.URL",
            Self::Ip => "net.IP",
            Self::Cidr => "net.CIDR",
            Self::Semver => "kubernetes.Semver",
            Self::Format => "kubernetes.NamedFormat",
            Self::Authorizer => "kubernetes.authorization.Authorizer",
            Self::PathCheck => "kubernetes.authorization.PathCheck",
            Self::GroupCheck => "kubernetes.authorization.GroupCheck",
            Self::ResourceCheck => "kubernetes.authorization.ResourceCheck",
            Self::Decision => "kubernetes.authorization.Decision",
        }
    }
}
