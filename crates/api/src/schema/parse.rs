//! Reads the text of the table.
//!
//! The grammar, by lines; words are parted by one blank, and packages, types and fields are in byte order:
//!
//! ```text
//! # a comment
//! %core.v1 io.k8s.api.core.v1           a package, and how other packages refer to it
//! Pod kind=/v1/Pod                      a type: its form (none: a struct), kinds as group/version/kind, `atomic`
//!  spec PodSpec                         a field; `name!` is required; then its type and its rules
//!  containers! []Container map=name merge=name
//! ```
//!
//! Types: `s` string, `b` boolean, `i` int32, `l` int64, `d` double, `y` bytes, `[]T` list, `{}T` map, `Name` in the
//! same package, `alias.Name` in another. Rules: `atomic`, `granular`, `set`, `map=key,key`, `merge`, `merge=key`,
//! `retain`, `replace`, `default=text`. `kind=*/Name` is known in every group and version. At the end of a field's line
//! `always` and `ptr` say how Go writes it, see [`Field`].
//!
//! The text is part of the program, so a mistake in it is a mistake of ours: the parser panics, and a test parses.

use std::collections::HashMap;

use super::{Field, Form, Kind, Rules, Schema, Type, TypeDef, TypeId};

/// Reads the whole table. The text must follow the grammar above.
pub(super) fn parse(text: &'static str) -> Schema {
    let mut parser =
        Parser { ids: HashMap::new(), interned: HashMap::new(), rules: Vec::new(), elements: Vec::new() };
    parser.number(text);
    let mut types: Vec<TypeDef> = Vec::with_capacity(parser.ids.len());
    let mut fields: Vec<Field> = Vec::with_capacity(text.lines().filter(|l| l.starts_with(' ')).count());
    let mut kinds = Vec::new();
    let (mut alias, mut package) = ("", "");
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        if let Some(rest) = line.strip_prefix('%') {
            (alias, package) = rest.split_once(' ').expect("a package line has two words");
        } else if let Some(rest) = line.strip_prefix(' ') {
            fields.push(parser.field(alias, rest));
            types.last_mut().expect("a field follows its type").fields.end = fields.len() as u16;
        } else {
            let id = TypeId(types.len() as u16);
            let at = fields.len() as u16;
            types.push(type_line(line, package, at, id, &mut kinds));
        }
    }
    kinds.sort_by_key(|k: &Kind| (k.group, k.version, k.kind));
    parser.elements.shrink_to_fit();
    Schema { types, fields, elements: parser.elements, rules: parser.rules, kinds }
}

fn type_line(
    line: &'static str,
    package: &'static str,
    at: u16,
    id: TypeId,
    kinds: &mut Vec<Kind>,
) -> TypeDef {
    let mut words = line.split(' ');
    let name = words.next().expect("split yields at least one word");
    let mut def = TypeDef { package, name, form: Form::Struct, atomic: false, fields: at..at };
    for word in words {
        match word {
            "atomic" => def.atomic = true,
            "quantity" => def.form = Form::Quantity,
            "time" => def.form = Form::Time,
            "microtime" => def.form = Form::MicroTime,
            "intorstring" => def.form = Form::IntOrString,
            "free" => def.form = Form::Free,
            "any" => def.form = Form::Any,
            _ => {
                let kind = word.strip_prefix("kind=").expect("a type's word is a form, a kind or `atomic`");
                let (group, rest) = kind.split_once('/').expect("a kind has a group");
                let (version, kind) = rest.split_once('/').unwrap_or(("", rest));
                kinds.push(Kind { group, version, kind, ty: id });
            }
        }
    }
    def
}

struct Parser {
    ids: HashMap<(&'static str, &'static str), TypeId>,
    interned: HashMap<&'static str, u16>,
    rules: Vec<Rules>,
    elements: Vec<Type>,
}

impl Parser {
    fn number(&mut self, text: &'static str) {
        let mut alias = "";
        for line in text.lines() {
            let first = line.split(' ').next().unwrap_or_default();
            match line.as_bytes().first() {
                Some(b'%') => alias = &first[1..],
                Some(b' ' | b'#') | None => {}
                Some(_) => {
                    let id = TypeId(self.ids.len() as u16);
                    self.ids.insert((alias, first), id);
                }
            }
        }
    }

    fn field(&mut self, alias: &'static str, line: &'static str) -> Field {
        let (name, rest) = line.split_once(' ').expect("a field has a type");
        let (rest, pointer) = rest.strip_suffix(" ptr").map_or((rest, false), |rest| (rest, true));
        let (rest, always) = rest.strip_suffix(" always").map_or((rest, false), |rest| (rest, true));
        let (ty, rules) = rest.split_once(' ').unwrap_or((rest, ""));
        let required = name.ends_with('!');
        let name = name.trim_end_matches('!');
        Field { name, ty: self.ty(alias, ty), required, always, pointer, rules: self.rules(rules) }
    }

    fn ty(&mut self, alias: &'static str, word: &'static str) -> Type {
        if let Some(inner) = word.strip_prefix("[]") {
            let inner = self.ty(alias, inner);
            return Type::List(self.intern(inner));
        }
        if let Some(inner) = word.strip_prefix("{}") {
            let inner = self.ty(alias, inner);
            return Type::Map(self.intern(inner));
        }
        match word {
            "s" => Type::String,
            "b" => Type::Boolean,
            "i" => Type::Int32,
            "l" => Type::Int64,
            "d" => Type::Double,
            "y" => Type::Bytes,
            _ => Type::Ref(self.ids[&word.rsplit_once('.').unwrap_or((alias, word))]),
        }
    }

    fn intern(&mut self, inner: Type) -> u16 {
        let at = self.elements.iter().position(|e| *e == inner).unwrap_or_else(|| {
            self.elements.push(inner);
            self.elements.len() - 1
        });
        at as u16
    }

    fn rules(&mut self, text: &'static str) -> u16 {
        if let Some(at) = self.interned.get(text) {
            return *at;
        }
        let mut rules = Rules::default();
        for word in text.split(' ').filter(|w| !w.is_empty()) {
            match word.split_once('=').unwrap_or((word, "")) {
                ("atomic", _) => rules.atomic = true,
                ("granular", _) => rules.granular = true,
                ("set", _) => rules.set = true,
                ("map", keys) => rules.map_keys = keys.split(',').collect(),
                ("merge", key) => {
                    rules.merge = true;
                    rules.merge_key = (!key.is_empty()).then_some(key);
                }
                ("retain", _) => rules.retain_keys = true,
                ("replace", _) => rules.replace = true,
                ("default", value) => rules.default = Some(value),
                (other, _) => panic!("unknown rule {other} in the table of types"),
            }
        }
        let at = self.rules.len() as u16;
        self.rules.push(rules);
        self.interned.insert(text, at);
        at
    }
}
