//! Who converts between versions: nobody, or a webhook.

use super::super::field::{At, Errors};
use super::super::webhook;

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
        webhook::client(&config, errors);
    } else {
        errors.required(&config, "required when strategy is set to Webhook");
    }
    if reviews.is_empty() {
        errors.required(&reviews, "");
    } else if !reviews.items().iter().any(|v| matches!(v.text(), "v1" | "v1beta1")) {
        errors.invalid(&reviews, "must include at least one of v1, v1beta1");
    }
}
