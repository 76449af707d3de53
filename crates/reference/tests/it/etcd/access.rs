//! Who is let in, over what, and how large an entry may be.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use dunlin_pki::{Authority, tls};
use dunlin_reference::etcd::Etcd;
use dunlin_store::etcd::{EtcdStore, Options};
use dunlin_store::{Error, Expect, Store};

use super::writers::put;
use super::{on_two_threads, open, options};

const LIFE: Duration = Duration::from_secs(3600);

/// What is too large is told, and harms nothing else.
pub fn limits() -> Result<()> {
    let etcd = Etcd::local(1)?;
    on_two_threads(async {
        let store = open(options(etcd.endpoints())).await?;
        store.write(put("large", Expect::Absent, "x".repeat(1_400_000))).await?;
        for size in [1_700_000, 5_000_000] {
            match store.write(put("larger", Expect::Absent, "x".repeat(size))).await {
                Err(error @ Error::TooLarge { .. }) => {
                    let told = error.to_string();
                    ensure!(
                        told.contains("configmaps/load/larger") && told.contains("--max-request-bytes"),
                        "{told}"
                    );
                }
                other => bail!("{size} bytes: {other:?}"),
            }
        }
        store.write(put("small", Expect::Absent, "x".to_owned())).await?;
        Ok(())
    })
}

/// etcd asks for a certificate of its CA.
pub fn tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::open_or_create(folder.path(), "etcd")?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let server = authority.issue_server(&["127.0.0.1".to_owned()], LIFE)?;
    std::fs::write(file("server.crt"), &server.cert_pem)?;
    std::fs::write(file("server.key"), &server.key_pem)?;
    let flags = [
        format!("--cert-file={}", file("server.crt")),
        format!("--key-file={}", file("server.key")),
        format!("--trusted-ca-file={}", file("ca.crt")),
        "--client-cert-auth".to_owned(),
    ];
    let etcd = Etcd::with(1, &flags)?;
    let client = authority.issue_client("dunlin", &[], LIFE)?;
    let other = Authority::open_or_create(&folder.path().join("other"), "other")?;
    let foreign = other.issue_client("dunlin", &[], LIFE)?;
    let with = |ca: &str, identity| -> Result<Options> {
        let tls = Some(Arc::new(tls::client_config(ca, identity, &[b"h2"])?));
        Ok(Options { tls, ..options(etcd.endpoints()) })
    };
    on_two_threads(async {
        let store = open(with(authority.ca_pem(), Some(&client))?).await?;
        store.write(put("a", Expect::Absent, "1".to_owned())).await?;
        for wrong in [
            with(authority.ca_pem(), None)?,
            with(authority.ca_pem(), Some(&foreign))?,
            with(other.ca_pem(), Some(&client))?,
            options(etcd.endpoints()),
        ] {
            let refused = EtcdStore::open(wrong).await.err();
            ensure!(matches!(refused, Some(Error::Unavailable { .. })), "{refused:?}");
        }
        Ok(())
    })
}

/// etcd asks for a password, and its tokens expire.
pub fn password() -> Result<()> {
    let etcd = Etcd::with(1, &["--auth-token-ttl=2".to_owned()])?;
    on_two_threads(async {
        drop(open(options(etcd.endpoints())).await?);
        for (path, body) in [
            ("user/add", r#"{"name":"root","password":"secret"}"#),
            ("role/add", r#"{"name":"root"}"#),
            ("user/grant", r#"{"user":"root","role":"root"}"#),
            ("user/add", r#"{"name":"other","password":"secret"}"#),
            ("auth/enable", "{}"),
        ] {
            let path = if path == "auth/enable" { path.to_owned() } else { format!("auth/{path}") };
            post(&etcd.endpoints()[0], &format!("/v3/{path}"), body)?;
        }
        let as_user = |name: &str, password: &str| Options {
            user: Some((name.to_owned(), password.to_owned())),
            ..options(etcd.endpoints())
        };
        let store = open(as_user("root", "secret")).await?;
        store.write(put("a", Expect::Absent, "1".to_owned())).await?;
        for (options, reason) in [
            (options(etcd.endpoints()), "user name is empty"),
            (as_user("root", "wrong"), "authentication failed"),
            (as_user("other", "secret"), "permission denied"),
        ] {
            let refused = EtcdStore::open(options).await.err().map(|e| e.to_string()).unwrap_or_default();
            ensure!(refused.contains(reason), "expected {reason:?}: {refused}");
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        let written = store.write(put("b", Expect::Absent, "1".to_owned())).await?;
        ensure!(store.get(&written.key).await? == Some(written), "a token that has expired is replaced");
        Ok(())
    })
}

/// The gateway that etcd has for those without gRPC.
fn post(endpoint: &str, path: &str, body: &str) -> Result<()> {
    let mut stream = TcpStream::connect(endpoint)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {endpoint}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    Ok(())
}
