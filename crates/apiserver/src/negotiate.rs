//! Which form of an answer the client wants: JSON, YAML or protobuf; whole objects, their metadata alone, or a table.

use http::HeaderMap;

pub use dunlin_streams::upgrade::words;

use crate::failure::{Failure, Result};

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Whole,
    /// `PartialObjectMetadata`, in this version of `meta.k8s.io`.
    Metadata(&'static str),
    /// `PartialObjectMetadataList`, in this version of `meta.k8s.io`.
    MetadataList(&'static str),
    /// `Table`, in this version of `meta.k8s.io`.
    Table(&'static str),
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    Json,
    Yaml,
    Protobuf,
}

/// The wanted form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub shape: Shape,
    pub syntax: Syntax,
}

impl Form {
    /// Whole objects as JSON.
    pub const JSON: Self = Self { shape: Shape::Whole, syntax: Syntax::Json };
}

/// One media type of an `Accept` or `Content-Type` header.
#[derive(Debug)]
pub struct Media<'a> {
    pub kind: &'a str,
    pub parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Media<'a> {
    pub fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().unwrap_or("");
        let parameters = parts.filter_map(|p| p.split_once('=')).collect();
        Self { kind, parameters }
    }

    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }
}

/// The values of `Accept`, in the client's order.
pub fn accepts(headers: &HeaderMap) -> Vec<&str> {
    words(headers, http::header::ACCEPT)
}

/// What is said to a client that wants nothing that an API is written in.
const NONE: &str = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
                    application/vnd.kubernetes.protobuf, application/json;stream=watch, \
                    application/vnd.kubernetes.protobuf;stream=watch";

/// The first form that the client accepts and we write. `protobuf` tells whether what is asked for can be written so.
pub fn form(headers: &HeaderMap, protobuf: bool) -> Result<Form> {
    let wanted = accepts(headers);
    if wanted.is_empty() {
        return Ok(Form::JSON);
    }
    wanted.iter().find_map(|text| one(&Media::parse(text), protobuf)).ok_or_else(|| {
        if wanted.iter().all(|text| !Media::parse(text).kind.starts_with("application/")) {
            let mut failure = Failure::new(406, "NotAcceptable", NONE);
            failure.details = Some(Box::new(serde_json::json!({})));
            return failure;
        }
        Failure::new(
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf",
        )
    })
}

fn one(media: &Media<'_>, protobuf: bool) -> Option<Form> {
    let syntax = match media.kind {
        "application/json" | "*/*" | "application/*" => Syntax::Json,
        "application/yaml" => Syntax::Yaml,
        // Tables and metadata are for people and for lists of many kinds, which read JSON.
        "application/vnd.kubernetes.protobuf" if protobuf && media.get("as").is_none() => Syntax::Protobuf,
        _ => return None,
    };
    let version = match media.get("v") {
        Some("v1beta1") => "v1beta1",
        _ => "v1",
    };
    let known = matches!(media.get("v"), Some("v1" | "v1beta1")) && media.get("g") == Some("meta.k8s.io");
    let shape = match media.get("as") {
        None => Shape::Whole,
        Some(_) if !known => return None,
        Some("Table") => Shape::Table(version),
        Some("PartialObjectMetadata") => Shape::Metadata(version),
        Some("PartialObjectMetadataList") => Shape::MetadataList(version),
        Some(_) => return None,
    };
    Some(Form { shape, syntax })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_gets_its_table_and_others_get_json() {
        let mut headers = HeaderMap::new();
        let ask = |headers: &mut HeaderMap, text: &'static str| {
            headers.insert("accept", http::HeaderValue::from_static(text));
        };
        ask(&mut headers, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
        assert_eq!(form(&headers, false).unwrap().shape, Shape::Table("v1"));
        ask(&mut headers, "application/vnd.kubernetes.protobuf,application/json");
        assert_eq!(form(&headers, false).unwrap(), Form::JSON);
        ask(&mut headers, "application/vnd.kubernetes.protobuf");
        assert_eq!(form(&headers, false).unwrap_err().code, 406);
        assert_eq!(form(&headers, true).unwrap().syntax, Syntax::Protobuf);
    }
}
