//! Selectors against tables and against their own printing.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn parse_and_print() {
    for (input, want) in [
        ("", ""),
        ("  ", ""),
        ("a=b", "a=b"),
        ("a == b", "a==b"),
        ("a!=b", "a!=b"),
        ("a=", "a="),
        ("a=,b", "a=,b"),
        ("a", "a"),
        ("!a", "!a"),
        ("! a , b", "!a,b"),
        ("x in (b,a)", "x in (a,b)"),
        ("x notin ( a )", "x notin (a)"),
        ("x in ()", "x in ()"),
        ("x in (a,)", "x in (,a)"),
        ("x in (,a)", "x in (,a)"),
        ("x in (a,,b)", "x in (,a,b)"),
        ("x>1", "x>1"),
        ("x < 3", "x<3"),
        ("b=1,a=2", "a=2,b=1"),
        ("in=in", "in=in"),
        ("notin in (in,notin)", "notin in (in,notin)"),
        ("example.com/name=x", "example.com/name=x"),
    ] {
        let selector = LabelSelector::parse(input).unwrap_or_else(|e| panic!("{input}: {e}"));
        assert_eq!(selector.to_string(), want, "{input}");
    }
}

#[test]
fn errors_are_worded_as_kubernetes() {
    for (input, want) in [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a=(", "unable to parse requirement: found '(', expected: identifier"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ] {
        assert_eq!(LabelSelector::parse(input).unwrap_err().to_string(), want, "{input}");
    }
    let key = LabelSelector::parse("-a=b").unwrap_err().to_string();
    assert!(
        key.starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must"),
        "{key}"
    );
    let value = LabelSelector::parse("a=b_").unwrap_err().to_string();
    assert!(
        value.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"b_\": a valid label"),
        "{value}"
    );
}

#[test]
fn matching() {
    let labels = json!({"app": "web", "n": "5"});
    for (selector, want) in [
        ("", true),
        ("app", true),
        ("!app", false),
        ("!other", true),
        ("app=web", true),
        ("app=db", false),
        ("app!=db", true),
        ("other!=x", true),
        ("app in (db,web)", true),
        ("app notin (web)", false),
        ("other notin (web)", true),
        ("other in (web)", false),
        ("n>4", true),
        ("n>5", false),
        ("n<6", true),
        ("app>1", false),
        ("app=web,n=6", false),
    ] {
        assert_eq!(LabelSelector::parse(selector).unwrap().matches(&labels), want, "{selector}");
    }
    assert!(!LabelSelector::parse("a").unwrap().matches(&json!(null)));
    assert!(LabelSelector::everything().matches(&json!(null)));
}

#[test]
fn out_of_objects() {
    let select = |v: serde_json::Value| LabelSelector::from_value(&v);
    assert!(select(json!(null)).unwrap().is_nothing());
    assert!(select(json!({})).unwrap().is_everything());
    let both = json!({"matchLabels": {"a": "1"}, "matchExpressions": [
        {"key": "b", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "DoesNotExist"}]});
    let both = select(both).unwrap();
    assert_eq!(both.to_string(), "a=1,b in (x,y),!c");
    assert!(both.matches(&json!({"a": "1", "b": "x"})));
    assert!(!both.matches(&json!({"a": "1", "b": "x", "c": ""})));
    let wrong = select(json!({"matchExpressions": [{"key": "b", "operator": "Is"}]})).unwrap_err();
    assert_eq!(wrong.to_string(), "\"Is\" is not a valid label selector operator");
    assert!(select(json!({"matchExpressions": [{"key": "b", "operator": "In"}]})).is_err());
    assert!(LabelSelector::from_map(&json!({})).unwrap().is_nothing());
    assert!(LabelSelector::from_map(&json!({"a": "b"})).unwrap().matches(&json!({"a": "b"})));
}

#[test]
fn field_selectors() {
    let fields = |name: &str| match name {
        "metadata.name" => Some("x"),
        "status.phase" => Some("Running"),
        _ => None,
    };
    for (input, print, want) in [
        ("", "", true),
        ("metadata.name=x", "metadata.name=x", true),
        ("metadata.name==x", "metadata.name=x", true),
        ("metadata.name!=x", "metadata.name!=x", false),
        ("metadata.name=x,status.phase!=Pending", "metadata.name=x,status.phase!=Pending", true),
        ("spec.nodeName=", "spec.nodeName=", true),
        ("a=b\\,c\\=d\\\\", "a=b\\,c\\=d\\\\", false),
        (",", "", true),
    ] {
        let selector = FieldSelector::parse(input).unwrap();
        assert_eq!(selector.to_string(), print, "{input}");
        assert_eq!(selector.matches(fields), want, "{input}");
    }
    let wrong = FieldSelector::parse("a=b,c").unwrap_err();
    assert_eq!(wrong.to_string(), "invalid selector: 'a=b,c'; can't understand 'c'");
    assert!(FieldSelector::parse("a=b\\x").is_err());
    assert!(FieldSelector::parse("a=b=c").is_err());
    assert_eq!(FieldSelector::parse("spec.nodeName=n1").unwrap().exact("spec.nodeName"), Some("n1"));
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let operator = prop_oneof![
        Just(Operator::In),
        Just(Operator::NotIn),
        Just(Operator::Equals),
        Just(Operator::DoubleEquals),
        Just(Operator::NotEquals),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist),
        Just(Operator::GreaterThan),
    ];
    let values = prop::collection::vec("([a-z]([-a-z0-9]{0,4}[a-z0-9])?)?", 1..4);
    ("([a-z]{1,4}/)?[a-z]{1,8}", operator, values, any::<i64>()).prop_map(
        |(key, operator, mut values, number)| {
            match operator {
                Operator::In | Operator::NotIn => {}
                Operator::Exists | Operator::DoesNotExist => values.clear(),
                Operator::GreaterThan => values = vec![number.unsigned_abs().min(9_999).to_string()],
                _ => values.truncate(1),
            }
            Requirement::new(&key, operator, values).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn print_and_parse_round_trip(mut all in prop::collection::vec(requirement(), 0..5)) {
        all.sort_by(|a, b| a.key().cmp(b.key()));
        let selector = LabelSelector::all(all);
        prop_assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
    }

    #[test]
    fn field_round_trip(pairs in prop::collection::vec(("[a-z.]{1,8}", any::<bool>(), ".{0,10}"), 0..4)) {
        let requirements: Vec<_> = pairs
            .into_iter()
            .map(|(field, negated, value)| FieldRequirement { field, negated, value })
            .collect();
        let text = requirements.iter().map(|r| {
            let escaped = r.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            format!("{}{}{escaped}", r.field, if r.negated { "!=" } else { "=" })
        }).collect::<Vec<_>>().join(",");
        let selector = FieldSelector::parse(&text).unwrap();
        prop_assert_eq!(selector.requirements(), requirements.as_slice());
        prop_assert_eq!(selector.to_string(), text);
    }

    #[test]
    fn any_text_is_survived(text in "[-a-z!=<>(), éin]{0,40}") {
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
    }
}
