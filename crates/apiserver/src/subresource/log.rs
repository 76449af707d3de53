//! `pods/x/log`: the node's stream, passed on as it comes.

use http::Method;

use crate::failure::Result;
use crate::reply::{self, Reply};
use crate::server::Call;
use crate::subresource::target::Target;
use dunlin_api::query::encode;

const PASSED: [&str; 7] =
    ["follow", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "previous", "limitBytes"];

pub async fn read(call: &mut Call) -> Result<Reply> {
    let Some(target) = Target::placed(call).await? else {
        // Nobody runs it yet, so there is nothing to read, and nothing wrong.
        let mut empty = reply::with_type(204, "text/plain", reply::full(""));
        empty.headers_mut().remove(http::header::CONTENT_TYPE);
        return Ok(empty);
    };
    let query: Vec<String> = PASSED
        .iter()
        .filter_map(|name| call.query.get(name).map(|value| format!("{name}={}", encode(value))))
        .collect();
    let response =
        target.call(call, Method::GET, &format!("log?{}", query.join("&")), reply::full("")).await?;
    Ok(reply::with_type(200, "text/plain", response.into_body()))
}
