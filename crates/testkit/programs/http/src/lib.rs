//! A component that serves `wasi:http`, for tests and benchmarks. It answers with its greeting and the number of requests
//! that its instance has seen; `/echo` sends the body back, `/env/NAME` a variable, `/file/PATH` a file, `/fetch/HOST:PORT`
//! what that server answers, `/spin` never ends, `/hog` takes memory until it is refused, `/trap` aborts.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};

static SEEN: AtomicU64 = AtomicU64::new(0);

struct Handler;

wasip2::http::proxy::export!(Handler);

impl Guest for Handler {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let seen = SEEN.fetch_add(1, Ordering::Relaxed) + 1;
        let path = request.path_with_query().unwrap_or_default();
        let (status, body) = match path.trim_start_matches('/').split_once('/') {
            Some(("env", name)) => (200, std::env::var(name).unwrap_or_default().into_bytes()),
            Some(("file", path)) => match std::fs::read(format!("/{path}")) {
                Ok(bytes) => (200, bytes),
                Err(error) => (404, error.to_string().into_bytes()),
            },
            Some(("fetch", authority)) => match fetch(authority) {
                Ok(bytes) => (200, bytes),
                Err(error) => (502, error.into_bytes()),
            },
            _ => match path.as_str() {
                "/echo" => (200, received(&request)),
                "/spin" => loop {
                    std::hint::spin_loop();
                },
                "/hog" => {
                    let mut held: Vec<Vec<u8>> = Vec::new();
                    while let Some(piece) = piece() {
                        held.push(piece);
                    }
                    (200, format!("{} MiB\n", held.len()).into_bytes())
                }
                "/trap" => std::process::abort(),
                _ => {
                    println!("GET {path}");
                    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "hello".into());
                    (200, format!("{greeting} ({seen})\n").into_bytes())
                }
            },
        };
        answer(out, status, &body);
    }
}

fn piece() -> Option<Vec<u8>> {
    let mut piece: Vec<u8> = Vec::new();
    piece.try_reserve_exact(1 << 20).ok()?;
    piece.resize(1 << 20, 1);
    Some(piece)
}

fn received(request: &IncomingRequest) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(body) = request.consume() {
        if let Ok(mut stream) = body.stream() {
            let _ = stream.read_to_end(&mut bytes);
        }
    }
    bytes
}

fn answer(out: ResponseOutparam, status: u16, bytes: &[u8]) {
    let length = bytes.len().to_string().into_bytes();
    let headers = Fields::from_list(&[("content-length".to_owned(), length)]).unwrap_or_else(|_| Fields::new());
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(status);
    let Ok(body) = response.body() else { return };
    ResponseOutparam::set(out, Ok(response));
    if let Ok(mut stream) = body.write() {
        let _ = stream.write_all(bytes);
        let _ = stream.flush();
    }
    let _ = OutgoingBody::finish(body, None);
}

fn fetch(authority: &str) -> Result<Vec<u8>, String> {
    let request = OutgoingRequest::new(Fields::new());
    let set = request
        .set_method(&Method::Get)
        .and_then(|()| request.set_scheme(Some(&Scheme::Http)))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some("/")));
    set.map_err(|()| "no such address".to_owned())?;
    let future = outgoing_handler::handle(request, None).map_err(|code| format!("{code:?}"))?;
    future.subscribe().block();
    let response = match future.get() {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(code))) => return Err(format!("{code:?}")),
        _ => return Err("no answer".into()),
    };
    let mut bytes = Vec::new();
    let body = response.consume().map_err(|()| "no body".to_owned())?;
    let mut stream = body.stream().map_err(|()| "no body".to_owned())?;
    stream.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}
