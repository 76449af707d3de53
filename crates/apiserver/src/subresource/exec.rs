//! `exec` and `attach`: which container, and what of it; the streams themselves are `dunlin_streams`'.

use std::sync::Arc;

use dunlin_streams::exec::Asked;
use dunlin_streams::{Refusal, Started, exec};
use http::Request;

use crate::config::BoxBody;
use crate::failure::Result;
use crate::server::Call;
use crate::subresource::target::{Called, Target};

pub async fn start(call: Call, mut request: Request<BoxBody>) -> Result<Result<Started, Refusal>> {
    let target = Target::of(&call).await?;
    let flag = |name: &str| call.query.flag(name);
    let command = || call.query.all("command").map(str::to_owned).collect();
    let asked = Asked {
        command: (call.sub.as_deref() != Some("attach")).then(command),
        stdin: flag("stdin"),
        stdout: flag("stdout"),
        stderr: flag("stderr"),
        tty: flag("tty"),
    };
    let far = Arc::new(Called { call, target });
    Ok(exec::start(asked, far, &mut request).await)
}
