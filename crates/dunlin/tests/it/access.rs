//! Who is let in, and what is noted: a server with an audit policy and with an issuer of tokens of others.

#[allow(dead_code, reason = "tests of the API use more of it")]
#[path = "../../../apiserver/tests/it/oidc/issuer.rs"]
mod issuer;

use std::process::Command;

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::{Dunlin, PATIENCE};
use dunlin_testkit::host::{Lan, Network};
use dunlin_testkit::{program, wait};
use serde_json::{Value, json};

use crate::support::has;
use issuer::{Issuer, Signer};

const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

#[test]
fn what_cannot_be_followed_keeps_a_server_from_starting() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let data = folder.path().join("data").display().to_string();
    let refused = |more: &[&str]| -> Result<String> {
        let mut command = Command::new(program::dunlin()?);
        // A port that cannot be taken: whatever is wrong has to be told before that.
        command.args(["server", "--no-agent", "--listen", "192.0.2.1:1", "--data-dir", &data]).args(more);
        let output = command.output().context("starting dunlin")?;
        ensure!(output.status.code() == Some(1), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let wrong = file("wrong.yaml", &format!("{POLICY}rules:\n- level: Metadata\n- level: Everything\n"))?;
    let log = folder.path().join("audit.log").display().to_string();
    let said = refused(&["--audit-policy-file", &wrong, "--audit-log-path", &log])?;
    has(&said, &["wrong.yaml", "line 5", "rules[1].level", "\"Everything\"", "RequestResponse"])?;
    has(&refused(&["--audit-log-path", &log])?, &["--audit-policy-file"])?;
    has(&refused(&["--oidc-issuer-url", "https://a"])?, &["--oidc-client-id"])?;
    let config = file("config.yaml", "oidc-issuer-url: https://a\noidc-client: b\n")?;
    has(&refused(&["--config", &config])?, &["config.yaml", "oidc-client"])?;
    let config = file(
        "auth.yaml",
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {url: 'http://a', audiences: [b]}\n  claimMappings: {username: {claim: sub, prefix: ''}}\n",
    )?;
    has(&refused(&["--authentication-config", &config])?, &["auth.yaml", "line 4", "issuer.url", "https"])?;
    Ok(())
}

#[test]
fn people_of_another_issuer_sign_in_and_are_noted() -> Result<()> {
    let lan = Lan::new()?;
    // The issuer has a machine of its own on the network.
    let machine = lan.host()?;
    let folder = tempfile::tempdir()?;
    let key = Signer::rs256("one");
    let address = format!("{}:443", machine.address).parse()?;
    let (started, running) = std::sync::mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let (namespace, home) = (machine.namespace().name().to_owned(), folder.path().to_owned());
    let published = Signer::rs256("one");
    std::thread::spawn(move || -> Result<()> {
        machine.namespace().enter().with_context(|| namespace)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let issuer = Issuer::start(&home, address, &[&published]).await;
            started.send(issuer)?;
            let _ = ended.await;
            Ok(())
        })
    });
    let issuer = running.recv()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let (ca, log) = (file("ca.pem", &issuer.ca)?, folder.path().join("audit.log"));
    let policy = file(
        "policy.yaml",
        &format!("{POLICY}omitStages: [RequestReceived]\nrules: [{{level: Metadata}}]\n"),
    )?;
    let settings = format!(
        "oidc-issuer-url: {}\noidc-client-id: dunlin\noidc-groups-claim: groups\noidc-groups-prefix: 'them:'\n\
         oidc-username-prefix: 'them:'\noidc-ca-file: {ca}\naudit-policy-file: {policy}\naudit-log-path: {}\n",
        issuer.url,
        log.display()
    );
    let config = file("config.yaml", &settings)?;
    let mut server = Dunlin::server(&lan, &["--no-agent", "--config", &config])?;
    let kubectl = server.kubectl();
    kubectl.run(&["create", "clusterrolebinding", "them", "--clusterrole=view", "--group=them:people"])?;
    let token = key.sign(&issuer.claims(json!({"groups": ["people"]})));
    let as_jane = |args: &[&str]| {
        // The administrator's certificate would count more than the token.
        let server_of = server.url();
        let mut all = vec![
            "--kubeconfig=/dev/null",
            "--insecure-skip-tls-verify",
            "--server",
            &server_of,
            "--token",
            &token,
        ];
        all.extend(args);
        kubectl.run(&all)
    };
    has(&as_jane(&["auth", "whoami", "-o", "json"])?, &["them:jane", "them:people"])?;
    as_jane(&["get", "pods"])?;
    let refused = as_jane(&["create", "configmap", "a"]).expect_err("a viewer changes nothing").to_string();
    has(&refused, &["is forbidden", "them:jane"])?;
    let noted = |check: &dyn Fn(&Value) -> bool| -> Result<bool> {
        let text = std::fs::read_to_string(&log)?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).any(|event| check(&event)))
    };
    wait::until("the refusal in the audit log", PATIENCE, || {
        let found = noted(&|e| {
            e["user"]["username"] == "them:jane"
                && e["responseStatus"]["code"] == 403
                && e["annotations"]["authorization.k8s.io/decision"] == "forbid"
        })?;
        ensure!(found, "it is not there");
        Ok(())
    })?;
    // The issuer goes, the server starts again: who was known is known.
    drop(end);
    server.kill();
    server.start()?;
    let url = server.url();
    let token = token.clone();
    wait::until("the token without its issuer", PATIENCE, || {
        let args =
            ["--kubeconfig=/dev/null", "--insecure-skip-tls-verify", "--server", &url, "--token", &token];
        kubectl.run(&[&args[..], &["get", "pods"]].concat()).map(drop)
    })
}
