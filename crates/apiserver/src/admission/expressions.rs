//! Expressions of policies and of webhooks' match conditions for a request: the rights that they ask for are looked up
//! here, between two evaluations; everything else is `dunlin_api::policy`.

use std::collections::BTreeMap;

use dunlin_api::cel::rights::{Answers, Decision, Question};
use dunlin_api::policy::{Conditions, Input, Matched, Stopped, Variables};
use dunlin_api::selector::FieldSelector;
use serde_json::{Value, json};

use crate::auth;
use crate::auth::service_account;
use crate::config::User;
use crate::failure::{Failure, Result};
use crate::request::Asked;
use crate::server::Inner;

/// Rights that were looked up for one request, so that none is looked up twice.
#[derive(Default)]
pub struct Rights {
    answers: Answers,
}

impl Rights {
    /// Evaluates, looking up for `user` what is asked for, until evaluation comes to an end.
    ///
    /// # Errors
    /// When rights cannot be read.
    pub async fn settle<T, F>(&mut self, server: &Inner, user: &User, evaluate: F) -> Result<T>
    where
        F: Fn(&Answers) -> Result<T, Stopped>,
    {
        loop {
            match evaluate(&self.answers) {
                Ok(done) => return Ok(done),
                Err(Stopped::Unanswered) => {}
                Err(spent) => return Err(Failure::internal(spent)),
            }
            let open = self.answers.take_open();
            if open.is_empty() {
                return Err(Failure::internal("an expression asked for rights and named none"));
            }
            for question in open {
                let decision = decide(server, user, &question).await?;
                self.answers.tell(question, decision);
            }
        }
    }

    /// Whether match conditions mean a request. `variables` are those of the policy; a webhook has none.
    ///
    /// # Errors
    /// When rights cannot be read.
    pub async fn matches(
        &mut self,
        server: &Inner,
        user: &User,
        conditions: &Conditions,
        variables: &Variables,
        input: &Input<'_>,
    ) -> Result<Matched> {
        self.settle(server, user, |answers| conditions.check(input, variables, answers)).await
    }
}

async fn decide(server: &Inner, user: &User, question: &Question) -> Result<Decision> {
    let account = question.account.as_ref().map(|(namespace, name)| User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        groups: service_account::groups(namespace),
        ..User::default()
    });
    let user = account.as_ref().unwrap_or(user);
    let (asked, path) = asked(question);
    if !auth::allowed(server, user, &asked, path).await? {
        return Ok(Decision::default());
    }
    let reason = server.rbac.policy().await?.why(user, &asked, path).unwrap_or_default();
    Ok(Decision { allowed: true, reason, error: String::new() })
}

fn asked(question: &Question) -> (Asked, &str) {
    let asked = Asked::of_verb(&question.verb);
    if let Some(path) = &question.path {
        return (asked, path);
    }
    let own = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
    let node = FieldSelector::parse(&question.fields).ok().and_then(|fields| {
        let wanted = fields.requirements().iter().find(|r| r.field == "spec.nodeName" && !r.negated);
        wanted.map(|r| r.value.clone())
    });
    let asked = Asked {
        is_resource: true,
        group: question.group.clone(),
        version: "*".to_owned(),
        namespace: own(&question.namespace),
        resource: question.resource.clone(),
        name: own(&question.name),
        sub: own(&question.subresource),
        node,
        ..asked
    };
    (asked, "")
}

/// `userInfo` of a request, as policies and webhooks see it.
pub fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.groups.is_empty() {
        info["groups"] = json!(user.groups);
    }
    let extra: &BTreeMap<String, Vec<String>> = &user.extra;
    if !extra.is_empty() {
        info["extra"] = json!(extra);
    }
    info
}
