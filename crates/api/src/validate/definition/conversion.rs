//! Who converts between versions: nobody, or a webhook.

use super::super::field::{At, Errors};
use super::super::syntax;

pub(super) fn check(conversion: &At, errors: &mut Errors) {
    if !conversion.is_set() {
        return;
    }
    let (strategy, webhook) = (conversion.get("strategy"), conversion.get("webhook"));
    errors.need_supported(&strategy, &["None", "Webhook"]);
    let config = At {
        path: format!("{}.webhookClientConfig", conversion.path),
        value: webhook.get("clientConfig").value,
    };
    let reviews = At {
        path: format!("{}.conversionReviewVersions", conversion.path),
        value: webhook.get("conversionReviewVersions").value,
    };
    if strategy.text() != "Webhook" {
        for given in [&config, &reviews].into_iter().filter(|at| at.is_set()) {
            errors.forbidden(given, "should not be set when strategy is not set to Webhook");
        }
        return;
    }
    if config.is_set() {
        client(&config, errors);
    } else {
        errors.required(&config, "required when strategy is set to Webhook");
    }
    if reviews.is_empty() {
        errors.required(&reviews, "");
    } else if !reviews.items().iter().any(|v| matches!(v.text(), "v1" | "v1beta1")) {
        errors.invalid(&reviews, "must include at least one of v1, v1beta1");
    }
}

/// Where a webhook is.
fn client(config: &At, errors: &mut Errors) {
    let (url, service) = (config.get("url"), config.get("service"));
    match (url.is_set(), service.is_set()) {
        (true, false) => {
            let host =
                url.text().strip_prefix("https://").map(|rest| rest.split('/').next().unwrap_or_default());
            match host {
                None => errors.invalid_value(
                    &url,
                    url.text().split("://").next().unwrap_or_default(),
                    "'https' is the only allowed URL scheme; desired format: https://host[/path]",
                ),
                Some("") => {
                    errors.invalid(&url, "host must be specified; desired format: https://host[/path]");
                }
                Some(host) if host.contains('@') || url.text().contains(['?', '#']) => errors.invalid(
                    &url,
                    "user information, query and fragment are not permitted; desired format: https://host[/path]",
                ),
                Some(_) => {}
            }
        }
        (false, true) => {
            errors.need(&service.get("name"));
            errors.need(&service.get("namespace"));
            let port = service.get("port");
            if let Some(number) = port.int() {
                errors.complaints(&port, syntax::port_number(number));
            }
        }
        _ => errors.required(config, "exactly one of url or service is required"),
    }
}
