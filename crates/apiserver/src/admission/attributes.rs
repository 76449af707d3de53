//! What is asked of admission: the facts of a write that webhooks and policies judge by. Made here and nowhere else.

use std::borrow::Cow;
use std::sync::Arc;

use dunlin_api::gvk::GroupVersionKind;
use dunlin_api::query::Query;
use serde_json::{Value, json};

use crate::config::User;
use crate::handlers::delete;
use crate::object;
use crate::resources::Resource;
use crate::server::Call;

/// What a request does to its object, as rules name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// A stream into something: `exec`, `attach`, `portforward`, `proxy`.
    Connect,
}

impl Operation {
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// One request, as admission sees it.
#[derive(Debug)]
pub struct Attributes<'a> {
    pub operation: Operation,
    /// The resource that was asked; objects are in its version.
    pub resource: Arc<Resource>,
    /// Empty for the resource itself.
    pub sub: String,
    /// The kind of `object` and `old`: of a subresource, that of what it reads and writes.
    pub kind: GroupVersionKind,
    /// Empty while a name is still to be generated, and for each object of a collective deletion.
    pub name: String,
    /// The namespace of the path. A request about a namespace that exists has its name here.
    pub namespace: String,
    pub user: User,
    /// What is to be; there is none when something is deleted.
    pub object: Option<Cow<'a, Value>>,
    /// What is; there is none when something is made, or connected to.
    pub old: Option<&'a Value>,
    pub dry_run: bool,
    /// `CreateOptions` and so on as an object, null for connections.
    pub options: Value,
}

impl<'a> Attributes<'a> {
    /// The request of a call; its objects are still to be put in.
    pub fn of(call: &Call, operation: Operation) -> Self {
        let sub = call.sub.clone().unwrap_or_default();
        let resource = call.resource.clone();
        let kind = match resource.sub(&sub) {
            Some(sub) => GroupVersionKind::new(&*sub.group, &*sub.version, &*sub.kind),
            None => resource.gvk(),
        };
        let namespace = if resource.is("", "namespaces") { call.name() } else { call.ns() };
        Self {
            operation,
            kind,
            sub,
            name: call.name().to_owned(),
            namespace: namespace.to_owned(),
            user: call.user.clone(),
            object: None,
            old: None,
            dry_run: operation != Operation::Connect && call.dry_run(),
            options: options(operation, &call.query),
            resource,
        }
    }

    /// The deletion of `old`. `options` are the ones that came with it.
    pub fn deletion(call: &Call, old: &'a Value, options: &delete::Options) -> Self {
        Self {
            old: Some(old),
            dry_run: options.dry_run,
            options: options.value(),
            ..Self::of(call, Operation::Delete)
        }
    }

    /// With what is to be, and what is.
    pub fn about(mut self, object: Cow<'a, Value>, old: Option<&'a Value>) -> Self {
        if self.name.is_empty() && self.operation == Operation::Create {
            self.name = object::name(&object).to_owned();
        }
        // A new namespace is in itself, as Kubernetes has it.
        if self.operation == Operation::Create && self.resource.is("", "namespaces") {
            self.namespace.clone_from(&self.name);
        }
        self.object = Some(object);
        self.old = old;
        self
    }
}

/// The options in the query of a write, as the object that they are.
fn options(operation: Operation, query: &Query) -> Value {
    let kind = match operation {
        Operation::Create => "CreateOptions",
        // A patch is an update by then.
        Operation::Update => "UpdateOptions",
        // Deletions say theirs themselves.
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    let dry_run: Vec<&str> = query.all("dryRun").collect();
    if !dry_run.is_empty() {
        options["dryRun"] = json!(dry_run);
    }
    for name in ["fieldManager", "fieldValidation"] {
        if let Some(value) = query.get(name) {
            options[name] = json!(value);
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_what_the_query_says() {
        let query = Query::parse("dryRun=All&fieldManager=me&force=true&fieldValidation=Strict");
        for (operation, kind) in [(Operation::Create, "CreateOptions"), (Operation::Update, "UpdateOptions")]
        {
            let expected = json!({"apiVersion": "meta.k8s.io/v1", "kind": kind, "dryRun": ["All"],
                "fieldManager": "me", "fieldValidation": "Strict"});
            assert_eq!(options(operation, &query), expected);
        }
        assert_eq!(options(Operation::Connect, &query), Value::Null);
    }
}
