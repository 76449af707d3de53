//! Logs and sessions, where no node answers.

use crate::support::{PODS, cluster, pod};
use serde_json::{Value, json};

#[tokio::test]
async fn what_cannot_be_streamed_says_why() {
    let c = cluster().await;
    c.make(PODS, pod("a")).await;
    let get = async |path: &str| {
        let (code, status) = c.ask("GET", path, Value::Null).await;
        (code, status["message"].as_str().unwrap_or("").to_owned())
    };
    assert_eq!(get(&format!("{PODS}/a/log")).await, (204, String::new()));
    c.ask("POST", &format!("{PODS}/a/binding"), json!({"target": {"name": "n"}})).await;
    let (code, words) = get(&format!("{PODS}/a/log")).await;
    assert_eq!(code, 503);
    assert!(words.contains("node \"n\" is not connected"), "{words}");
    let (code, words) = get(&format!("{PODS}/a/exec?command=x")).await;
    assert_eq!((code, words.as_str()), (400, "Upgrade request required"));
}
