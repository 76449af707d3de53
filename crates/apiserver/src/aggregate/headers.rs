//! What of a request's and an answer's head goes through the proxy. Pure.
//!
//! Who asks is told to the extension server in headers that it believes because of our certificate, so nothing that a
//! client sends under these names may pass.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request};

use crate::config::User;

/// Headers that concern one connection, not what is said over it.
const OF_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];
const USER: &str = "x-remote-user";
const UID: &str = "x-remote-uid";
const GROUP: &str = "x-remote-group";
const EXTRA: &str = "x-remote-extra-";

/// Whether a client may not say this to an extension server.
fn is_withheld(name: &HeaderName) -> bool {
    let text = name.as_str();
    *name == header::AUTHORIZATION
        || *name == header::HOST
        || text.starts_with("impersonate-")
        || text.starts_with("x-remote-")
}

/// Removes what is about the connection alone; an upgrade is kept if it is wanted.
pub fn through(headers: &mut HeaderMap, upgrade: bool) {
    let protocol = headers.get(header::UPGRADE).cloned().filter(|_| upgrade);
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|word| word.trim().parse().ok())
        .collect();
    for name in OF_CONNECTION.iter().chain(&named).chain([&header::UPGRADE]) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

/// The head of the request that an extension server gets.
pub fn request(
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    host: &str,
    user: &User,
    upgrade: bool,
) -> Result<Request<()>, http::Error> {
    let mut request = Request::builder().method(method).uri(target).body(())?;
    let out = request.headers_mut();
    for (name, value) in headers.iter().filter(|(name, _)| !is_withheld(name)) {
        out.append(name, value.clone());
    }
    through(out, upgrade);
    out.insert(header::HOST, HeaderValue::from_str(host)?);
    identify(out, user)?;
    Ok(request)
}

/// Says who asks.
pub fn identify(headers: &mut HeaderMap, user: &User) -> Result<(), http::Error> {
    headers.insert(USER, HeaderValue::from_str(&user.name)?);
    if !user.uid.is_empty() {
        headers.insert(UID, HeaderValue::from_str(&user.uid)?);
    }
    for group in &user.groups {
        headers.append(GROUP, HeaderValue::from_str(group)?);
    }
    for (key, values) in &user.extra {
        let name: HeaderName = format!("{EXTRA}{}", escape(key)).parse()?;
        for value in values {
            headers.append(&name, HeaderValue::from_str(value)?);
        }
    }
    Ok(())
}

/// A key of the user's extra facts as part of a header's name: what may not stand there is written `%xx`.
fn escape(key: &str) -> String {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b);
    let one = |b: u8| if legal(b) { char::from(b).to_string() } else { format!("%{b:02x}") };
    key.to_lowercase().bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&str, &str)]) -> HeaderMap {
        all.iter()
            .map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse::<HeaderValue>().unwrap()))
            .collect()
    }

    #[test]
    fn nobody_passes_for_another() {
        let mut user = User::new("jane", &["a", "b"]);
        user.uid = "7".into();
        user.extra.insert("example.com/Scope%".into(), vec!["x".into()]);
        let sent = headers(&[
            ("x-remote-user", "root"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-y", "z"),
            ("x-remote-uid", "0"),
            ("impersonate-user", "root"),
            ("authorization", "Bearer t"),
            ("host", "elsewhere"),
            ("connection", "close, x-secret"),
            ("x-secret", "1"),
            ("transfer-encoding", "chunked"),
            ("accept", "application/json"),
        ]);
        let request = request(&Method::GET, "/apis/x/v1", &sent, "s.n.svc", &user, false).unwrap();
        let mut got: Vec<String> =
            request.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        got.sort();
        assert_eq!(
            got,
            [
                "accept: application/json",
                "host: s.n.svc",
                "x-remote-extra-example.com%2fscope%25: x",
                "x-remote-group: a",
                "x-remote-group: b",
                "x-remote-uid: 7",
                "x-remote-user: jane",
            ]
        );
    }

    #[test]
    fn an_upgrade_passes_when_it_is_wanted() {
        let sent = headers(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
        for (wanted, count) in [(true, 2), (false, 0)] {
            let mut through_it = sent.clone();
            through(&mut through_it, wanted);
            assert_eq!(through_it.len(), count);
        }
    }
}
