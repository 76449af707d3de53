//! Joining, renewal and revocation, with certificates that live for seconds.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use dunlin_testkit::cluster::{Dunlin, PATIENCE};
use dunlin_testkit::host::Lan;
use dunlin_testkit::wait;

/// A server without an agent, whose configuration says this.
fn server(lan: &Lan, folder: &Path, config: &str) -> Result<Dunlin> {
    let file = folder.join("config.yaml");
    std::fs::write(&file, config)?;
    Dunlin::server(lan, &["--no-agent", "--config", &file.to_string_lossy()])
}

fn connected(server: &Dunlin, node: &str) -> usize {
    server.log().matches(&format!("node connected node=\"{node}\"")).count()
}

fn log_with(of: &Dunlin, text: &str, times: usize) -> Result<()> {
    wait::until(&format!("{text:?} {times} times in a log"), PATIENCE, || {
        let found = of.log().matches(text).count();
        ensure!(found >= times, "{found} times in {}", dunlin_testkit::cluster::tail(&of.log()));
        Ok(())
    })
}

#[test]
fn a_token_is_made_listed_and_revoked() -> Result<()> {
    let lan = Lan::new()?;
    let folder = tempfile::tempdir()?;
    let server = server(&lan, folder.path(), "{}")?;
    let made =
        server.dunlin(&["token", "create", "--for", "cluster", "--ttl", "1h", "--description", "site a"])?;
    let id = made.trim().split('.').nth(2).context("an id")?.to_owned();
    let line = |id: &str| -> Result<String> {
        let all = server.dunlin(&["token", "list"])?;
        Ok(all.lines().find(|l| l.starts_with(id)).unwrap_or_default().to_owned())
    };
    let listed = line(&id)?;
    ensure!(listed.contains("cluster") && listed.contains("site a"), "{listed}");
    ensure!(!server.dunlin(&["token", "list", "-o", "json"])?.contains(made.trim()), "no secrets are listed");

    // A cluster's token joins no machine.
    let mut wrong = Dunlin::agent_with(&lan, &server, "wrong", made.trim(), &[])?;
    let said = wait::until("the refusal", PATIENCE, || {
        ensure!(wrong.process()?.ended()?.is_some(), "it still runs");
        Ok(wrong.log())
    })?;
    ensure!(said.contains("this token is for clusters"), "{said}");
    server.dunlin(&["token", "revoke", &id])?;
    ensure!(line(&id)?.is_empty());
    wrong.start()?;
    log_with(&wrong, "refused the join token", 1)
}

#[test]
fn certificates_are_renewed_without_a_restart() -> Result<()> {
    let lan = Lan::new()?;
    let folder = tempfile::tempdir()?;
    let server = server(&lan, folder.path(), "times: {certificate-life: 12s, certificate-grace: 1h}")?;
    let before = std::fs::read_to_string(server.data.path().join("kubeconfig.yaml"))?;
    let mut agent = Dunlin::agent(&lan, &server, "two", &[])?;
    log_with(&agent, "certificate renewed", 3)?;
    log_with(&server, "certificate renewed whose=\"server\"", 1)?;
    ensure!(std::fs::read_to_string(server.data.path().join("kubeconfig.yaml"))? != before);
    ensure!(connected(&server, "two") == 1, "its tunnel went on");
    // By now the first certificates have ended: a new connection shows later ones.
    agent.host.cable().cut()?;
    wait::until("the tunnel's end", PATIENCE, || {
        ensure!(server.log().contains("node disconnected node=\"two\""));
        Ok(())
    })?;
    agent.host.cable().mend()?;
    wait::until("the next tunnel", PATIENCE, || {
        ensure!(connected(&server, "two") == 2);
        Ok(())
    })?;
    // Away for longer than a certificate lives: it comes back within the grace.
    agent.kill();
    let renewed = agent.log().matches("certificate renewed").count();
    std::thread::sleep(std::time::Duration::from_secs(14));
    agent.start()?;
    log_with(&agent, "certificate renewed", renewed + 1)?;
    log_with(&server, "expired certificate accepted for renewal only", 1)?;
    wait::until("the tunnel after the grace", PATIENCE, || {
        ensure!(connected(&server, "two") >= 3);
        Ok(())
    })
}

#[test]
fn a_deleted_node_is_out_until_it_joins_by_a_token() -> Result<()> {
    let lan = Lan::new()?;
    let folder = tempfile::tempdir()?;
    let mut server = server(&lan, folder.path(), "{}")?;
    let agent = Dunlin::agent(&lan, &server, "two", &[])?;
    let kubectl = server.kubectl();

    ensure!(server.log().matches("verdict=\"Approved\"").count() == 1, "signed once: {}", server.log());

    // Another machine does not get the name, and is told what to do.
    let token = std::fs::read_to_string(server.data.path().join("token"))?;
    let mut twin = Dunlin::agent_with(&lan, &server, "two", token.trim(), &[])?;
    log_with(&twin, "kubectl delete node two", 1)?;
    ensure!(twin.process()?.ended()?.is_some());

    kubectl.run(&["delete", "node", "two"])?;
    log_with(&server, "stream closed, its certificate is refused now", 1)?;
    let out = |server: &Dunlin| -> Result<()> {
        let nodes = server.kubectl().run(&["get", "nodes", "-o", "name"])?;
        ensure!(nodes.is_empty(), "{nodes}");
        ensure!(connected(server, "two") == 1);
        Ok(())
    };
    log_with(&agent, "tunnel lost", 1)?;
    out(&server)?;
    server.kill();
    server.start()?;
    wait::until("the API answering", PATIENCE, || server.kubectl().run(&["get", "namespaces"]))?;
    // The old machine knocks again and again; what is refused is not logged, so give it the time of several tries.
    std::thread::sleep(std::time::Duration::from_secs(5));
    out(&server)?;
    // The name is free now, for whoever has a token.
    twin.start()?;
    server.wait_for_node("two")?;
    if connected(&server, "two") != 2 {
        bail!("connected {} times", connected(&server, "two"));
    }
    Ok(())
}
