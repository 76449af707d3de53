//! Expressions over claims and users (CEL), as `AuthenticationConfiguration` has them. Pure.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use dunlin_api::cel::types::{Field, Object, Type};
use dunlin_api::cel::{Bindings, Budget, Environment, Program, Val, compile};
use serde_json::{Value, json};

use crate::config::User;

/// What the claims are.
static CLAIMS: LazyLock<Type> = LazyLock::new(|| Type::map(Type::Dyn));
/// What a user is (`authentication.k8s.io/v1` `UserInfo`).
static USER: LazyLock<Type> = LazyLock::new(|| {
    let field = |name: &str, ty: Type| (Box::from(name), Field { json: name.into(), ty });
    let text = || Type::String(None);
    Type::Object(Arc::new(Object {
        name: "kubernetes.UserInfo".to_owned(),
        fields: BTreeMap::from([
            field("username", text()),
            field("uid", text()),
            field("groups", Type::list(text())),
            field("extra", Type::map(Type::list(text()))),
        ]),
        open: false,
    }))
});

/// What the value of an expression has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    Bool,
    Text,
    /// A text, a list of texts, or null.
    Texts,
}

/// An expression over the variable `claims` or `user`.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    program: Program,
}

impl Expression {
    /// One over `claims`.
    ///
    /// # Errors
    /// What is wrong with it, with its place.
    pub fn of_claims(text: &str, gives: Gives) -> Result<Self, String> {
        Self::compile(text, gives, "claims", &CLAIMS)
    }

    /// One over `user`.
    ///
    /// # Errors
    /// What is wrong with it, with its place.
    pub fn of_user(text: &str) -> Result<Self, String> {
        Self::compile(text, Gives::Bool, "user", &USER)
    }

    fn compile(text: &str, gives: Gives, variable: &str, ty: &Type) -> Result<Self, String> {
        let environment = Environment::default().with(variable, ty.clone());
        let program = compile(text, &environment).map_err(|issue| issue.print(text))?;
        let (fits, wanted) = match (gives, program.ty()) {
            (_, Type::Dyn) => (true, ""),
            (Gives::Bool, ty) => (matches!(ty, Type::Bool), "must evaluate to bool"),
            (Gives::Text, ty) => (matches!(ty, Type::String(_)), "must evaluate to string"),
            (Gives::Texts, ty) => (
                matches!(ty, Type::String(_) | Type::List(..) | Type::Null),
                "must evaluate to string or list of strings",
            ),
        };
        if fits { Ok(Self { text: text.to_owned(), program }) } else { Err(wanted.to_owned()) }
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn value<'a>(&self, variable: &str, value: &'a Value, ty: &'a Type) -> Result<Val<'a>, String> {
        let given = Val::json(value, ty).map_err(|e| e.to_string())?;
        let mut budget = Budget::new(Budget::CALL);
        let result = self.program.eval(&Bindings::default().with(variable, given), &mut budget);
        result.map_err(|e| format!("expression '{}' resulted in error: {e}", self.text))
    }

    /// The text that it makes of claims.
    pub(super) fn one(&self, claims: &Value) -> Result<String, String> {
        match self.value("claims", claims, &CLAIMS)? {
            Val::Text(text) => Ok(text.into_owned()),
            _ => Err(format!("expression '{}' must return a string", self.text)),
        }
    }

    /// The texts that it makes of claims; empty ones do not count.
    pub(super) fn many(&self, claims: &Value) -> Result<Vec<String>, String> {
        let wrong = || format!("expression '{}' must return a string or a list of strings", self.text);
        let texts = match self.value("claims", claims, &CLAIMS)?.to_json().ok_or_else(wrong)? {
            Value::Null => Vec::new(),
            Value::Array(items) => items,
            one => vec![one],
        };
        let texts = texts.into_iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong));
        texts.filter(|text| text.as_ref().is_ok_and(|text| !text.is_empty()) || text.is_err()).collect()
    }

    /// Whether it holds for claims.
    pub(super) fn holds(&self, claims: &Value) -> Result<bool, String> {
        self.truth(self.value("claims", claims, &CLAIMS)?)
    }

    /// Whether it holds for a user.
    pub(super) fn holds_for(&self, user: &User) -> Result<bool, String> {
        let shown =
            json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        self.truth(self.value("user", &shown, &USER)?)
    }

    fn truth(&self, value: Val<'_>) -> Result<bool, String> {
        match value {
            Val::Bool(holds) => Ok(holds),
            _ => Err(format!("expression '{}' must return a boolean", self.text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_checked_before_they_are_needed() {
        let refuse = |text: &str, gives: Gives, words: &str| {
            let told = Expression::of_claims(text, gives).unwrap_err();
            assert!(told.contains(words), "{text}: {told}");
        };
        refuse("claims.", Gives::Text, "ERROR");
        refuse("nobody.name", Gives::Text, "undeclared reference");
        refuse("1 + 1", Gives::Text, "must evaluate to string");
        refuse("'a'", Gives::Bool, "must evaluate to bool");
        refuse("3", Gives::Texts, "list of strings");
        assert!(Expression::of_user("user.nothing == ''").unwrap_err().contains("nothing"));
        assert!(Expression::of_user("!user.username.startsWith('system:')").is_ok());
    }

    #[test]
    fn claims_make_texts() {
        let claims = json!({"email": "jane@a", "roles": ["one", "", "two"], "role": "three", "n": 3});
        let one = |text: &str| Expression::of_claims(text, Gives::Text).unwrap().one(&claims);
        let many = |text: &str| Expression::of_claims(text, Gives::Texts).unwrap().many(&claims);
        assert_eq!(one("claims.email.split('@')[0]").unwrap(), "jane");
        assert!(one("claims.n").unwrap_err().contains("must return a string"));
        assert!(one("claims.none").unwrap_err().contains("claims.none"));
        assert_eq!(many("claims.roles").unwrap(), ["one", "two"]);
        assert_eq!(many("claims.role + ':x'").unwrap(), ["three:x"]);
        assert_eq!(many("claims.?none.orValue([])").unwrap(), Vec::<String>::new());
        assert!(many("[1]").unwrap_err().contains("list of strings"));
    }
}
