//! Expressions of admission: what they may name, what they come to, and what is said of wrong ones.

use serde_json::{Value, json};

use super::*;
use crate::cel::Val;
use crate::cel::rights::{Answers, Decision};

const ALL: Scope = Scope { params: true, authorizer: true, patches: true };

fn request() -> Value {
    json!({"kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
        "requestResource": {"group": "", "version": "v1", "resource": "pods"},
        "name": "web", "namespace": "shop", "operation": "CREATE", "dryRun": false,
        "userInfo": {"username": "jane", "groups": ["dev"]}})
}

/// Evaluates an expression for a pod, looking rights up until it comes to an end.
fn run(expression: &str, returns: Returns, rights: impl Fn(&str) -> Decision) -> Result<Value, String> {
    let mut variables = Variables::default();
    for (name, text) in
        [("replicas", "object.spec.replicas"), ("many", "variables.replicas > 2"), ("one", "1")]
    {
        assert_eq!(variables.add(name, text, ALL), None);
    }
    let expression = Expression::new(expression, ALL, Some(&variables), returns);
    if let Some(wrong) = expression.wrong() {
        return Err(wrong.to_owned());
    }
    let object = json!({"metadata": {"name": "web"}, "spec": {"replicas": 3, "paused": true}});
    let namespace = namespace_object(
        &json!({"metadata": {"name": "shop", "labels": {"team": "a"}, "managedFields": []}}),
    );
    let params = json!({"max": 5});
    let request = request();
    let input = Input {
        object: &object,
        old: &Value::Null,
        request: &request,
        namespace: &namespace,
        params: &params,
    };
    let mut answers = Answers::default();
    for _ in 0..4 {
        let result = {
            let mut run = Run::new(&input, ALL, &variables, &answers, BUDGET);
            run.eval(&expression).map(|r| r.map(|v| v.to_json().unwrap_or_else(|| json!("?"))))
        };
        match result {
            Ok(result) => return result,
            Err(Stopped::Spent) => return Err(Stopped::Spent.to_string()),
            Err(Stopped::Unanswered) => {
                for question in answers.take_open() {
                    let what = format!(
                        "{} {} {}/{}/{} {}/{}",
                        question.account.as_ref().map_or("", |(_, name)| name),
                        question.verb,
                        question.group,
                        question.resource,
                        question.subresource,
                        question.path.as_deref().unwrap_or(&question.namespace),
                        question.name
                    );
                    answers.tell(question, rights(&what));
                }
            }
        }
    }
    Err("asked too often".into())
}

fn nobody(_: &str) -> Decision {
    Decision::default()
}

#[test]
fn requests_and_their_surroundings_are_seen() {
    for (expression, want) in [
        ("object.spec.replicas + params.max", json!(8)),
        ("oldObject == null && request.operation == 'CREATE'", json!(true)),
        ("request.userInfo.groups.exists(g, g == 'dev') && request.kind.kind == 'Pod'", json!(true)),
        ("has(request.subResource)", json!(false)),
        ("namespaceObject.metadata.labels['team']", json!("a")),
        ("variables.many && has(variables.one)", json!(true)),
        ("Object{spec: Object.spec{replicas: 1, ?x: optional.none()}}", json!({"spec": {"replicas": 1}})),
        (
            "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c'), value: {'x': 1}}]",
            json!([{"op": "add", "path": "/a/b~1c", "value": {"x": 1}}]),
        ),
    ] {
        assert_eq!(run(expression, Returns::Any, nobody), Ok(want), "{expression}");
    }
}

#[test]
fn rights_are_asked_for_and_waited_for() {
    let may = |what: &str| Decision {
        allowed: what == " get //pods// shop/web" || what == "bot use apps/deployments/scale a/b",
        reason: what.to_owned(),
        error: String::new(),
    };
    for (expression, want) in [
        ("authorizer.requestResource.check('get').reason()", json!(" get /pods/ shop/web")),
        (
            "authorizer.serviceAccount('default', 'bot').group('apps').resource('deployments').subresource('scale').namespace('a').name('b').check('use').allowed()",
            json!(true),
        ),
        (
            "false || authorizer.path('/healthz').check('get').allowed() || authorizer.path('/x').check('get').reason() == ' get // /x/'",
            json!(true),
        ),
        ("[1].exists(x, authorizer.path('/healthz').check('get').errored())", json!(false)),
    ] {
        assert_eq!(run(expression, Returns::Any, may), Ok(want), "{expression}");
    }
    let three = "[1, 2, 3].all(x, !authorizer.path('/' + string(x)).check('get').allowed())";
    assert_eq!(
        run(three, Returns::Bool, nobody),
        Err(format!(
            "expression '{three}' resulted in error: operation cancelled: actual cost limit exceeded"
        ))
    );
}

#[test]
fn wrong_expressions_are_refused() {
    let lines = |message: &str, expression: &str, at: usize| {
        format!(
            "compilation failed: ERROR: <input>:1:{}: {message}\n | {expression}\n | {}^",
            at + 1,
            ".".repeat(at)
        )
    };
    for (expression, returns, want) in [
        ("object.x", Returns::Bool, "must evaluate to bool but got dyn".to_owned()),
        (
            "object.a + true == 1",
            Returns::Bool,
            lines("found no matching overload for '_+_' applied to '(dyn, bool)'", "object.a + true == 1", 9),
        ),
        ("'a' + object.b", Returns::Bool, "must evaluate to bool but got string".to_owned()),
        ("1", Returns::TextOrNull, "must evaluate to one of [string null_type] but got int".to_owned()),
        ("Object.spec{}", Returns::Object, "must evaluate to Object but got Object.spec".to_owned()),
        ("[1]", Returns::Patch, "must evaluate to list(JSONPatch) but got list(int)".to_owned()),
        ("request.uid", Returns::Any, lines("undefined field 'uid'", "request.uid", 7)),
        ("variables.x", Returns::Any, lines("undefined field 'x'", "variables.x", 9)),
        (
            "authorizer.y",
            Returns::Any,
            lines(
                "unexpected failed resolution of 'kubernetes.authorization.Authorizer'",
                "authorizer.y",
                10,
            ),
        ),
        (
            "[JSONPatch{op: 1}]",
            Returns::Patch,
            lines(
                "expected type of field 'op' is 'string' but provided type is 'int'",
                "[JSONPatch{op: 1}]",
                13,
            ),
        ),
    ] {
        assert_eq!(run(expression, returns, nobody), Err(want), "{expression}");
    }
}

#[test]
fn conditions_decide_together() {
    let (object, request) = (json!({"a": 1}), request());
    let input = Input {
        object: &object,
        old: &Value::Null,
        request: &request,
        namespace: &Value::Null,
        params: &Value::Null,
    };
    let check = |policy: &str, expressions: &[&str]| {
        let list: Vec<Value> = expressions.iter().map(|e| json!({"name": "n", "expression": e})).collect();
        let conditions = Conditions::of(&list, policy, false, None);
        conditions.check(&input, &Variables::default(), &Answers::default()).expect("no rights are asked for")
    };
    let missing = |e: &str| format!("expression '{e}' resulted in error: no such key: b");
    assert_eq!(check("Fail", &[]), Matched::Yes);
    assert_eq!(check("Fail", &["object.a == 1", "true"]), Matched::Yes);
    assert_eq!(check("Fail", &["object.b == 1", "false"]), Matched::No);
    assert_eq!(check("Ignore", &["object.b == 1"]), Matched::No);
    assert_eq!(check("Fail", &["object.b == 1", "true"]), Matched::Error(missing("object.b == 1")));
    assert_eq!(
        check("Fail", &["object.b == 1", "object.b == 2"]),
        Matched::Error(format!("[{}, {}]", missing("object.b == 1"), missing("object.b == 2")))
    );
}

#[test]
fn a_run_ends_when_all_is_spent() {
    let request = request();
    let input = Input {
        object: &Value::Null,
        old: &Value::Null,
        request: &request,
        namespace: &Value::Null,
        params: &Value::Null,
    };
    let (variables, answers) = (Variables::default(), Answers::default());
    let expression = Expression::new("1 + 1 == 2", Scope::default(), None, Returns::Bool);
    let mut run = Run::new(&input, Scope::default(), &variables, &answers, 3);
    assert!(matches!(run.eval(&expression), Ok(Ok(Val::Bool(true)))));
    assert_eq!(run.eval(&expression).map(|_| ()), Err(Stopped::Spent));
}

/// What a policy with this specification says of a configuration map.
fn judge(spec: &Value, object: &Value) -> Verdict {
    let request = request();
    let input =
        Input { object, old: &Value::Null, request: &request, namespace: &Value::Null, params: &Value::Null };
    Checks::of(spec).judge(&input, &Answers::default()).expect("no rights are asked for")
}

#[test]
fn validations_say_why() {
    let said = |validation: Value, policy: &str| {
        let spec = json!({"failurePolicy": policy, "validations": [validation],
            "variables": [{"name": "n", "expression": "object.n"}]});
        let verdict = judge(&spec, &json!({"n": 3}));
        verdict.denials.into_iter().map(|d| format!("{}: {}", d.reason, d.message)).collect::<Vec<_>>()
    };
    for (validation, want) in [
        (json!({"expression": "variables.n == 3"}), None),
        (json!({"expression": " variables.n == 4 "}), Some("Invalid: failed expression: variables.n == 4")),
        (json!({"expression": "false", "message": " no ", "reason": "Forbidden"}), Some("Forbidden: no")),
        (
            json!({"expression": "false", "message": "no", "messageExpression": "'n is ' + string(variables.n)"}),
            Some("Invalid: n is 3"),
        ),
        (json!({"expression": "false", "message": "no", "messageExpression": "' '"}), Some("Invalid: no")),
        (
            json!({"expression": "false", "message": "no", "messageExpression": "'a\\nb'"}),
            Some("Invalid: no"),
        ),
        (
            json!({"expression": "false", "message": "no", "messageExpression": "string(object.x)"}),
            Some("Invalid: no"),
        ),
        (
            json!({"expression": "object.x == 1"}),
            Some("Invalid: expression 'object.x == 1' resulted in error: no such key: x"),
        ),
        (
            json!({"expression": "nope"}),
            Some(
                "Invalid: compilation error: compilation failed: ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')\n | nope\n | ^",
            ),
        ),
    ] {
        let want: Vec<String> = want.into_iter().map(str::to_owned).collect();
        assert_eq!(said(validation.clone(), "Fail"), want, "{validation}");
    }
    assert!(said(json!({"expression": "object.x == 1"}), "Ignore").is_empty());
    assert_eq!(said(json!({"expression": "false"}), "Ignore"), ["Invalid: failed expression: false"]);
}

#[test]
fn notes_are_for_the_audit_log() {
    let spec = json!({"failurePolicy": "Fail", "auditAnnotations": [
        {"key": "n", "valueExpression": "'n is ' + string(object.n)"},
        {"key": "none", "valueExpression": "null"},
        {"key": "blank", "valueExpression": "' '"},
        {"key": "wrong", "valueExpression": "string(object.x)"},
    ]});
    let notes = judge(&spec, &json!({"n": 3})).notes;
    let wrong = "expression 'string(object.x)' resulted in error: no such key: x".to_owned();
    assert_eq!(notes, [("n".into(), Ok("n is 3".to_owned())), ("wrong".into(), Err(wrong))]);
}

#[test]
fn mutations_come_to_patches() {
    let made = |kind: &str, expression: &str| {
        let field = if kind == "JSONPatch" { "jsonPatch" } else { "applyConfiguration" };
        let spec = json!({"failurePolicy": "Fail", "mutations": [{"patchType": kind, field: {"expression": expression}}]});
        let (object, request) = (json!({"n": 3}), request());
        let input = Input {
            object: &object,
            old: &Value::Null,
            request: &request,
            namespace: &Value::Null,
            params: &Value::Null,
        };
        Patches::of(&spec).patch(0, &input, &Answers::default()).expect("no rights are asked for")
    };
    assert_eq!(
        made("ApplyConfiguration", "Object{spec: Object.spec{n: object.n, list: [Object.spec.list{a: 1}]}}"),
        Ok(Patch::Apply(json!({"spec": {"n": 3, "list": [{"a": 1}]}})))
    );
    assert_eq!(
        made("ApplyConfiguration", "Object{spec: Object.spe{n: 1}}"),
        Err("type mismatch: unexpected type name \"Object.spe\", expected \"Object.spec\", which matches field name path from root Object type".into())
    );
    assert_eq!(
        made(
            "JSONPatch",
            "[JSONPatch{op: 'add', path: '/n', value: Object.n{a: 1}}, JSONPatch{op: 'copy', from: '/a', path: '/b'}]"
        ),
        Ok(Patch::Json(
            json!([{"op": "add", "path": "/n", "value": {"a": 1}}, {"op": "copy", "from": "/a", "path": "/b"}])
        ))
    );
    assert_eq!(made("JSONPatch", "object.x"), Err("must evaluate to list(JSONPatch) but got dyn".into()));
}

#[test]
fn kinds_tell_which_expressions_do_not_fit() {
    let deployment = crate::gvk::GroupVersionKind::new("apps", "v1", "Deployment");
    let kinds = [(deployment.clone(), typecheck::Declared::of(&deployment))];
    let spec = json!({"variables": [{"name": "n", "expression": "object.spec.replicas"}], "validations": [
        {"expression": "object.spec.replicas > 1 && variables.n > 1"},
        {"expression": "object.spec.nope == 1", "messageExpression": "variables.n + 'a'"},
    ]});
    let found = typecheck::warnings(&spec, &kinds, None);
    assert_eq!(
        found,
        [
            (
                "spec.validations[1].expression".to_owned(),
                "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nope'\n | object.spec.nope == 1\n | ...........^\n".to_owned()
            ),
            (
                "spec.validations[1].messageExpression".to_owned(),
                "apps/v1, Kind=Deployment: ERROR: <input>:1:13: found no matching overload for '_+_' applied to '(int, string)'\n | variables.n + 'a'\n | ............^\n".to_owned()
            ),
        ]
    );
}
