//! Which requests a webhook or a policy is about: rules, selectors, and other versions of the same resource.

use std::sync::Arc;

use dunlin_api::gvk::GroupVersionKind;
use dunlin_api::selector::LabelSelector;
use serde_json::Value;

use crate::admission::attributes::{Attributes, Operation};
use crate::failure::{Failure, Result};
use crate::handlers::convert;
use crate::object::{at, list, text};
use crate::resources::{Resource, known};
use crate::server::Inner;

/// `RuleWithOperations`, and `NamedRuleWithOperations` of policies. Lists that hold `*` match everything.
#[derive(Debug)]
struct Rule {
    operations: Box<[Box<str>]>,
    groups: Box<[Box<str>]>,
    versions: Box<[Box<str>]>,
    /// Plural and subresource. A resource without a subresource is not its subresources.
    resources: Box<[(Box<str>, Box<str>)]>,
    /// Only these objects, if there are any.
    names: Box<[Box<str>]>,
    scope: Scope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Any,
    Cluster,
    Namespaced,
}

/// What a webhook, a policy or a binding is about.
#[derive(Debug)]
pub struct Matcher {
    rules: Box<[Rule]>,
    excluded: Box<[Rule]>,
    /// Whether to match where there are no rules at all.
    without_rules: bool,
    /// Whether a rule for another version of the resource matches, too.
    equivalent: bool,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

/// The form in which what matched is to be shown: the version of the resource that the rule names.
#[derive(Debug, Clone)]
pub struct Form {
    pub resource: Arc<Resource>,
    pub kind: GroupVersionKind,
}

impl Form {
    /// The form in which the request came.
    pub fn of(asked: &Attributes<'_>) -> Self {
        Self { resource: asked.resource.clone(), kind: asked.kind.clone() }
    }

    /// An object of the request in this form.
    pub async fn show(&self, server: &Inner, asked: &Attributes<'_>, value: &Value) -> Result<Value> {
        if self.kind == asked.kind {
            return Ok(value.clone());
        }
        between(server, &asked.resource, &self.resource, value.clone()).await
    }

    /// An object in this form as the request has it.
    pub async fn restore(&self, server: &Inner, asked: &Attributes<'_>, value: Value) -> Result<Value> {
        if self.kind == asked.kind {
            return Ok(value);
        }
        between(server, &self.resource, &asked.resource, value).await
    }
}

async fn between(server: &Inner, from: &Resource, to: &Resource, value: Value) -> Result<Value> {
    convert::shown(server, to, convert::stored(server, from, value).await?).await
}

impl Matcher {
    /// Of a webhook, which matches nothing without rules.
    pub fn of_webhook(webhook: &Value) -> Self {
        Self::of(webhook, "rules", false)
    }

    /// Of the `MatchResources` of a policy or a binding, which match everything without rules.
    pub fn of_resources(resources: &Value) -> Self {
        Self::of(resources, "resourceRules", true)
    }

    /// Reads what has been checked.
    fn of(value: &Value, rules: &str, without_rules: bool) -> Self {
        let read = |field: &str| list(value, &[field]).iter().map(Rule::of).collect();
        let selector = |field: &str| match at(value, &[field]) {
            Some(selector) => {
                LabelSelector::from_value(selector).unwrap_or_else(|_| LabelSelector::nothing())
            }
            None => LabelSelector::everything(),
        };
        Self {
            rules: read(rules),
            excluded: read("excludeResourceRules"),
            without_rules,
            equivalent: text(value, &["matchPolicy"]) != "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// Whether a request is meant, and in which form.
    ///
    /// # Errors
    /// When its namespace has to be looked at and is not there.
    pub async fn matches(&self, server: &Inner, asked: &Attributes<'_>) -> Result<Option<Form>> {
        if !self.selects_object(asked) || self.find(server, &self.excluded, asked).is_some() {
            return Ok(None);
        }
        let form = match self.rules.is_empty() && self.without_rules {
            true => Some(Form::of(asked)),
            false => self.find(server, &self.rules, asked),
        };
        match form {
            Some(form) if self.selects_namespace(server, asked).await? => Ok(Some(form)),
            _ => Ok(None),
        }
    }

    fn find(&self, server: &Inner, rules: &[Rule], asked: &Attributes<'_>) -> Option<Form> {
        if rules.iter().any(|rule| rule.matches(asked, &asked.resource)) {
            return Some(Form::of(asked));
        }
        // Most requests are of another resource than all rules, whatever the version.
        if !self.equivalent || !rules.iter().any(|rule| rule.matches_beside_version(asked)) {
            return None;
        }
        let all = server.custom.all();
        let others = || all.iter().filter(|r| r.stored == asked.resource.stored);
        let found = rules.iter().find_map(|rule| others().find(|other| rule.matches(asked, other)))?;
        let kind = match found.sub(&asked.sub) {
            Some(sub) => GroupVersionKind::new(&*sub.group, &*sub.version, &*sub.kind),
            None => found.gvk(),
        };
        Some(Form { resource: found.clone(), kind })
    }

    /// Either state of the object will do; what has no labels at all is not selected by a selector that asks for any.
    fn selects_object(&self, asked: &Attributes<'_>) -> bool {
        if self.objects.is_everything() {
            return true;
        }
        let selected = |value: Option<&Value>| {
            value
                .and_then(|value| at(value, &["metadata"]))
                .is_some_and(|meta| self.objects.matches(at(meta, &["labels"]).unwrap_or(&Value::Null)))
        };
        selected(asked.object.as_deref()) || selected(asked.old)
    }

    async fn selects_namespace(&self, server: &Inner, asked: &Attributes<'_>) -> Result<bool> {
        if self.namespaces.is_everything() {
            return Ok(true);
        }
        let labels = |namespace: &Value| {
            self.namespaces.matches(at(namespace, &["metadata", "labels"]).unwrap_or(&Value::Null))
        };
        let itself = asked.resource.is("", "namespaces");
        match (&asked.object, asked.operation) {
            (Some(object), Operation::Create | Operation::Update) if itself && asked.sub.is_empty() => {
                return Ok(labels(object));
            }
            _ if asked.namespace.is_empty() => return Ok(true),
            _ => {}
        }
        let resource = known("", "namespaces");
        match server.find(resource, "", &asked.namespace).await? {
            Some(found) => Ok(labels(&found.value)),
            None => Err(Failure::not_found(resource, &asked.namespace)),
        }
    }
}

impl Rule {
    fn of(value: &Value) -> Self {
        let texts = |field: &str| -> Box<[Box<str>]> {
            list(value, &[field]).iter().filter_map(Value::as_str).map(Into::into).collect()
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources")
                .iter()
                .map(|name| name.split_once('/').unwrap_or((name, "")))
                .map(|(name, sub)| (name.into(), sub.into()))
                .collect(),
            names: texts("resourceNames"),
            scope: match text(value, &["scope"]) {
                "Cluster" => Scope::Cluster,
                "Namespaced" => Scope::Namespaced,
                _ => Scope::Any,
            },
        }
    }

    /// Whether the rule is about a request, were it for `resource`.
    fn matches(&self, asked: &Attributes<'_>, resource: &Resource) -> bool {
        let one = |all: &[Box<str>], value: &str| all.iter().any(|a| &**a == "*" || &**a == value);
        // A namespace is no part of itself.
        let namespaced = !asked.namespace.is_empty() && !asked.resource.is("", "namespaces");
        let in_scope = match self.scope {
            Scope::Any => true,
            Scope::Cluster => !namespaced,
            Scope::Namespaced => namespaced,
        };
        in_scope
            && one(&self.operations, asked.operation.name())
            && one(&self.groups, &resource.group)
            && one(&self.versions, &resource.version)
            && self.is_about(asked, &resource.plural)
    }

    /// As [`Rule::matches`], for some group and version.
    fn matches_beside_version(&self, asked: &Attributes<'_>) -> bool {
        self.operations.iter().any(|o| &**o == "*" || &**o == asked.operation.name())
            && self.is_about(asked, &asked.resource.plural)
    }

    fn is_about(&self, asked: &Attributes<'_>, plural: &str) -> bool {
        let named =
            |name: &str, sub: &str| (name == "*" || name == plural) && (sub == "*" || sub == asked.sub);
        self.resources.iter().any(|(name, sub)| named(name, sub))
            && (self.names.is_empty() || self.names.iter().any(|name| **name == asked.name))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::json;

    use super::*;
    use crate::config::User;
    use crate::resources::find;

    /// A request: `CREATE pods/exec in ns`, without a namespace `CREATE nodes`.
    fn asked(words: &str) -> Attributes<'static> {
        let mut words = words.split(' ');
        let mut next = || words.next().unwrap_or("");
        let operation = match next() {
            "CREATE" => Operation::Create,
            "UPDATE" => Operation::Update,
            "DELETE" => Operation::Delete,
            _ => Operation::Connect,
        };
        let (plural, sub) = next().split_once('/').unwrap();
        let resource = ["", "apps", "autoscaling"]
            .iter()
            .find_map(|group| find(group, if *group == "autoscaling" { "v2" } else { "v1" }, plural))
            .unwrap();
        Attributes {
            operation,
            resource: resource.clone(),
            sub: sub.to_owned(),
            kind: resource.gvk(),
            name: "n".to_owned(),
            namespace: next().to_owned(),
            user: User::default(),
            object: None,
            old: None,
            dry_run: false,
            options: Value::Null,
        }
    }

    fn rule(operations: &str, group: &str, version: &str, resources: &str, scope: &str) -> Rule {
        let texts = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        Rule::of(
            &json!({"operations": texts(operations), "apiGroups": texts(group), "apiVersions": texts(version),
            "resources": texts(resources), "scope": scope}),
        )
    }

    #[test]
    fn a_rule_is_about_what_it_names() {
        for (request, rule, expected) in [
            ("CREATE pods/ ns", rule("CREATE", "", "v1", "pods", "*"), true),
            ("UPDATE pods/ ns", rule("CREATE", "", "v1", "pods", "*"), false),
            ("UPDATE pods/ ns", rule("*", "*", "*", "*", "*"), true),
            ("UPDATE pods/status ns", rule("*", "*", "*", "*", "*"), false),
            ("UPDATE pods/status ns", rule("*", "*", "*", "*/*", "*"), true),
            ("UPDATE pods/ ns", rule("*", "*", "*", "*/*", "*"), true),
            ("UPDATE pods/status ns", rule("*", "*", "*", "*/status", "*"), true),
            ("UPDATE pods/status ns", rule("*", "*", "*", "pods/*", "*"), true),
            ("UPDATE pods/ ns", rule("*", "*", "*", "pods/*", "*"), true),
            ("CONNECT pods/exec ns", rule("CONNECT", "", "v1", "pods/exec", "*"), true),
            ("CONNECT pods/attach ns", rule("CONNECT", "", "v1", "pods/exec", "*"), false),
            ("CREATE pods/ ns", rule("*", "apps", "*", "*", "*"), false),
            ("CREATE pods/ ns", rule("*", "", "v2", "*", "*"), false),
            ("CREATE pods/ ns", rule("*", "*", "*", "*", "Cluster"), false),
            ("CREATE pods/ ns", rule("*", "*", "*", "*", "Namespaced"), true),
            ("CREATE nodes/", rule("*", "*", "*", "*", "Cluster"), true),
            ("CREATE nodes/", rule("*", "*", "*", "*", "Namespaced"), false),
            ("UPDATE namespaces/ ns", rule("*", "*", "*", "*", "Cluster"), true),
            ("UPDATE namespaces/ ns", rule("*", "*", "*", "*", "Namespaced"), false),
        ] {
            let asked = asked(request);
            assert_eq!(rule.matches(&asked, &asked.resource), expected, "{request} {rule:?}");
        }
    }

    #[test]
    fn a_rule_about_names_is_about_no_others() {
        let of = |name: &str| {
            let mut rule = rule("*", "*", "*", "*", "*");
            rule.names = Box::new([name.into()]);
            let asked = asked("UPDATE pods/ ns");
            rule.matches(&asked, &asked.resource)
        };
        assert!(of("n") && !of("m"));
    }

    #[test]
    fn either_state_of_an_object_is_selected() {
        let matcher = Matcher::of_webhook(&json!({"objectSelector": {"matchLabels": {"a": "b"}}}));
        let (with, without) =
            (json!({"metadata": {"labels": {"a": "b"}}}), json!({"metadata": {"labels": {"a": "c"}}}));
        let selected = |object: Option<&Value>, old: Option<&Value>| {
            let object = object.cloned().map(Cow::Owned);
            let old = old.map(|old| &*Box::leak(Box::new(old.clone())));
            matcher.selects_object(&Attributes { object, old, ..asked("UPDATE pods/ ns") })
        };
        assert!(selected(Some(&with), Some(&without)));
        assert!(selected(Some(&without), Some(&with)));
        assert!(selected(None, Some(&with)));
        assert!(!selected(Some(&without), Some(&without)));
        assert!(!selected(Some(&json!({"kind": "PodExecOptions"})), None));
    }

    #[test]
    fn what_selects_by_the_lack_of_labels_means_no_object_without_metadata() {
        let matcher = Matcher::of_webhook(
            &json!({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}}),
        );
        let about =
            |object: Value| Attributes { object: Some(Cow::Owned(object)), ..asked("CREATE pods/ ns") };
        assert!(matcher.selects_object(&about(json!({"metadata": {}}))));
        assert!(!matcher.selects_object(&about(json!({"kind": "PodExecOptions"}))));
    }
}
