//! The corpus: files of calls in the `.http` format that editors know, with a few directives in its comments.
//!
//! ```text
//! ### title of the call
//! # differs PATH: why Dunlin's answer is another there, and stays so
//! # perhaps PATH: why it is another only sometimes
//! # until PATH VALUE          (a GET is repeated on each side until its answer has the value there)
//! # keep NAME PATH            (later calls may say {NAME})
//! POST /api/v1/namespaces/{ns}/configmaps?dryRun=All
//! Content-Type: application/yaml
//!
//! body
//! ```
//!
//! `{ns}` is a namespace of the file's own; `{webhook}` is the URL of a webhook that both sides can call, whose paths
//! `webhook.rs` has, and `{ca}` its authority as a `caBundle`. A path is fields with dots between them, `code`, `type`, `warnings` or `body`
//! first; `*` stands for any one field or index, and a path covers all below it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// One call.
#[derive(Debug, Default)]
pub struct Call {
    /// The line of its title.
    pub line: usize,
    /// What it shows.
    pub title: String,
    /// The request line.
    pub method: String,
    /// Path and query; may hold variables.
    pub path: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// The body as written; may hold variables.
    pub body: String,
    /// Differences that stay, with their reasons.
    pub differs: Vec<(String, String)>,
    /// Differences that come and go, with their reasons.
    pub perhaps: Vec<(String, String)>,
    /// What to wait for: a path and the value that it must have.
    pub until: Vec<(String, String)>,
    /// Variables that the answer gives: name and path.
    pub keep: Vec<(String, String)>,
}

/// All files below `folder`, in order.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "http") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads one file's text.
///
/// # Errors
/// When a call has no request line, or a directive is unknown; the message names the line.
pub fn parse(text: &str) -> Result<Vec<Call>> {
    let mut calls: Vec<Call> = Vec::new();
    let mut in_body = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if let Some(title) = line.strip_prefix("###") {
            calls.push(Call { line: number, title: title.trim().to_owned(), ..Call::default() });
            in_body = false;
            continue;
        }
        let Some(call) = calls.last_mut() else {
            ensure!(
                line.is_empty() || line.starts_with('#'),
                "line {number}: a call starts with ### and its title"
            );
            continue;
        };
        if in_body {
            call.body.push_str(line);
            call.body.push('\n');
        } else if line.is_empty() {
            in_body = !call.method.is_empty();
        } else if let Some(directive) = line.strip_prefix('#') {
            call.directive(directive.trim()).with_context(|| format!("line {number}"))?;
        } else if call.method.is_empty() {
            let (method, path) =
                line.split_once(' ').with_context(|| format!("line {number}: METHOD PATH"))?;
            (call.method, call.path) = (method.to_owned(), path.trim().to_owned());
        } else {
            let header =
                line.split_once(':').with_context(|| format!("line {number}: a header is NAME: VALUE"))?;
            call.headers.push((header.0.to_lowercase(), header.1.trim().to_owned()));
        }
    }
    for call in &mut calls {
        ensure!(!call.method.is_empty(), "line {}: the call has no request line", call.line);
        call.body.truncate(call.body.trim_end().len());
        call.default_type();
    }
    Ok(calls)
}

impl Call {
    fn directive(&mut self, words: &str) -> Result<()> {
        let (name, rest) = words.split_once(' ').unwrap_or((words, ""));
        let pair = |separator: &str| -> Result<(String, String)> {
            let (a, b) = rest.split_once(separator).with_context(|| format!("{name} takes two things"))?;
            Ok((a.trim().to_owned(), b.trim().to_owned()))
        };
        match name {
            "differs" => self.differs.push(pair(": ")?),
            "perhaps" => self.perhaps.push(pair(": ")?),
            "until" => self.until.push(pair(" ")?),
            "keep" => self.keep.push(pair(" ")?),
            _ => bail!("there is no directive {name:?}: it is differs, perhaps, until or keep"),
        }
        Ok(())
    }

    /// Bodies are YAML unless the call says otherwise.
    fn default_type(&mut self) {
        let given = self.headers.iter().any(|(name, _)| name == "content-type");
        if !given && !self.body.is_empty() {
            let media_type = if self.body.starts_with('{') { "application/json" } else { "application/yaml" };
            self.headers.push(("content-type".to_owned(), media_type.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_directives_a_request_headers_and_a_body() {
        let text = "# about\n\n### make\n# differs body.message: wording\n# keep uid body.metadata.uid\n\
                    POST /api/v1/namespaces/{ns}/pods\nAccept: a/b\n\nkind: Pod\n\nspec: {}\n\n### read\nGET /x\n";
        let calls = parse(text).unwrap();
        assert_eq!(calls.len(), 2);
        assert_eq!((calls[0].line, calls[0].title.as_str()), (3, "make"));
        assert_eq!(calls[0].body, "kind: Pod\n\nspec: {}");
        assert_eq!(calls[0].differs, [("body.message".to_owned(), "wording".to_owned())]);
        assert_eq!(calls[0].keep, [("uid".to_owned(), "body.metadata.uid".to_owned())]);
        let headers: Vec<_> = calls[0].headers.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(headers, ["accept=a/b", "content-type=application/yaml"]);
        assert!(calls[1].headers.is_empty() && calls[1].body.is_empty());
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, message) in [
            ("GET /x\n", "line 1: a call starts with ### and its title"),
            ("### a\n# unless x y\nGET /x\n", "line 2: there is no directive \"unless\""),
            ("### a\n", "line 1: the call has no request line"),
            ("### a\nGET\n", "line 2: METHOD PATH"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.starts_with(message), "{error}");
        }
    }
}
