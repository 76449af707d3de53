//! Approving a signing request: besides the right to write it, the right to approve for its signer.

use crate::auth;
use crate::failure::{Failure, Result};
use crate::object::text;
use crate::request::Asked;
use crate::server::Call;

pub async fn check(call: &Call) -> Result<()> {
    let stored = call.server.read(&call.resource, "", call.name()).await?;
    let signer = text(&stored.value, &["spec", "signerName"]).to_owned();
    let domain = format!("{}/*", signer.split('/').next().unwrap_or(""));
    for name in [signer.clone(), domain] {
        let asked = Asked {
            verb: "approve",
            is_resource: true,
            group: call.resource.group.to_string(),
            version: "v1".to_owned(),
            resource: "signers".to_owned(),
            name: Some(name),
            ..Asked::default()
        };
        if auth::allowed(&call.server, &call.user, &asked, "").await? {
            return Ok(());
        }
    }
    let why = format!("user not permitted to approve requests with signerName {signer:?}");
    Err(Failure::forbidden(&call.resource, call.name(), &why))
}
