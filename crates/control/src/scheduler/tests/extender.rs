//! What an external scheduler is asked, and what is made of its answers.

use super::*;
use external::{Answers, Filtered, choose, read_binding, read_filter, read_priorities};

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn check(answers: &Answers, want: &str) {
    let snapshot = cluster(["a", "b", "c"].map(|name| node(name, "4", json!({}))));
    let pod = pod("p", "1", json!({}));
    let offered = external::candidates(&snapshot, &pod, 1).expect("all fit");
    let got = choose(&snapshot, &pod, &offered, answers, 1);
    assert_eq!(got.map(|n| n.to_string()).unwrap_or_else(|why| why.to_string()), want);
}

#[test]
fn arguments_are_those_of_the_protocol() {
    let pod = json!({"metadata": {"name": "p"}});
    let node = json!({"metadata": {"name": "a"}});
    let want = json!({"Pod": pod, "NodeNames": ["a"],
        "Nodes": {"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": [node]}});
    assert_eq!(external::arguments(&pod, std::slice::from_ref(&node)), want);
}

#[test]
fn answers_are_read_in_both_forms_and_any_case() {
    let want = Filtered {
        nodes: names(&["a"]).into_iter().collect(),
        failed: [("b".into(), "ugly".to_owned())].into(),
    };
    for answer in [
        json!({"NodeNames": ["a"], "FailedNodes": {"b": "ugly"}, "Error": ""}),
        json!({"nodenames": ["a"], "nodes": null, "failedAndUnresolvableNodes": {"b": "ugly"}}),
        json!({"Nodes": {"items": [{"metadata": {"name": "a"}}]}, "NodeNames": null, "failedNodes": {"b": "ugly"}}),
    ] {
        assert_eq!(read_filter(&answer), Ok(want.clone()), "{answer}");
    }
    assert_eq!(read_filter(&json!({"Error": "no idea"})), Err("it answered: no idea".to_owned()));
    let neither = "its answer to filter has neither NodeNames nor Nodes";
    assert_eq!(read_filter(&json!({})), Err(neither.to_owned()));
    assert_eq!(read_filter(&json!([])), Err("its answer to filter is no JSON object".to_owned()));

    assert_eq!(read_priorities(&json!([{"Host": "a", "Score": 7}])), Ok([("a".into(), 7)].into()));
    assert_eq!(read_priorities(&json!(null)), Ok([].into()));
    assert!(read_priorities(&json!([{"Host": "a"}])).is_err());
    assert_eq!(read_binding(&json!({"Error": ""})), Ok(()));
    assert_eq!(read_binding(&json!({"error": "gone"})), Err("it answered: gone".to_owned()));
}

#[test]
fn what_is_left_and_scored_highest_is_chosen() {
    let filter = |left: &[&str]| {
        Some(Filtered {
            nodes: names(left).into_iter().collect(),
            failed: [("c".into(), "too far".to_owned())].into(),
        })
    };
    let scores = |scores: &[(&str, i64)]| Some(scores.iter().map(|(n, s)| (Arc::from(*n), *s)).collect());
    check(&Answers { filter: filter(&["b"]), priorities: None }, "b");
    check(&Answers { filter: None, priorities: scores(&[("a", 1), ("b", 2), ("c", 10)]) }, "c");
    check(
        &Answers { filter: filter(&["a", "b"]), priorities: scores(&[("a", 1), ("b", 0), ("c", 10)]) },
        "a",
    );
    check(
        &Answers { filter: filter(&[]), priorities: None },
        "0/3 nodes are available: 1 too far, 2 node(s) were filtered out by the external scheduler.",
    );
    check(
        &Answers { filter: filter(&["z"]), priorities: None },
        "the external scheduler failed: it answered with node \"z\", which it was not offered",
    );
}

#[test]
fn a_node_that_filled_up_meanwhile_is_not_taken() {
    let mut snapshot = cluster([node("a", "1", json!({})), node("b", "1", json!({}))]);
    let pod = pod("p", "1", json!({}));
    let offered = external::candidates(&snapshot, &pod, 1).expect("both fit");
    snapshot.assume(&super::pod("faster", "1", json!({})), &"a".into());
    let answers = Answers { filter: None, priorities: Some([("a".into(), 10)].into()) };
    assert_eq!(choose(&snapshot, &pod, &offered, &answers, 1), Ok("b".into()));
}
