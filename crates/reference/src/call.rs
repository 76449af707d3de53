//! Makes the calls of one file on both sides.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::compare::{Difference, covers, differences, shape};
use crate::corpus::Call;
use crate::side::{Answer, Side};

/// How long `until` may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a file has shown.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many calls were made.
    pub calls: usize,
    /// Differences that the file does not list: line, title, what.
    pub unlisted: Vec<(usize, String, Difference)>,
    /// Listed differences that are none any more: line, title, path.
    pub stale: Vec<(usize, String, String)>,
    /// How many are listed and still there.
    pub listed: usize,
}

/// Makes all `calls` on Kubernetes and on Dunlin, in a namespace `namespace` that is made before and deleted after.
/// `known` are further variables.
///
/// # Errors
/// When one of them does not answer, or what a call waits for does not come.
pub async fn run(
    kubernetes: &Side,
    dunlin: &Side,
    namespace: &str,
    known: &[(String, String)],
    calls: &[Call],
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut variables = [BTreeMap::new(), BTreeMap::new()];
    let sides = [kubernetes, dunlin];
    for (side, variables) in sides.iter().zip(&mut variables) {
        enter(side, namespace).await?;
        variables.insert("ns".to_owned(), namespace.to_owned());
        variables.extend(known.iter().cloned());
    }
    for call in calls {
        let context = || format!("line {}: {}", call.line, call.title);
        let expected = make(kubernetes, call, &mut variables[0]).await.with_context(context)?;
        let got = make(dunlin, call, &mut variables[1]).await.with_context(context)?;
        outcome.calls += 1;
        let found = differences(&expected, &got);
        for (path, _) in &call.differs {
            if found.iter().any(|difference| covers(path, &difference.path)) {
                outcome.listed += 1;
            } else {
                outcome.stale.push((call.line, call.title.clone(), path.clone()));
            }
        }
        let unlisted = found
            .into_iter()
            .filter(|d| !call.differs.iter().chain(&call.perhaps).any(|(path, _)| covers(path, &d.path)));
        outcome.unlisted.extend(unlisted.map(|difference| (call.line, call.title.clone(), difference)));
    }
    for side in sides {
        side.send("DELETE", &format!("/api/v1/namespaces/{namespace}"), &[], String::new()).await?;
    }
    Ok(outcome)
}

/// Makes the namespace and waits until pods could be made in it.
///
/// # Errors
/// When it cannot be made, or its account does not come.
pub async fn enter(side: &Side, namespace: &str) -> Result<()> {
    let json = [("content-type".to_owned(), "application/json".to_owned())];
    let body = format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{namespace}"}}}}"#);
    let made = side.send("POST", "/api/v1/namespaces", &json, body).await?;
    if made.code != 201 {
        bail!("{} does not make the namespace: {}", side.name, made.body);
    }
    let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
    let end = Instant::now() + PATIENCE;
    while side.send("GET", &account, &[], String::new()).await?.code != 200 {
        if Instant::now() > end {
            bail!("{} makes no default service account in {namespace}", side.name);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn make(side: &Side, call: &Call, variables: &mut BTreeMap<String, String>) -> Result<Answer> {
    let end = Instant::now() + PATIENCE;
    let fill = |text: &str| {
        variables
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    };
    let (path, body) = (fill(&call.path), fill(&call.body));
    let answer = loop {
        let answer = side.send(&call.method, &path, &call.headers, body.clone()).await?;
        let missing = call.until.iter().find(|(path, value)| at(&answer, path) != Some(value.clone()));
        match missing {
            None => break answer,
            Some((path, value)) if Instant::now() > end => {
                bail!("{} has no {path} {value}: {}", side.name, shape(&answer));
            }
            Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    for (name, path) in &call.keep {
        let value = at(&answer, path).with_context(|| format!("{} gives no {path}", side.name))?;
        variables.insert(name.clone(), value);
    }
    Ok(answer)
}

/// The value at a path of an answer that is not masked, as text.
fn at(answer: &Answer, path: &str) -> Option<String> {
    if path == "code" {
        return Some(answer.code.to_string());
    }
    let pointer = path.strip_prefix("body")?.replace('.', "/");
    match answer.body.pointer(&pointer)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
