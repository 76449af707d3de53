//! How fast a size may change: the recommendations and changes of the last while, and the limits made from them.

use serde_json::Value;

use crate::controllers::common::Conditions;

/// What an autoscaler remembers from plan to plan: times (seconds since the epoch) with numbers of replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    recommended: Vec<(i64, i32)>,
    added: Vec<(i64, i32)>,
    removed: Vec<(i64, i32)>,
}

/// The longest that anything is remembered for: the longest stabilisation window that the API allows, in seconds.
const LONGEST: i64 = 3600;
/// How long a lower recommendation has to last before it is followed, unless the autoscaler says otherwise, in seconds.
const DOWN_WINDOW: i64 = 300;

/// Between which sizes it may be, and where it is.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub current: i32,
    pub least: i32,
    pub most: i32,
    pub now: i64,
}

impl History {
    /// What there was before anything is known: the size as it is.
    pub fn starting(current: i32, now: i64) -> Self {
        Self { recommended: vec![(now, current)], ..Self::default() }
    }

    pub fn resized(&mut self, from: i32, to: i32, now: i64) {
        match to > from {
            true => self.added.push((now, to - from)),
            false => self.removed.push((now, from - to)),
        }
    }

    /// The size to take when `desired` is recommended.
    pub fn normalise(
        &mut self,
        behavior: Option<&Value>,
        desired: i32,
        limits: Limits,
        conditions: &mut Conditions,
    ) -> i32 {
        let now = limits.now;
        for list in [&mut self.recommended, &mut self.added, &mut self.removed] {
            list.retain(|(at, _)| now - at <= LONGEST);
        }
        let stable = self.stabilise(behavior, desired, limits, conditions);
        self.recommended.push((now, desired));
        let (size, limited) = self.limit(behavior, stable, limits);
        let (is_limited, reason, text) = match limited {
            Some((reason, text)) => (true, reason, text),
            None => (false, "DesiredWithinRange", "the desired count is within the acceptable range"),
        };
        conditions.set("ScalingLimited", is_limited, reason, text, now, false);
        size
    }

    /// Goes up only as far as all recommendations of the window said, and down likewise.
    fn stabilise(
        &self,
        behavior: Option<&Value>,
        desired: i32,
        limits: Limits,
        conditions: &mut Conditions,
    ) -> i32 {
        let Limits { current, now, .. } = limits;
        let window = |direction: &str, default: i64| {
            let rules =
                behavior.and_then(|behavior| behavior[direction]["stabilizationWindowSeconds"].as_i64());
            let since = now - rules.unwrap_or(default);
            self.recommended.iter().filter(move |(at, _)| *at > since).map(|(_, size)| *size)
        };
        let up = window("scaleUp", 0).fold(desired, i32::min);
        let down = window("scaleDown", DOWN_WINDOW).fold(desired, i32::max);
        let stable = current.max(up).min(down);
        let (reason, text) = if stable == desired {
            ("ReadyForNewScale", "recommended size matches current size")
        } else if desired > stable {
            (
                "ScaleUpStabilized",
                "recent recommendations were lower than current one, applying the lowest recent recommendation",
            )
        } else {
            (
                "ScaleDownStabilized",
                "recent recommendations were higher than current one, applying the highest recent recommendation",
            )
        };
        conditions.set("AbleToScale", true, reason, text, now, false);
        stable
    }

    /// Keeps the size in its range and the change as slow as the policies ask; tells what limited it.
    fn limit(
        &self,
        behavior: Option<&Value>,
        desired: i32,
        limits: Limits,
    ) -> (i32, Option<(&'static str, &'static str)>) {
        let Limits { current, least, most, now } = limits;
        let fast_up =
            ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
        let fast_down =
            ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
        let many = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
        let few = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
        // Without rules of its own it may double, or go to four.
        let rate_up = match behavior {
            None => current.saturating_mul(2).max(4),
            Some(behavior) => self.up_to(&behavior["scaleUp"], current, now).max(current),
        };
        let rate_down = match behavior {
            None => i32::MIN,
            Some(behavior) => self.down_to(&behavior["scaleDown"], current, now).min(current),
        };
        let (top, above) = if most > rate_up { (rate_up, fast_up) } else { (most, many) };
        let (bottom, below) = if least < rate_down { (rate_down, fast_down) } else { (least, few) };
        if desired > top {
            (top, Some(above))
        } else if desired < bottom {
            (bottom, Some(below))
        } else {
            (desired, None)
        }
    }

    /// The size at the beginning of a policy's period.
    fn before(&self, policy: &Value, current: i32, now: i64) -> i32 {
        let since = now - policy["periodSeconds"].as_i64().unwrap_or(15);
        let sum =
            |list: &[(i64, i32)]| list.iter().filter(|(at, _)| *at > since).map(|(_, n)| *n).sum::<i32>();
        current - sum(&self.added) + sum(&self.removed)
    }

    fn up_to(&self, rules: &Value, current: i32, now: i64) -> i32 {
        let sizes = policies(rules).map(|policy| {
            let start = self.before(policy, current, now);
            let value = amount(policy);
            match policy["type"] == "Percent" {
                true => (f64::from(start) * (1.0 + f64::from(value) / 100.0)).ceil() as i32,
                false => start.saturating_add(value),
            }
        });
        match rules["selectPolicy"].as_str() {
            Some("Disabled") => current,
            Some("Min") => sizes.min().unwrap_or(current),
            _ if rules.is_null() => current.saturating_mul(2).max(current.saturating_add(4)),
            _ => sizes.max().unwrap_or(current),
        }
    }

    fn down_to(&self, rules: &Value, current: i32, now: i64) -> i32 {
        let sizes = policies(rules).map(|policy| {
            let start = self.before(policy, current, now);
            let value = amount(policy);
            match policy["type"] == "Percent" {
                true => (f64::from(start) * (1.0 - f64::from(value) / 100.0)) as i32,
                false => start.saturating_sub(value),
            }
        });
        match rules["selectPolicy"].as_str() {
            Some("Disabled") => current,
            Some("Min") => sizes.max().unwrap_or(current),
            _ if rules.is_null() => i32::MIN,
            _ => sizes.min().unwrap_or(current),
        }
    }
}

fn policies(rules: &Value) -> impl Iterator<Item = &Value> {
    rules["policies"].as_array().into_iter().flatten()
}

fn amount(policy: &Value) -> i32 {
    policy["value"].as_i64().and_then(|value| i32::try_from(value).ok()).unwrap_or(i32::MAX)
}
