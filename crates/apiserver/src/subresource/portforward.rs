//! `portforward`: which pod; the connections are `dunlin_streams`'.

use std::sync::Arc;

use dunlin_streams::portforward::Asked;
use dunlin_streams::{Refusal, Started, portforward};
use http::Request;

use crate::config::BoxBody;
use crate::failure::Result;
use crate::server::Call;
use crate::subresource::target::{Called, Target};

pub async fn start(call: Call, mut request: Request<BoxBody>) -> Result<Result<Started, Refusal>> {
    let target = Target::pod(&call).await?;
    let far = Arc::new(Called { call, target });
    let asked = Asked { name: far.call.name(), uid: &far.target.uid, ports: far.call.query.all("ports") };
    Ok(portforward::start(asked, far.clone(), &mut request))
}
