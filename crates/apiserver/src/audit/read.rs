//! From a policy file to rules. What is wrong is told with its line, because a policy that is only half understood would
//! leave out what somebody relies on.

use std::path::{Path, PathBuf};

use dunlin_api::validate::syntax::dns_subdomain;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::event::Stage;
use super::policy::{Level, Policy, Resources, Rule, Verdict};

/// The largest policy file, bytes.
const LARGEST: u64 = 1 << 20;
const LEVELS: &str = "\"None\", \"Metadata\", \"Request\", \"RequestResponse\"";
const STAGES: &str = "RequestReceived,ResponseStarted,ResponseComplete,Panic";

/// A policy file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be read.
    #[error("reading the audit policy {path}: {source}; name a file that is there with --audit-policy-file")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It says something that is no policy.
    #[error("the audit policy {path} is wrong: {why}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Where and what, a line each.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPolicy {
    api_version: Spanned<String>,
    kind: Spanned<String>,
    #[serde(default, rename = "metadata")]
    _metadata: serde_json::Value,
    #[serde(default)]
    rules: Vec<Spanned<RawRule>>,
    #[serde(default)]
    omit_stages: Vec<Spanned<String>>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct RawRule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<RawResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct RawResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// Reads a policy file.
///
/// # Errors
/// When it cannot be read, or is no policy that can be followed to the letter.
pub fn read(path: &Path) -> Result<Policy, PolicyError> {
    let failed = |source| PolicyError::File { path: path.to_owned(), source };
    let wrong = |why: String| PolicyError::Content { path: path.to_owned(), why };
    if std::fs::metadata(path).map_err(failed)?.len() > LARGEST {
        return Err(wrong(format!("it is larger than {LARGEST} bytes")));
    }
    parse(&std::fs::read_to_string(path).map_err(failed)?).map_err(wrong)
}

/// The rules in a text.
fn parse(text: &str) -> Result<Policy, String> {
    let raw: RawPolicy = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    let mut errors = Vec::new();
    let mut wrong = |line: u64, field: &str, why: &str| errors.push(format!("line {line}: {field}: {why}"));
    for (found, field, wanted) in
        [(&raw.api_version, "apiVersion", "audit.k8s.io/v1"), (&raw.kind, "kind", "Policy")]
    {
        if found.value != wanted {
            wrong(
                found.referenced.line(),
                field,
                &format!("{:?} is not read here: write {wanted}", found.value),
            );
        }
    }
    for stage in &raw.omit_stages {
        if Stage::named(&stage.value).is_none() {
            let why = format!("Invalid value: {:?}: allowed stages are {STAGES}", stage.value);
            wrong(stage.referenced.line(), "omitStages", &why);
        }
    }
    if raw.rules.is_empty() {
        wrong(raw.kind.referenced.line(), "rules", "Required value: a policy without rules records nothing");
    }
    for (i, rule) in raw.rules.iter().enumerate() {
        for (field, why) in faults(&rule.value) {
            wrong(rule.referenced.line(), &format!("rules[{i}].{field}"), &why);
        }
    }
    if !errors.is_empty() {
        return Err(errors.join("\n"));
    }
    let stages = |names: &[String]| names.iter().filter_map(|n| Stage::named(n)).collect::<Vec<_>>();
    let everywhere: Vec<String> = raw.omit_stages.iter().map(|s| s.value.clone()).collect();
    let rules = raw.rules.into_iter().map(|rule| {
        let rule = rule.value;
        let resources = rule.resources.into_iter().map(|r| Resources {
            group: r.group,
            resources: r.resources,
            names: r.resource_names,
        });
        Rule {
            verdict: Verdict {
                level: level(&rule.level).unwrap_or(Level::None),
                omit_stages: [stages(&everywhere), stages(&rule.omit_stages)].concat(),
                omit_managed_fields: rule.omit_managed_fields.unwrap_or(raw.omit_managed_fields),
            },
            users: rule.users,
            groups: rule.user_groups,
            verbs: rule.verbs,
            resources: resources.collect(),
            namespaces: rule.namespaces,
            urls: rule.non_resource_urls,
        }
    });
    Ok(Policy { rules: rules.collect() })
}

fn level(name: &str) -> Option<Level> {
    Some(match name {
        "None" => Level::None,
        "Metadata" => Level::Metadata,
        "Request" => Level::Request,
        "RequestResponse" => Level::RequestResponse,
        _ => return None,
    })
}

/// What is wrong with a rule: field and reason, by Kubernetes' rules.
fn faults(rule: &RawRule) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut wrong = |field: String, why: String| found.push((field, why));
    match rule.level.as_str() {
        "" => wrong("level".into(), format!("Required value: supported values: {LEVELS}")),
        name if level(name).is_none() => {
            wrong("level".into(), format!("Unsupported value: {name:?}: supported values: {LEVELS}"));
        }
        _ => {}
    }
    for (i, url) in rule.non_resource_urls.iter().enumerate().filter(|(_, url)| *url != "*") {
        let mut refuse = |why: &str| {
            wrong(format!("nonResourceURLs[{i}]"), format!("Invalid value: {url:?}: {why}"));
        };
        if !url.starts_with('/') {
            refuse("non-resource URL rules must begin with a '/' character");
        }
        if url.char_indices().any(|(at, c)| c == '*' && at + 1 < url.len()) {
            refuse("non-resource URL wildcards '*' must be the final character of the rule");
        }
    }
    for some in &rule.resources {
        let complaints = match some.group.as_str() {
            "" => Vec::new(),
            group => dns_subdomain(group),
        };
        if !complaints.is_empty() {
            let why = complaints.join(",");
            wrong("resources.group".into(), format!("Invalid value: {:?}: {why}", some.group));
        }
        if !some.resource_names.is_empty() && some.resources.is_empty() {
            let why = "using resourceNames requires at least one resource";
            let names = serde_json::json!(some.resource_names);
            wrong("resources.resourceNames".into(), format!("Invalid value: {names}: {why}"));
        }
    }
    for (i, stage) in rule.omit_stages.iter().enumerate().filter(|(_, s)| Stage::named(s).is_none()) {
        let why = format!("Invalid value: {stage:?}: allowed stages are {STAGES}");
        wrong(format!("omitStages[{i}]"), why);
    }
    if !rule.non_resource_urls.is_empty() && !(rule.resources.is_empty() && rule.namespaces.is_empty()) {
        let urls = serde_json::json!(rule.non_resource_urls);
        let why = "rules cannot apply to both regular resources and non-resource URLs";
        wrong("nonResourceURLs".into(), format!("Invalid value: {urls}: {why}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

    #[test]
    fn a_policy_is_read_with_what_holds_for_all_rules() {
        let text = format!(
            "{START}omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n- level: None\n  users: [a]\n\
             - level: Request\n  omitStages: [Panic]\n  omitManagedFields: false\n  resources:\n  - group: ''\n    resources: [secrets]\n"
        );
        let policy = parse(&text).unwrap();
        let [silent, loud] = policy.rules.as_slice() else { panic!("{policy:?}") };
        assert_eq!(silent.verdict.omit_stages, [Stage::RequestReceived]);
        assert!(silent.verdict.omit_managed_fields && !loud.verdict.omit_managed_fields);
        assert_eq!(loud.verdict.omit_stages, [Stage::RequestReceived, Stage::Panic]);
        assert_eq!(loud.verdict.level, Level::Request);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let check = |text: &str, wanted: &[&str]| {
            let told = parse(text).unwrap_err();
            for part in wanted {
                assert!(told.contains(part), "{told:?} lacks {part:?}");
            }
        };
        check(
            "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]\n",
            &["line 1: apiVersion"],
        );
        check(START, &["rules: Required value"]);
        check(
            &format!("{START}rules:\n- level: None\n- level: All\n"),
            &["line 5: rules[1].level: Unsupported value: \"All\""],
        );
        check(&format!("{START}rules:\n- users: [a]\n"), &["line 4: rules[0].level: Required value"]);
        check(&format!("{START}rules:\n- level: None\n  user: [a]\n"), &["user", "5"]);
        check(
            &format!("{START}rules: [{{level: None, omitStages: [Never]}}]\n"),
            &["omitStages[0]", "\"Never\""],
        );
        check(
            &format!("{START}rules: [{{level: None, nonResourceURLs: [a, /b*c]}}]\n"),
            &["nonResourceURLs[0]", "nonResourceURLs[1]"],
        );
        check(
            &format!("{START}rules: [{{level: None, nonResourceURLs: [/a], namespaces: [b]}}]\n"),
            &["cannot apply to both"],
        );
        check(
            &format!("{START}rules: [{{level: None, resources: [{{group: a/v1}}]}}]\n"),
            &["resources.group"],
        );
        check(
            &format!("{START}rules: [{{level: None, resources: [{{resourceNames: [a]}}]}}]\n"),
            &["resourceNames"],
        );
        check("rules: {", &["line"]);
    }
}
