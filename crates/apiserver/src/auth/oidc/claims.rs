//! From the claims of a verified token to a user, by Kubernetes' rules. Pure.

use serde_json::Value;

use super::{Mapping, OidcIssuer, Rule, Source};
use crate::config::User;

/// How long after its end a token is still accepted, seconds: clocks of small machines drift. Kubernetes knows no such
/// time; it is as long as for tokens of service accounts.
const SKEW: f64 = 60.0;
/// How long before its beginning a token is accepted, seconds, as in Kubernetes.
const EARLY: f64 = 300.0;

/// The user, or why the token is not accepted.
pub fn user(issuer: &OidcIssuer, claims: &Value, now: i64) -> Result<User, String> {
    valid(issuer, claims, now as f64)?;
    let mut user = User {
        name: match &issuer.username {
            Source::Claim(mapping) => name(mapping, claims)?,
            Source::Expression(expression) => expression.one(claims)?,
        },
        groups: match &issuer.groups {
            Some(Source::Claim(mapping)) => groups(mapping, claims)?,
            Some(Source::Expression(expression)) => expression.many(claims)?,
            None => Vec::new(),
        },
        uid: match &issuer.uid {
            Some(Source::Claim(mapping)) => text(mapping, claims, "uid")?.to_owned(),
            Some(Source::Expression(expression)) => expression.one(claims)?,
            None => String::new(),
        },
        ..User::default()
    };
    for (key, expression) in &issuer.extra {
        let values = expression.many(claims)?;
        if !values.is_empty() {
            user.extra.insert(key.clone(), values);
        }
    }
    if user.name.is_empty() {
        return Err("the name that its claims make is empty".to_owned());
    }
    for (claim, wanted) in &issuer.required {
        match claims.get(claim) {
            None => return Err(format!("required claim {claim} not present in ID token")),
            Some(Value::String(found)) if found == wanted => {}
            Some(found) => {
                return Err(format!(
                    "required claim {claim} value does not match. Got = {found}, want = {wanted}"
                ));
            }
        }
    }
    for rule in &issuer.claim_rules {
        keep(rule, rule.expression.holds(claims)?)?;
    }
    for rule in &issuer.user_rules {
        keep(rule, rule.expression.holds_for(&user)?)?;
    }
    Ok(user)
}

fn keep(rule: &Rule, holds: bool) -> Result<(), String> {
    if holds {
        return Ok(());
    }
    Err(format!("validation expression '{}' failed: {}", rule.expression.text(), rule.message))
}

/// Whether it is for us, and for now.
fn valid(issuer: &OidcIssuer, claims: &Value, now: f64) -> Result<(), String> {
    if claims["iss"].as_str() != Some(&issuer.url) {
        return Err(format!("it was issued by {}", claims["iss"]));
    }
    let ours = |audience: &Value| audience.as_str().is_some_and(|a| issuer.audiences.iter().any(|o| o == a));
    let meant = match &claims["aud"] {
        Value::Array(all) => all.iter().any(ours),
        one => ours(one),
    };
    if !meant {
        return Err(format!("expected audience in {:?} got {}", issuer.audiences, claims["aud"]));
    }
    let end = claims["exp"].as_f64().ok_or("it has no end (exp)")?;
    if now >= end + SKEW {
        return Err(format!("token is expired: {} s ago", now - end));
    }
    if let Some(start) = claims["nbf"].as_f64()
        && now + EARLY < start
    {
        return Err(format!("it is valid in {} s only: is the clock of this machine right?", start - now));
    }
    Ok(())
}

/// The text of a claim, which has to be there.
fn text<'a>(mapping: &Mapping, claims: &'a Value, what: &str) -> Result<&'a str, String> {
    let claim = &mapping.claim;
    let found =
        claims.get(claim).ok_or_else(|| format!("parse {what} claim {claim:?}: claim not present"))?;
    found.as_str().ok_or_else(|| format!("parse {what} claim {claim:?}: it is no string"))
}

fn name(mapping: &Mapping, claims: &Value) -> Result<String, String> {
    let claim = &mapping.claim;
    let name = text(mapping, claims, "username")?;
    if name.is_empty() {
        return Err(format!("parse username claim {claim:?}: it is empty"));
    }
    if claim == "email" && claims.get("email_verified").is_some_and(|verified| *verified != true) {
        return Err("email not verified".to_owned());
    }
    Ok(format!("{}{name}", mapping.prefix))
}

/// One group as a string, or a list of them.
fn groups(mapping: &Mapping, claims: &Value) -> Result<Vec<String>, String> {
    let of = |group: &Value| group.as_str().map(|group| format!("{}{group}", mapping.prefix));
    let wrong =
        || format!("parse groups claim {:?}: it is neither a string nor a list of strings", mapping.claim);
    match claims.get(&mapping.claim) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(all)) => all.iter().map(|group| of(group).ok_or_else(wrong)).collect(),
        Some(one) => Ok(vec![of(one).ok_or_else(wrong)?]),
    }
}

#[cfg(test)]
mod tests {
    use dunlin_pki::jws::Algorithm;
    use serde_json::json;

    use super::*;

    fn issuer() -> OidcIssuer {
        let mapping =
            |claim: &str, prefix: &str| Source::Claim(Mapping { claim: claim.into(), prefix: prefix.into() });
        OidcIssuer {
            url: "https://a".into(),
            discovery_url: None,
            ca: None,
            audiences: vec!["us".into()],
            algorithms: vec![Algorithm::Rs256],
            username: mapping("sub", "a:"),
            groups: Some(mapping("roles", "g:")),
            uid: None,
            extra: Vec::new(),
            required: vec![("hd".into(), "home".into())],
            claim_rules: Vec::new(),
            user_rules: Vec::new(),
            cache: None,
        }
    }

    #[test]
    fn claims_become_a_user_or_say_why_not() {
        let good = json!({"iss": "https://a", "aud": ["x", "us"], "exp": 1000, "sub": "jane", "hd": "home",
            "roles": ["one", "two"]});
        let check = |change: Value| {
            let mut claims = good.clone();
            for (name, value) in change.as_object().unwrap() {
                claims[name] = value.clone();
            }
            user(&issuer(), &claims, 900)
        };
        let jane = check(json!({})).unwrap();
        assert_eq!(
            (jane.name.as_str(), jane.groups),
            ("a:jane", vec!["g:one".to_owned(), "g:two".to_owned()])
        );
        assert_eq!(check(json!({"roles": "one", "aud": "us"})).unwrap().groups, ["g:one"]);
        assert_eq!(check(json!({"roles": null})).unwrap().groups, Vec::<String>::new());
        assert!(check(json!({"exp": 841})).is_ok(), "a clock may be a little off");
        assert!(check(json!({"nbf": 1199.5})).is_ok());
        for (change, words) in [
            (json!({"iss": "https://b"}), "issued by"),
            (json!({"aud": "them"}), "expected audience"),
            (json!({"aud": null}), "expected audience"),
            (json!({"exp": 840}), "expired"),
            (json!({"exp": "soon"}), "no end"),
            (json!({"nbf": 1201}), "clock"),
            (json!({"sub": 7}), "no string"),
            (json!({"sub": ""}), "empty"),
            (json!({"hd": "away"}), "want = home"),
            (json!({"hd": ["home"]}), "want = home"),
            (json!({"roles": [7]}), "roles"),
        ] {
            let told = check(change.clone()).unwrap_err();
            assert!(told.contains(words), "{change}: {told}");
        }
    }

    #[test]
    fn an_address_that_is_not_verified_is_nobodys() {
        let mut issuer = issuer();
        issuer.required.clear();
        issuer.username = Source::Claim(Mapping { claim: "email".into(), prefix: String::new() });
        let claims = |verified: Value| json!({"iss": "https://a", "aud": "us", "exp": 10, "email": "j@a", "email_verified": verified});
        assert_eq!(user(&issuer, &claims(json!(true)), 0).unwrap().name, "j@a");
        assert!(user(&issuer, &claims(json!(false)), 0).is_err());
        assert!(user(&issuer, &claims(json!("true")), 0).is_err());
        let mut silent = claims(json!(true));
        silent.as_object_mut().unwrap().remove("email_verified");
        assert!(user(&issuer, &silent, 0).is_ok());
    }

    #[test]
    fn expressions_make_users_and_rules_refuse_them() {
        use super::super::{Expression, Gives};
        let rule = |expression| Rule { expression, message: "said so".into() };
        let mut issuer = issuer();
        issuer.required.clear();
        issuer.username =
            Source::Expression(Expression::of_claims("'x:' + claims.sub", Gives::Text).unwrap());
        issuer.groups = Some(Source::Expression(
            Expression::of_claims("claims.roles.map(r, 'g:' + r)", Gives::Texts).unwrap(),
        ));
        issuer.uid = Some(Source::Claim(Mapping { claim: "id".into(), prefix: String::new() }));
        issuer.extra =
            vec![("example.com/team".into(), Expression::of_claims("claims.team", Gives::Texts).unwrap())];
        issuer.claim_rules =
            vec![rule(Expression::of_claims("claims.exp - claims.iat <= 3600", Gives::Bool).unwrap())];
        issuer.user_rules = vec![rule(Expression::of_user("!user.username.endsWith(':root')").unwrap())];
        let claims = |sub: &str, iat: i64| {
            json!({"iss": "https://a", "aud": "us", "exp": 5000, "iat": iat, "sub": sub,
            "roles": ["one"], "id": "7", "team": "red"})
        };
        let jane = user(&issuer, &claims("jane", 4000), 4500).unwrap();
        assert_eq!(
            (jane.name.as_str(), jane.uid.as_str(), jane.groups),
            ("x:jane", "7", vec!["g:one".to_owned()])
        );
        assert_eq!(jane.extra["example.com/team"], ["red"]);
        assert!(user(&issuer, &claims("root", 4000), 4500).unwrap_err().contains("said so"));
        assert!(user(&issuer, &claims("jane", 0), 4500).unwrap_err().contains("claims.exp - claims.iat"));
    }
}
