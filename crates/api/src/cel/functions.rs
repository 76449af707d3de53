//! The functions that expressions can call: their types and what they cost, as a table.
//!
//! A line is `name receiver(arguments) result cost`; a receiver of `-` means that there is none. Types are letters:
//! `b`ool, `i`nt, `u`int, `d`ouble, `s`tring, b`y`tes, `D`uration, `T`imestamp, `*` anything, `A` and `B` whatever the
//! other places make of them, `[x]` a list, `{xy}` a map, `?x` an optional, `t`ype, and `q`uantity, `U`RL, `I`P, `C`IDR,
//! `V`ersion, `F`ormat; of rights `a`uthorizer, `p`ath, `g`roup and `r`esource check, `v`erdict. Costs are those of Kubernetes (apiserver/pkg/cel/library/cost.go): `1`, or by size: `s` the
//! receiver is read once, `a` the first argument is, `x` a regular expression, `c` text is looked for in text, `p` each
//! item of one list against each of another, `n` each item once, `l` the only argument of a method is read once, `R` somebody's
//! rights are looked up, of which an expression can pay two.

use std::sync::{Arc, OnceLock};

use super::types::{Items, Opaque, Type};
use super::value::Val;

const TABLE: &str = "
size -(s) i 1
size s() i 1
size -(y) i 1
size y() i 1
size -([A]) i 1
size [A]() i 1
size -({AB}) i 1
size {AB}() i 1
contains s(s) b c
startsWith s(s) b a
endsWith s(s) b a
matches s(s) b x
matches -(ss) b x
int -(i) i 1
int -(u) i 1
int -(d) i 1
int -(s) i a
int -(T) i 1
int -(D) i 1
uint -(i) u 1
uint -(u) u 1
uint -(d) u 1
uint -(s) u a
double -(i) d 1
double -(u) d 1
double -(d) d 1
double -(s) d a
string -(b) s 1
string -(i) s 1
string -(u) s 1
string -(d) s 1
string -(s) s 1
string -(y) s a
string -(T) s 1
string -(D) s 1
string -(I) s 1
string -(C) s 1
bytes -(s) y a
bytes -(y) y 1
bool -(b) b 1
bool -(s) b 1
duration -(s) D 1
duration -(D) D 1
timestamp -(s) T 1
timestamp -(T) T 1
timestamp -(i) T 1
type -(*) t 1
dyn -(*) * 1
getFullYear T() i 1
getFullYear T(s) i 1
getMonth T() i 1
getMonth T(s) i 1
getDayOfYear T() i 1
getDayOfYear T(s) i 1
getDayOfMonth T() i 1
getDayOfMonth T(s) i 1
getDate T() i 1
getDate T(s) i 1
getDayOfWeek T() i 1
getDayOfWeek T(s) i 1
getHours T() i 1
getHours T(s) i 1
getHours D() i 1
getMinutes T() i 1
getMinutes T(s) i 1
getMinutes D() i 1
getSeconds T() i 1
getSeconds T(s) i 1
getSeconds D() i 1
getMilliseconds T() i 1
getMilliseconds T(s) i 1
getMilliseconds D() i 1
charAt s(i) s s
indexOf s(s) i c
indexOf s(si) i c
lastIndexOf s(s) i c
lastIndexOf s(si) i c
lowerAscii s() s s
upperAscii s() s s
replace s(ss) s s
replace s(ssi) s s
split s(s) [s] s
split s(si) [s] s
substring s(i) s s
substring s(ii) s s
trim s() s s
reverse s() s s
join [s]() s n
join [s](s) s n
format s([*]) s s
quote -(s) s a
isSorted [A]() b n
sum [i]() i n
sum [u]() u n
sum [d]() d n
sum [D]() D n
min [A]() A n
max [A]() A n
indexOf [A](A) i n
lastIndexOf [A](A) i n
slice [A](ii) [A] n
flatten [[A]]() [A] n
flatten [A](i) [*] n
distinct [A]() [A] p
reverse [A]() [A] n
sort [A]() [A] n
first [A]() ?A 1
last [A]() ?A 1
range -(i) [i] 1
find s(s) s x
findAll s(s) [s] x
findAll s(si) [s] x
isURL -(s) b a
url -(s) U a
getScheme U() s 1
getHost U() s 1
getHostname U() s 1
getPort U() s 1
getEscapedPath U() s 1
getQuery U() {s[s]} 1
isIP -(s) b a
isIP -(si) b a
ip -(s) I a
ip.isCanonical -(s) b a
family I() i 1
isUnspecified I() b 1
isLoopback I() b 1
isLinkLocalMulticast I() b 1
isLinkLocalUnicast I() b 1
isGlobalUnicast I() b 1
isCIDR -(s) b a
cidr -(s) C a
containsIP C(s) b 1
containsIP C(I) b 1
containsCIDR C(s) b 1
containsCIDR C(C) b 1
ip C() I 1
masked C() C 1
prefixLength C() i 1
isQuantity -(s) b a
quantity -(s) q a
sign q() i 1
isInteger q() b 1
asInteger q() i 1
asApproximateFloat q() d 1
add q(q) q 1
add q(i) q 1
sub q(q) q 1
sub q(i) q 1
isLessThan q(q) b 1
isGreaterThan q(q) b 1
compareTo q(q) i 1
isSemver -(s) b a
isSemver -(sb) b a
semver -(s) V a
semver -(sb) V a
major V() i 1
minor V() i 1
patch V() i 1
isLessThan V(V) b 1
isGreaterThan V(V) b 1
compareTo V(V) i 1
validate F(s) ?[s] a
format.named -(s) ?F 1
format.dns1123Label -() F 1
format.dns1123Subdomain -() F 1
format.dns1035Label -() F 1
format.qualifiedName -() F 1
format.dns1123LabelPrefix -() F 1
format.dns1123SubdomainPrefix -() F 1
format.dns1035LabelPrefix -() F 1
format.labelValue -() F 1
format.uri -() F 1
format.uuid -() F 1
format.byte -() F 1
format.date -() F 1
format.datetime -() F 1
sets.contains -([A][A]) b p
sets.equivalent -([A][A]) b p
sets.intersects -([A][A]) b p
optional.of -(A) ?A 1
optional.none -() ?A 1
optional.ofNonZeroValue -(A) ?A 1
hasValue ?A() b 1
value ?A() A 1
orValue ?A(A) A 1
or ?A(?A) ?A 1
math.greatest -([A]) A n
math.greatest -(A) A 1
math.greatest -(AA) A 1
math.greatest -(AAA) A 1
math.least -([A]) A n
math.least -(A) A 1
math.least -(AA) A 1
math.least -(AAA) A 1
math.abs -(A) A 1
math.ceil -(d) d 1
math.floor -(d) d 1
math.round -(d) d 1
math.trunc -(d) d 1
math.sign -(A) A 1
math.isNaN -(d) b 1
math.isInf -(d) b 1
math.isFinite -(d) b 1
base64.encode -(y) s a
base64.decode -(s) y a
path a(s) p 1
group a(s) g 1
serviceAccount a(ss) a 1
resource g(s) r 1
subresource r(s) r 1
namespace r(s) r 1
name r(s) r 1
fieldSelector r(s) r l
labelSelector r(s) r l
check p(s) v R
check r(s) v R
allowed v() b 1
reason v() s 1
error v() s 1
errored v() b 1
jsonpatch.escapeKey -(s) s a
";

/// A type with places that the other places of a signature fill.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Of(Type),
    /// `A` or `B`.
    Any(u8),
    List(Box<Shape>),
    Map(Box<Shape>, Box<Shape>),
    Optional(Box<Shape>),
}

/// One way to call a function.
#[derive(Debug)]
pub(super) struct Signature {
    pub name: &'static str,
    pub receiver: Option<Shape>,
    pub args: Vec<Shape>,
    pub result: Shape,
    pub cost: u8,
}

/// All functions.
pub(super) fn all() -> &'static [Signature] {
    static ALL: OnceLock<Vec<Signature>> = OnceLock::new();
    ALL.get_or_init(|| {
        TABLE
            .lines()
            .filter(|l| !l.is_empty())
            .map(|l| signature(l).expect("the table is read by its test"))
            .collect()
    })
}

/// What a call costs, from the sizes of what it is called on and with.
pub(super) fn cost(class: u8, first: u64, second: u64) -> u64 {
    let tenth = |n: u64| n.div_ceil(10).max(1);
    match class {
        b's' | b'a' => tenth(first),
        b'x' => tenth(first.saturating_add(1)).saturating_mul(second.div_ceil(4).max(1)),
        b'c' => tenth(first).saturating_mul(tenth(second)),
        b'p' => first.saturating_mul(second).max(1),
        b'n' => first.max(1),
        b'l' => tenth(second),
        b'R' => 350_000,
        _ => 1,
    }
}

fn signature(line: &'static str) -> Option<Signature> {
    let mut parts = line.split(' ');
    let (name, call) = (parts.next()?, parts.next()?);
    let (receiver, args) = call.strip_suffix(')')?.split_once('(')?;
    let mut rest = args.as_bytes();
    let mut found = Vec::new();
    while !rest.is_empty() {
        found.push(shape(&mut rest)?);
    }
    let receiver = if receiver == "-" { None } else { Some(shape(&mut receiver.as_bytes())?) };
    let result = shape(&mut parts.next()?.as_bytes())?;
    Some(Signature { name, receiver, args: found, result, cost: *parts.next()?.as_bytes().first()? })
}

fn shape(rest: &mut &[u8]) -> Option<Shape> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    let of = |opaque| Some(Shape::Of(Type::Opaque(opaque)));
    match first {
        b'b' => Some(Shape::Of(Type::Bool)),
        b'i' => Some(Shape::Of(Type::Int)),
        b'u' => Some(Shape::Of(Type::Uint)),
        b'd' => Some(Shape::Of(Type::Double)),
        b's' => Some(Shape::Of(Type::String(None))),
        b'y' => Some(Shape::Of(Type::Bytes(None))),
        b'D' => Some(Shape::Of(Type::Duration)),
        b'T' => Some(Shape::Of(Type::Timestamp)),
        b't' => Some(Shape::Of(Type::Type)),
        b'*' => Some(Shape::Of(Type::Dyn)),
        b'q' => of(Opaque::Quantity),
        b'U' => of(Opaque::Url),
        b'I' => of(Opaque::Ip),
        b'C' => of(Opaque::Cidr),
        b'V' => of(Opaque::Semver),
        b'F' => of(Opaque::Format),
        b'a' => of(Opaque::Authorizer),
        b'p' => of(Opaque::PathCheck),
        b'g' => of(Opaque::GroupCheck),
        b'r' => of(Opaque::ResourceCheck),
        b'v' => of(Opaque::Decision),
        b'A' => Some(Shape::Any(0)),
        b'B' => Some(Shape::Any(1)),
        b'?' => Some(Shape::Optional(Box::new(shape(rest)?))),
        b'[' => {
            let inside = shape(rest)?;
            *rest = rest.strip_prefix(b"]")?;
            Some(Shape::List(Box::new(inside)))
        }
        b'{' => {
            let (key, value) = (shape(rest)?, shape(rest)?);
            *rest = rest.strip_prefix(b"}")?;
            Some(Shape::Map(Box::new(key), Box::new(value)))
        }
        _ => None,
    }
}

/// What the places `A` and `B` stand for.
pub(super) type Bound = [Option<Type>; 2];

impl Shape {
    /// Whether a value of this type may stand here; binds the open places.
    pub fn takes(&self, ty: &Type, bound: &mut Bound) -> bool {
        match (self, ty) {
            (_, Type::Dyn) => true,
            (Self::Of(want), ty) => want.fits(ty),
            (Self::Any(at), ty) => {
                let slot = &mut bound[usize::from(*at)];
                match slot {
                    Some(known) if !known.fits(ty) => false,
                    Some(known) => {
                        *known = known.either(ty);
                        true
                    }
                    None => {
                        *slot = Some(ty.clone());
                        true
                    }
                }
            }
            (Self::List(of), Type::List(item, ..)) => of.takes(item, bound),
            (Self::Map(key, value), Type::Map(k, v, _)) => key.takes(k, bound) && value.takes(v, bound),
            (Self::Map(..), Type::Object(_)) => true,
            (Self::Optional(of), Type::Optional(item)) => of.takes(item, bound),
            _ => false,
        }
    }

    /// Whether a value is of this kind, whatever is in it.
    pub fn is_of(&self, value: &Val<'_>) -> bool {
        match (self, value) {
            (Self::List(_), Val::List(_))
            | (Self::Map(..), Val::Map(_))
            | (Self::Optional(_), Val::Optional(_))
            | (Self::Any(_), _)
            | (Self::Of(Type::Dyn), _) => true,
            (Self::Of(ty), value) => match value {
                Val::Null | Val::List(_) | Val::Map(_) | Val::Optional(_) => false,
                // The names of simple types are their own.
                other => match ty {
                    Type::String(_) => matches!(other, Val::Text(_)),
                    ty => ty.to_string() == other.type_name(),
                },
            },
            _ => false,
        }
    }

    /// The type that comes out; `size` is that of what the function was called on.
    pub fn made(&self, bound: &Bound, size: u64) -> Type {
        let max = Some(size);
        match self {
            Self::Of(Type::String(_)) => Type::String(max),
            Self::Of(Type::Bytes(_)) => Type::Bytes(max),
            Self::Of(ty) => ty.clone(),
            Self::Any(at) => bound[usize::from(*at)].clone().unwrap_or(Type::Dyn),
            Self::List(of) => Type::List(Arc::new(of.made(bound, size)), max, Items::Atomic),
            Self::Map(key, value) => {
                Type::Map(Arc::new(key.made(bound, size)), Arc::new(value.made(bound, size)), max)
            }
            Self::Optional(of) => Type::Optional(Arc::new(of.made(bound, size))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_signature() {
        for line in TABLE.lines().filter(|l| !l.is_empty()) {
            assert!(signature(line).is_some(), "{line}");
        }
    }
}
