//! The file `--authentication-config`: several issuers of tokens, with expressions over their claims
//! (`apiserver.config.k8s.io` `AuthenticationConfiguration`, KEP-3331).

use std::path::Path;

use dunlin_apiserver::{Expression, Gives, Mapping, OidcIssuer, Rule, Source};
use dunlin_pki::jws::Algorithm;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::error::Error;

/// The largest file that is read, bytes.
const LARGEST: u64 = 1 << 20;
const VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    api_version: String,
    kind: String,
    #[serde(default)]
    jwt: Vec<Spanned<RawJwt>>,
    #[serde(default)]
    anonymous: Option<RawAnonymous>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawAnonymous {
    enabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawJwt {
    issuer: RawIssuer,
    #[serde(default)]
    claim_validation_rules: Vec<RawRule>,
    claim_mappings: RawMappings,
    #[serde(default)]
    user_validation_rules: Vec<RawRule>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct RawIssuer {
    url: String,
    #[serde(rename = "discoveryURL")]
    discovery_url: Option<String>,
    certificate_authority: Option<String>,
    audiences: Vec<String>,
    audience_match_policy: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct RawRule {
    claim: Option<String>,
    required_value: Option<String>,
    expression: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMappings {
    username: RawMapping,
    #[serde(default)]
    groups: RawMapping,
    #[serde(default)]
    uid: RawMapping,
    #[serde(default)]
    extra: Vec<RawExtra>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct RawMapping {
    claim: Option<String>,
    prefix: Option<String>,
    expression: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawExtra {
    key: String,
    value_expression: String,
}

/// Reads the issuers of a file.
///
/// # Errors
/// When it cannot be read, or says something that cannot be followed; the message names the line and the field.
pub fn read(path: &Path) -> Result<Vec<OidcIssuer>, Error> {
    let wrong = |why: String| {
        Error::Input(format!("the authentication configuration {} is wrong: {why}", path.display()))
    };
    if std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len() > LARGEST {
        return Err(wrong(format!("it is larger than {LARGEST} bytes")));
    }
    parse(&std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?).map_err(wrong)
}

fn parse(text: &str) -> Result<Vec<OidcIssuer>, String> {
    let raw: Raw = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    if !VERSIONS.contains(&raw.api_version.as_str()) || raw.kind != "AuthenticationConfiguration" {
        return Err(format!("it has to be an AuthenticationConfiguration of {}", VERSIONS[0]));
    }
    if raw.anonymous.is_some_and(|anonymous| anonymous.enabled) {
        return Err("anonymous.enabled: requests of nobody are never let in here: write false".to_owned());
    }
    let mut issuers: Vec<OidcIssuer> = Vec::new();
    for (i, jwt) in raw.jwt.into_iter().enumerate() {
        let line = jwt.referenced.line();
        let issuer = issuer(jwt.value).map_err(|why| format!("line {line}: jwt[{i}].{why}"))?;
        if issuers.iter().any(|other| other.url == issuer.url) {
            return Err(format!("line {line}: jwt[{i}].issuer.url: Duplicate value: {:?}", issuer.url));
        }
        issuers.push(issuer);
    }
    Ok(issuers)
}

fn issuer(raw: RawJwt) -> Result<OidcIssuer, String> {
    let given = raw.issuer;
    for (field, url) in [("url", Some(&given.url)), ("discoveryURL", given.discovery_url.as_ref())] {
        if url.is_some_and(|url| !url.starts_with("https://")) {
            return Err(format!("issuer.{field}: Invalid value: {url:?}: URL scheme must be https"));
        }
    }
    if given.audiences.is_empty() {
        return Err("issuer.audiences: Required value: at least one audience is required".to_owned());
    }
    match given.audience_match_policy.as_deref() {
        Some("MatchAny") => {}
        None if given.audiences.len() == 1 => {}
        other => {
            return Err(format!(
                "issuer.audienceMatchPolicy: Invalid value: {:?}: must be MatchAny for multiple audiences",
                other.unwrap_or("")
            ));
        }
    }
    if let Some(pem) = &given.certificate_authority
        && dunlin_pki::tls::certificates(pem).map_or(true, |found| found.is_empty())
    {
        return Err("issuer.certificateAuthority: it holds no certificate in PEM form".to_owned());
    }
    let (mut required, mut claim_rules) = (Vec::new(), Vec::new());
    for (i, rule) in raw.claim_validation_rules.into_iter().enumerate() {
        let place = format!("claimValidationRules[{i}]");
        match (rule.claim, rule.expression) {
            (Some(claim), None) => required.push((claim, rule.required_value.unwrap_or_default())),
            (None, Some(text)) => {
                let expression = Expression::of_claims(&text, Gives::Bool);
                let expression = expression.map_err(|e| format!("{place}.expression: {e}"))?;
                claim_rules.push(Rule { expression, message: rule.message.unwrap_or_default() });
            }
            _ => {
                return Err(format!(
                    "{place}: Invalid value: exactly one of claim and expression has to be given"
                ));
            }
        }
    }
    let mut user_rules = Vec::new();
    for (i, rule) in raw.user_validation_rules.into_iter().enumerate() {
        let text =
            rule.expression.ok_or_else(|| format!("userValidationRules[{i}].expression: Required value"))?;
        let expression =
            Expression::of_user(&text).map_err(|e| format!("userValidationRules[{i}].expression: {e}"))?;
        user_rules.push(Rule { expression, message: rule.message.unwrap_or_default() });
    }
    let mappings = raw.claim_mappings;
    let mut extra = Vec::new();
    for (i, one) in mappings.extra.into_iter().enumerate() {
        let expression = Expression::of_claims(&one.value_expression, Gives::Texts);
        let expression = expression.map_err(|e| format!("claimMappings.extra[{i}].valueExpression: {e}"))?;
        extra.push((one.key, expression));
    }
    let username = source(mappings.username, "username", Gives::Text)?
        .ok_or("claimMappings.username: Required value: claim or expression is required")?;
    verified(&username, &extra, &claim_rules)?;
    Ok(OidcIssuer {
        url: given.url,
        discovery_url: given.discovery_url,
        ca: given.certificate_authority.map(String::into_bytes),
        audiences: given.audiences,
        // Kubernetes takes all that it knows, too, when a file says nothing of them.
        algorithms: Algorithm::NAMES.iter().map(|(_, algorithm)| *algorithm).collect(),
        username,
        groups: source(mappings.groups, "groups", Gives::Texts)?,
        uid: source(mappings.uid, "uid", Gives::Text)?,
        extra,
        required,
        claim_rules,
        user_rules,
        cache: None,
    })
}

fn source(raw: RawMapping, field: &str, gives: Gives) -> Result<Option<Source>, String> {
    let place = format!("claimMappings.{field}");
    match (raw.claim, raw.expression) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(format!("{place}: Invalid value: claim and expression can't both be set")),
        (Some(claim), None) => match (raw.prefix, field) {
            (Some(prefix), _) => Ok(Some(Source::Claim(Mapping { claim, prefix }))),
            (None, "uid") => Ok(Some(Source::Claim(Mapping { claim, prefix: String::new() }))),
            (None, _) => Err(format!(
                "{place}.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing"
            )),
        },
        (None, Some(_)) if raw.prefix.is_some() => {
            Err(format!("{place}.prefix: Invalid value: prefix can't be set when expression is set"))
        }
        (None, Some(text)) => {
            let expression = Expression::of_claims(&text, gives);
            Ok(Some(Source::Expression(expression.map_err(|e| format!("{place}.expression: {e}"))?)))
        }
    }
}

/// An address that nobody has verified must not become a name by an oversight.
fn verified(username: &Source, extra: &[(String, Expression)], rules: &[Rule]) -> Result<(), String> {
    let Source::Expression(name) = username else { return Ok(()) };
    let looks =
        |text: &str| text.contains("claims.email_verified") || text.contains("claims.?email_verified");
    let uses_address = name.text().replace("claims.email_verified", "").contains("claims.email");
    let seen = looks(name.text())
        || extra.iter().any(|(_, expression)| looks(expression.text()))
        || rules.iter().any(|rule| looks(rule.expression.text()));
    if !uses_address || seen {
        return Ok(());
    }
    Err("claimMappings.username.expression: Invalid value: claims.email_verified must be used in \
         claimMappings.username.expression or claimMappings.extra[*].valueExpression or \
         claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n";

    fn with(mappings: &str, more: &str) -> String {
        format!("{START}- issuer: {{url: https://a, audiences: [us]}}\n  claimMappings: {mappings}\n{more}")
    }

    #[test]
    fn issuers_are_read_with_their_rules() {
        let text = with(
            "{username: {expression: \"claims.sub + '@a'\"}, groups: {claim: roles, prefix: 'a:'}, uid: {claim: id}, extra: [{key: a/b, valueExpression: claims.team}]}",
            "  claimValidationRules: [{claim: hd, requiredValue: home}, {expression: 'claims.n > 1', message: more}]\n  \
             userValidationRules: [{expression: \"!user.username.startsWith('system:')\", message: no}]\n\
             - issuer: {url: https://b, discoveryURL: https://c/d, audiences: [x, y], audienceMatchPolicy: MatchAny}\n  \
             claimMappings: {username: {claim: sub, prefix: ''}}\n",
        );
        let issuers = parse(&text).unwrap();
        assert_eq!(issuers.iter().map(|i| i.url.as_str()).collect::<Vec<_>>(), ["https://a", "https://b"]);
        assert_eq!(issuers[0].required, [("hd".to_owned(), "home".to_owned())]);
        assert_eq!(
            (issuers[0].claim_rules.len(), issuers[0].user_rules.len(), issuers[0].extra.len()),
            (1, 1, 1)
        );
        assert!(matches!(&issuers[0].username, Source::Expression(e) if e.text() == "claims.sub + '@a'"));
        assert_eq!(issuers[1].discovery_url.as_deref(), Some("https://c/d"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let good = "{username: {claim: sub, prefix: ''}}";
        let refuse = |text: &str, words: &[&str]| {
            let told = parse(text).unwrap_err();
            for word in words {
                assert!(told.contains(word), "{told:?} lacks {word:?}");
            }
        };
        refuse("apiVersion: v1\nkind: AuthenticationConfiguration\n", &["apiserver.config.k8s.io/v1"]);
        refuse(
            &with("{username: {claim: sub}}", ""),
            &["line 4", "jwt[0].claimMappings.username.prefix", "Required"],
        );
        refuse(&with("{username: {}}", ""), &["claimMappings.username"]);
        refuse(&with("{username: {expression: claims.}}", ""), &["username.expression", "ERROR"]);
        refuse(&with("{username: {expression: claims.email}}", ""), &["email_verified"]);
        refuse(
            &with(good, "  claimValidationRules: [{expression: '1'}]\n"),
            &["claimValidationRules[0]", "bool"],
        );
        refuse(&with(good, "  userValidationRules: [{expression: user.x}]\n"), &["userValidationRules[0]"]);
        refuse(&with(good, "  claimRules: []\n"), &["claimRules"]);
        refuse(&with(good, "anonymous: {enabled: true}\n"), &["anonymous"]);
        refuse(&with(good, &with(good, "").replace(START, "")), &["Duplicate", "jwt[1]"]);
        refuse(
            &format!("{START}- issuer: {{url: 'http://a', audiences: [b]}}\n  claimMappings: {good}\n"),
            &["https"],
        );
        refuse(
            &format!("{START}- issuer: {{url: 'https://a', audiences: [b, c]}}\n  claimMappings: {good}\n"),
            &["audienceMatchPolicy"],
        );
    }
}
