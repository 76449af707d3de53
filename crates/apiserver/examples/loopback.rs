//! An API server on the loopback interface with its store in memory, for trying `kubectl` against it.
//!
//! `cargo run -p dunlin-apiserver --example loopback -- DIR [PORT]` writes `DIR/kubeconfig.yaml` and serves until killed.
//! There are no controllers and no nodes; logs and sessions are answered by a pretence of a node.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dunlin_api::stream::{Channel, Decoder, encode};
use dunlin_apiserver::{ApiServer, BoxBody, BoxError, Config, DialError, NodeDialer};
use dunlin_pki::Authority;
use dunlin_pki::jwt::Issuer;
use dunlin_store::memory::MemoryStore;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

/// Answers logs with a line, and sessions by repeating what comes in.
struct Echo;

impl NodeDialer for Echo {
    fn call(
        &self,
        _node: &str,
        request: http::Request<BoxBody>,
    ) -> BoxFuture<'static, Result<http::Response<BoxBody>, DialError>> {
        Box::pin(async move {
            let uri = request.uri().to_string();
            let stream: BoxBody = if uri.contains("/log?") {
                let line = Bytes::from(format!("log of {uri}\n"));
                let one = futures_util::stream::iter([Ok::<_, BoxError>(Frame::data(line))]);
                StreamBody::new(one).boxed_unsync()
            } else {
                let stdin = uri.contains("stdin=true");
                let body = request.into_body();
                let state = (Some(body), Decoder::new(), false);
                let pieces = futures_util::stream::unfold(
                    state,
                    move |(body, mut decoder, ended)| async move {
                        if ended {
                            return None;
                        }
                        let mut out = Vec::new();
                        let mut body = body?;
                        loop {
                            let piece = if stdin { body.frame().await } else { None };
                            if let Some(Ok(frame)) = piece {
                                decoder.push(frame.data_ref().map(|d| &d[..]).unwrap_or_default());
                                let mut closed = false;
                                while let Ok(Some(frame)) = decoder.next_frame() {
                                    match frame.channel {
                                        Channel::Stdin => encode(Channel::Stdout, &frame.payload, &mut out),
                                        Channel::Close => closed = true,
                                        _ => {}
                                    }
                                }
                                if !closed {
                                    if out.is_empty() {
                                        continue;
                                    }
                                    return Some((out, (Some(body), decoder, false)));
                                }
                            }
                            if !stdin {
                                encode(Channel::Stdout, b"hello from the pretended node\n", &mut out);
                            }
                            let status = br#"{"metadata":{},"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with non-zero exit code","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
                            encode(Channel::Status, status, &mut out);
                            return Some((out, (Some(body), decoder, true)));
                        }
                    },
                );
                StreamBody::new(pieces.map(|p| Ok::<_, BoxError>(Frame::data(Bytes::from(p))))).boxed_unsync()
            };
            Ok(http::Response::new(stream))
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().context("a directory is needed")?);
    let port: u16 = args.next().map_or(Ok(16443), |p| p.parse())?;
    std::fs::create_dir_all(&dir)?;
    let authority = Authority::open_or_create(&dir, "example")?;
    let issuer = Arc::new(Issuer::open_or_create(&dir, "https://kubernetes.default.svc")?);
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let server = authority.issue_server(&names, dunlin_pki::LIFE)?;
    let config = Config::new(
        Arc::new(MemoryStore::new()),
        issuer,
        "https://kubernetes.default.svc",
        authority.ca_pem(),
        Arc::new(Echo),
    );
    let api = ApiServer::new(config);
    api.bootstrap().await?;
    let tls = dunlin_pki::tls::server_config(authority.ca_pem(), &server, &[b"h2", b"http/1.1"])?;
    let day = std::time::Duration::from_secs(86_400);
    for (file, user, groups) in
        [("kubeconfig.yaml", "admin", vec!["system:masters".to_owned()]), ("jane.yaml", "jane", vec![])]
    {
        let client = authority.issue_client(user, &groups, day)?;
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters: [{{name: x, cluster: {{server: \"https://127.0.0.1:{port}\", \
             certificate-authority-data: {}}}}}]\nusers: [{{name: x, user: {{client-certificate-data: {}, client-key-data: {}}}}}]\n\
             contexts: [{{name: x, context: {{cluster: x, user: x}}}}]\n",
            STANDARD.encode(authority.ca_pem()),
            STANDARD.encode(&client.cert_pem),
            STANDARD.encode(&client.key_pem),
        );
        std::fs::write(dir.join(file), text)?;
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let mut serving = dunlin_apiserver::serve(api, listener, Arc::new(tls))?;
    eprintln!("serving on {}", serving.address());
    serving.finished().await;
    Ok(())
}
