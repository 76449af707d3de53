//! Expressions, what they come to, and what is said of wrong ones.

use std::sync::Arc;

use serde_json::{Value, json};

use super::types::{Field, Items, Object};
use super::*;

fn object(fields: Vec<(&str, Type)>) -> Type {
    let fields =
        fields.into_iter().map(|(name, ty)| (name.into(), Field { json: name.into(), ty })).collect();
    Type::Object(Arc::new(Object { name: "object".into(), fields, open: false }))
}

fn self_type() -> Type {
    let port = object(vec![("name", Type::String(Some(10))), ("port", Type::Int)]);
    object(vec![
        ("n", Type::Int),
        ("d", Type::Double),
        ("s", Type::String(Some(20))),
        ("list", Type::List(Arc::new(Type::String(Some(5))), Some(4), Items::Atomic)),
        ("set", Type::List(Arc::new(Type::String(Some(5))), Some(4), Items::Set)),
        ("ports", Type::List(Arc::new(port), Some(4), Items::Map(["name".into()].into()))),
        ("map", Type::Map(Arc::new(Type::String(None)), Arc::new(Type::Int), Some(3))),
        ("any", Type::Dyn),
        ("time", Type::Timestamp),
        ("long", Type::Duration),
        ("raw", Type::Bytes(None)),
    ])
}

fn value() -> Value {
    json!({"n": 3, "d": 2, "s": "hello", "list": ["a", "b"], "set": ["x", "y"], "map": {"k": 7},
        "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}], "any": {"x": [1, "two"]},
        "time": "2026-01-02T03:04:05Z", "long": "1h30m", "raw": "aGk="})
}

fn run(expression: &str) -> std::result::Result<Value, String> {
    let env = Environment::default().with("self", self_type());
    let program = compile(expression, &env).map_err(|issue| issue.message)?;
    let (value, ty) = (value(), self_type());
    let root = Val::json(&value, &ty).expect("an object");
    let bindings = Bindings::default().with("self", root);
    let mut budget = Budget::new(Budget::CALL);
    let result = program.eval(&bindings, &mut budget).map_err(|e| e.to_string())?;
    assert!(
        budget.spent() <= program.cost(),
        "{expression} cost {} and {} was estimated",
        budget.spent(),
        program.cost()
    );
    Ok(result.to_json().unwrap_or_else(|| json!(result.type_name())))
}

#[test]
fn expressions_come_to_their_values() {
    for (expression, want) in [
        ("1 + 2 * 3 - 4 / 2", json!(5)),
        ("-7 % 3", json!(-1)),
        ("7u + 1u == 8u", json!(true)),
        ("1.5 * 2.0", json!(3.0)),
        ("0x1F", json!(31)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("'a' + \"b\" + r'\\n'", json!("ab\\n")),
        ("'\\u00e9\\x41\\101'", json!("éAA")),
        ("'''it's'''", json!("it's")),
        ("b'abc' == bytes('abc')", json!(true)),
        ("true ? 1 : 2", json!(1)),
        ("false || true && !false", json!(true)),
        ("1 / 0 == 1 || true", json!(true)),
        ("false && 1 / 0 == 1", json!(false)),
        ("[1, 2] + [3] == [1, 2, 3]", json!(true)),
        ("{'a': 1}.a + {'a': 1}['a']", json!(2)),
        ("'a' in {'a': 1} && 2 in [1, 2]", json!(true)),
        ("self.n == 3 && self.d == 2.0", json!(true)),
        ("self.n > 2 && self.s < 'i'", json!(true)),
        ("has(self.n) && !has(self.raw) || has(self.list)", json!(true)),
        ("self.any.x[1]", json!("two")),
        ("self.any.x[0] == 1", json!(true)),
        ("self.map.k + self.map['k']", json!(14)),
        ("self.list.all(x, size(x) == 1)", json!(true)),
        ("self.list.exists(x, x == 'b')", json!(true)),
        ("self.list.exists_one(x, x == 'b')", json!(true)),
        ("self.list.map(x, x + '!')", json!(["a!", "b!"])),
        ("self.list.map(x, x != 'a', x + '!')", json!(["b!"])),
        ("self.list.filter(x, x != 'a')", json!(["b"])),
        ("self.list.all(i, x, i < 2 && x != '')", json!(true)),
        ("self.list.transformList(i, x, i > 0, x)", json!(["b"])),
        ("self.map.transformMap(k, v, v + 1)", json!({"k": 8})),
        ("self.map.all(k, k.startsWith('k'))", json!(true)),
        ("[3, 1, 2].sortBy(x, -x)", json!([3, 2, 1])),
        ("cel.bind(x, self.n + 1, x * x)", json!(16)),
        ("[dyn(1), dyn([dyn(2), dyn([3])])].flatten(2)", json!([1, 2, 3])),
        ("self.set == ['y', 'x']", json!(true)),
        ("self.list == ['b', 'a']", json!(false)),
        ("self.set + ['x', 'z']", json!(["x", "y", "z"])),
        ("(self.ports + self.ports.filter(p, p.port > 1)).map(p, p.port)", json!([1, 2])),
        ("self.time.getFullYear() + self.time.getMonth()", json!(2026)),
        ("self.time + duration('1h') > self.time", json!(true)),
        ("self.time.getHours('+02:00')", json!(5)),
        ("self.long.getMinutes()", json!(90)),
        ("self.long == duration('90m')", json!(true)),
        ("string(self.raw)", json!("hi")),
        ("timestamp('2026-01-02T03:04:06Z') - self.time == duration('1s')", json!(true)),
        ("'abc'.substring(1) + 'abc'.charAt(0) + 'ABC'.lowerAscii()", json!("bcaabc")),
        ("'a-b-c'.split('-').join('+')", json!("a+b+c")),
        ("'aXbX'.replace('X', '.').indexOf('.')", json!(1)),
        ("' x '.trim().matches('^x$')", json!(true)),
        ("'a1b22'.findAll('[0-9]+')", json!(["1", "22"])),
        ("'%s has %d of %.1f in %x'.format([dyn('a'), 3, 1.25, 255])", json!("a has 3 of 1.2 in ff")),
        ("[1, 2, 3].sum() + [1, 5].max() + [2, 1].min()", json!(12)),
        ("[1, 2].isSorted() && [1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2", json!(true)),
        ("quantity('1.5Gi').isGreaterThan(quantity('1G'))", json!(true)),
        ("quantity('500m').add(quantity('1500m')).asInteger()", json!(2)),
        ("isQuantity('1x')", json!(false)),
        ("url('https://a.b:80/p?q=1&q=2').getHost()", json!("a.b:80")),
        ("url('https://a.b:80/p?q=1&q=2').getQuery()", json!({"q": ["1", "2"]})),
        ("isURL('not a url')", json!(false)),
        ("ip('192.168.0.1').family()", json!(4)),
        (
            "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP('11.0.0.1')",
            json!(true),
        ),
        ("isIP('::1') && !isIP('1.2.3')", json!(true)),
        ("semver('1.2.3-rc.1').isLessThan(semver('1.2.3'))", json!(true)),
        (
            "sets.contains([1, 2], [2]) && sets.equivalent([1, 1, 2], [2, 1]) && !sets.intersects([1], [2])",
            json!(true),
        ),
        ("math.greatest(1, 3, 2) + math.least([4, 2])", json!(5)),
        ("optional.of(1).orValue(2) + optional.none().orValue(3)", json!(4)),
        ("self.?any.hasValue() && self.?raw.hasValue()", json!(true)),
        ("self.list[?5].orValue('none')", json!("none")),
        ("self.?map.optMap(m, size(m)).orValue(0)", json!(1)),
        ("[?optional.none(), 1]", json!([1])),
        ("format.dns1123Label().validate('ok').hasValue()", json!(false)),
        ("format.named('uuid').value().validate('x').value()", json!(["invalid uuid"])),
        ("type(1) == int && type('') != int", json!(true)),
        ("dyn(1) == dyn(1.0)", json!(true)),
        ("base64.encode(b'hi')", json!("aGk=")),
        ("self.list.reverse()[0] // the last", json!("b")),
    ] {
        assert_eq!(run(expression), Ok(want), "{expression}");
    }
}

#[test]
fn what_has_no_value_says_why() {
    for (expression, want) in [
        ("1 / 0", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("[1][3]", "index out of bounds: 3"),
        ("{'a': 1}['b']", "no such key: b"),
        ("self.any.y", "no such key: y"),
        ("dyn('a') + dyn(1)", "no such overload"),
        ("int('x')", "int conversion error for \"x\""),
        ("optional.none().value()", "optional.none() dereference"),
        ("self.list.all(x, 1 / 0 == 1)", "division by zero"),
    ] {
        assert_eq!(run(expression), Err(want.to_owned()), "{expression}");
    }
}

#[test]
fn wrong_expressions_are_refused_before_they_run() {
    for (expression, want) in [
        ("self.nope", "undefined field 'nope'"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        ("{'a': 1, 'b': self.any}", "expected type 'int' but found 'dyn'"),
        ("other", "undeclared reference to 'other' (in container '')"),
        ("self.n + 'x'", "found no matching overload for '_+_' applied to '(int, string)'"),
        ("self.n == 'x'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.s.size(1)", "found no matching overload for 'size' applied to 'string.(int)'"),
        ("nope(1)", "undeclared reference to 'nope' (in container '')"),
        (
            "self.n.all(x, true)",
            "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("self.list.all(x, x)", "expected type 'bool' but found 'string'"),
        ("self.n ? 1 : 2", "found no matching overload for '_?_:_' applied to '(int, int, int)'"),
        ("!self.n", "found no matching overload for '!_' applied to '(int)'"),
        ("self.n.x", "type 'int' does not support field selection"),
        ("has(self)", "invalid argument to has() macro"),
        ("self.list.map(x.y, x)", "argument must be a simple name"),
        ("1 +", "Syntax error: unexpected '<EOF>'"),
        ("'abc", "Syntax error: unterminated string"),
        ("a ~ b", "Syntax error: token recognition error at: '~'"),
        ("package", "reserved identifier: package"),
        ("Object{a: 1}", "undeclared reference to 'Object' (in container '')"),
    ] {
        assert_eq!(run(expression), Err(want.to_owned()), "{expression}");
    }
    let deep = format!("{}1{}", "(".repeat(500), ")".repeat(500));
    assert!(run(&deep).unwrap_err().contains("nested"), "parentheses");
    assert!(run(&format!("1{}", " + 1".repeat(500))).unwrap_err().contains("nested"), "sums");
    assert!(run(&format!("true{}", " && true".repeat(500))).is_ok(), "logical chains are flat");
}

#[test]
fn issues_point_to_their_place() {
    let env = Environment::default().with("self", self_type());
    let text = "self.n > 1 &&\n  self.nope";
    let issue = compile(text, &env).unwrap_err();
    assert_eq!(issue.print(text), "ERROR: <input>:2:7: undefined field 'nope'\n |   self.nope\n | ......^");
}

#[test]
fn costs_are_bounded_before_and_during() {
    let wide = Type::List(Arc::new(Type::String(None)), None, Items::Atomic);
    let env = Environment::default().with("self", wide.clone());
    let program = compile("self.all(x, self.all(y, x == y))", &env).unwrap();
    assert!(program.cost() > 1_000_000_000, "{}", program.cost());
    let value = json!((0..2000).map(|n| n.to_string()).collect::<Vec<_>>());
    let bindings = Bindings::default().with("self", Val::json(&value, &wide).unwrap());
    let slow = compile("self.all(x, self.exists(y, x == y))", &env).unwrap();
    let mut budget = Budget::new(Budget::CALL);
    assert_eq!(slow.eval(&bindings, &mut budget).unwrap_err(), Failed::Exhausted);
    let cheap = compile("self.size() < 5000", &env).unwrap();
    assert!(cheap.cost() < 10, "{}", cheap.cost());
}

#[test]
fn variables_are_found_and_made_when_asked_for() {
    let env = Environment::default().with("a", Type::Int).with("b", Type::Int);
    let program = compile("a > 1 || b > 1", &env).unwrap();
    assert!(program.uses("b") && !compile("[1].all(b, b > 0)", &env).unwrap().uses("b"));
    let bindings = Bindings::default().with("a", Val::Int(2)).with_lazy("b", || panic!("b is not needed"));
    assert!(matches!(program.eval(&bindings, &mut Budget::new(100)), Ok(Val::Bool(true))));
}
