//! What extends the API: webhooks, admission policies, custom resources, aggregated APIs, flow control.

use super::core::service_port;
use super::fill::{Object, at, child, ensure, has, items, set, set_number, set_text, text};

pub(super) fn apply(kind: &str, object: &mut Object) {
    match kind {
        "MutatingWebhookConfiguration" => {
            for webhook in items(object, "webhooks") {
                webhook_defaults(webhook);
                set(webhook, "reinvocationPolicy", "Never");
            }
        }
        "ValidatingWebhookConfiguration" => items(object, "webhooks").for_each(webhook_defaults),
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => {
            let Some(spec) = ensure(object, "spec") else { return };
            set(spec, "failurePolicy", "Fail");
            if let Some(constraints) = child(spec, "matchConstraints") {
                match_resources(constraints);
            }
        }
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => {
            if let Some(resources) = at(object, &["spec", "matchResources"]) {
                match_resources(resources);
            }
        }
        "CustomResourceDefinition" => custom_resource(object),
        "APIService" => {
            if let Some(service) = at(object, &["spec", "service"]) {
                service_port(service);
            }
        }
        "FlowSchema" => {
            if let Some(spec) = ensure(object, "spec") {
                set_number(spec, "matchingPrecedence", 1000);
            }
        }
        "PriorityLevelConfiguration" => priority_level(object),
        _ => {}
    }
}

fn webhook_defaults(webhook: &mut Object) {
    set(webhook, "failurePolicy", "Fail");
    set(webhook, "matchPolicy", "Equivalent");
    set(webhook, "namespaceSelector", Object::new());
    set(webhook, "objectSelector", Object::new());
    set(webhook, "timeoutSeconds", 10);
    if let Some(service) = at(webhook, &["clientConfig", "service"]) {
        service_port(service);
    }
    for rule in items(webhook, "rules") {
        set(rule, "scope", "*");
    }
}

fn match_resources(resources: &mut Object) {
    set(resources, "matchPolicy", "Equivalent");
    set(resources, "namespaceSelector", Object::new());
    set(resources, "objectSelector", Object::new());
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in items(resources, list) {
            set(rule, "scope", "*");
        }
    }
}

fn custom_resource(object: &mut Object) {
    let Some(spec) = ensure(object, "spec") else { return };
    if let Some(names) = child(spec, "names") {
        let kind = text(names, "kind").to_owned();
        if !kind.is_empty() {
            set_text(names, "singular", &kind.to_lowercase());
            set_text(names, "listKind", &format!("{kind}List"));
        }
    }
    if let Some(conversion) = ensure(spec, "conversion") {
        set_text(conversion, "strategy", "None");
        if let Some(service) = at(conversion, &["webhook", "clientConfig", "service"]) {
            service_port(service);
        }
    }
}

fn priority_level(object: &mut Object) {
    let Some(spec) = child(object, "spec") else { return };
    if let Some(exempt) = child(spec, "exempt") {
        set(exempt, "nominalConcurrencyShares", 0);
        set(exempt, "lendablePercent", 0);
    }
    if let Some(limited) = child(spec, "limited") {
        set(limited, "nominalConcurrencyShares", 30);
        set(limited, "lendablePercent", 0);
        if let Some(response) = child(limited, "limitResponse")
            && has(response, "queuing")
            && let Some(queuing) = child(response, "queuing")
        {
            set_number(queuing, "handSize", 8);
            set_number(queuing, "queues", 64);
            set_number(queuing, "queueLengthLimit", 50);
        }
    }
}
