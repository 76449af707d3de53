//! Objects, patches, selectors and quantities: the pure half of what a client sends.

use dunlin_api::cel::types::Type;
use dunlin_api::cel::{Bindings, Budget, Environment, Val, compile};
use dunlin_api::gvk::GroupVersionKind;
use dunlin_api::quantity::Quantity;
use dunlin_api::selector::{FieldSelector, LabelSelector};
use dunlin_api::structural::{Rules, Schema, check, fill, prune};
use dunlin_api::{apply, decode as decoding, patch as patching};
use serde_json::Value;

/// JSON is parsed and read by its type; reading the result again finds nothing new.
pub fn decode(data: &[u8]) {
    let Ok((value, _)) = decoding::parse(data) else { return };
    let Some(gvk) = GroupVersionKind::of(&value) else { return };
    let Ok(first) = decoding::decode_owned(&gvk, value) else { return };
    let again = decoding::decode(&gvk, &first.value).expect("what was read can be read");
    assert_eq!(again.value, first.value, "reading is idempotent");
}

/// An object, a newline, a patch: every kind of patch, and server-side apply of one on the other.
pub fn patch(data: &[u8]) {
    let Some(at) = data.iter().position(|b| *b == b'\n') else { return };
    let (Ok((object, _)), Ok((patch, _))) = (decoding::parse(&data[..at]), decoding::parse(&data[at + 1..]))
    else {
        return;
    };
    let gvk = GroupVersionKind::of(&object).unwrap_or_else(|| GroupVersionKind::new("", "v1", "Pod"));
    let _ = patching::json_patch(&object, &patch);
    if let Ok(merged) = patching::merge_patch(&object, &patch) {
        assert_eq!(patching::merge_patch(&merged, &patch).ok(), Some(merged), "a merge patch is idempotent");
    }
    let _ = patching::strategic_merge(&gvk, &object, &patch);
    let now = "2026-01-01T00:00:00Z";
    for live in [None, Some(&object)] {
        for (force, subresource) in [(false, ""), (true, ""), (true, "status")] {
            let applied = apply::apply(&gvk, live, &patch, "fuzz", force, subresource, now);
            if let (Ok(applied), true) = (applied, force) {
                let again = apply::apply(&gvk, Some(&applied), &patch, "fuzz", force, subresource, now);
                assert_eq!(again.ok(), Some(applied), "applying again changes nothing");
            }
        }
    }
}

/// Selectors as text and as objects, matched against labels.
pub fn selector(data: &[u8]) {
    let labels = serde_json::json!({"app": "web", "tier": "front", "n": "7"});
    if let Ok(value) = serde_json::from_slice::<Value>(data)
        && let Ok(selector) = LabelSelector::from_value(&value)
    {
        selector.matches(&labels);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(selector) = LabelSelector::parse(text) {
        let again = LabelSelector::parse(&selector.to_string()).expect("a printed selector can be read");
        assert_eq!(selector.matches(&labels), again.matches(&labels), "{selector}");
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        selector.matches(|field| (field == "metadata.name").then_some("x"));
    }
}

/// A quantity, printed and read again, is the same.
pub fn quantity(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(quantity) = text.parse::<Quantity>() else { return };
    let printed = quantity.to_string();
    let again: Quantity = printed.parse().expect("a printed quantity can be read");
    assert_eq!(again.nano(), quantity.nano(), "{text:?} is printed as {printed:?}");
    let _ = (quantity.value(), quantity.milli(), quantity.as_f64(), quantity.round_to_milli());
}

/// An expression and, after a newline, the JSON that it is evaluated on: no evaluation costs more than was estimated, and
/// none more than its budget.
pub fn cel(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (expression, object) = text.rsplit_once('\n').unwrap_or((text, "null"));
    let ty = Type::Dyn;
    let program = match compile(expression, &Environment::default().with("self", ty.clone())) {
        Ok(program) => program,
        Err(issue) => {
            issue.print(expression);
            return;
        }
    };
    let Ok((value, _)) = decoding::parse(object.as_bytes()) else { return };
    let root = Val::json(&value, &ty).expect("any JSON is dyn");
    let mut budget = Budget::new(100_000);
    let result = program.eval(&Bindings::default().with("self", root), &mut budget);
    if let Ok(value) = result {
        value.to_json();
        assert!(budget.spent() <= program.cost(), "{} > {}: {expression}", budget.spent(), program.cost());
    }
}

/// A schema, a newline, an object: pruning and defaulting are idempotent, and what is checked and ruled on never panics.
pub fn structural(data: &[u8]) {
    let Some(at) = data.iter().position(|b| *b == b'\n') else { return };
    let (Ok((schema, _)), Ok((mut object, _))) =
        (decoding::parse(&data[..at]), decoding::parse(&data[at + 1..]))
    else {
        return;
    };
    let definition = serde_json::json!({"metadata": {"name": "as.b.c"}, "spec": {"group": "b.c", "scope": "Cluster",
        "names": {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    let gvk = GroupVersionKind::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let Ok(read) = decoding::decode_owned(&gvk, definition) else { return };
    let wrong = dunlin_api::validate::validate_create(&gvk, &read.value);
    let schema = Schema::parse(&read.value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
    let before = object.clone();
    prune(&schema, &mut object);
    assert_eq!(prune(&schema, &mut object.clone()), [""; 0], "pruning is idempotent");
    fill(&schema, &mut object);
    let mut again = object.clone();
    fill(&schema, &mut again);
    if wrong.is_empty() {
        assert_eq!(again, object, "defaulting is idempotent");
    }
    check(&schema, &object, None);
    assert!(check(&schema, &object, Some(&object)).is_empty(), "what did not change is not judged");
    if let Some(rules) = Rules::of(&schema) {
        rules.check(&object, None);
        rules.check(&object, Some(&before));
    }
}

/// The answer of a webhook of admission. Whatever is accepted as the answer to a request says so itself.
pub fn review(data: &[u8]) {
    use dunlin_api::review::{Version, read};
    let _ = read(Version::V1beta1, "u", true, data);
    for mutating in [true, false] {
        let Ok(Ok(response)) = read(Version::V1, "u", mutating, data) else { continue };
        let (said, _) = decoding::parse(data).expect("what was read is JSON");
        assert_eq!(said["response"]["uid"], "u", "an answer to another request was accepted");
        assert_eq!(response.allowed, said["response"]["allowed"] == true);
        assert!(mutating || response.patch.is_empty(), "a judge changed the object");
        assert_eq!(response.patch.is_empty(), response.patch_type.is_empty());
    }
}
