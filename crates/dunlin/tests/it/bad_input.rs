//! Wrong input gets an answer that says what is wrong, where, and what to do.

mod full_disk;
mod pods;

use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use dunlin_testkit::host::Network;
use dunlin_testkit::program;
use std::process::Command;

use crate::support::{World, has};

#[test]
fn wrong_manifests_are_refused_with_the_path_of_the_field() -> Result<()> {
    let world = World::new()?;
    let refused = |manifest: &str| world.kubectl.refused(&["apply", "-f", "-"], manifest);
    let pod = |spec: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: wrong}}\nspec: {spec}\n");

    has(
        &refused(&pod("{containers: [{name: a, image: b, imagee: c}]}"))?,
        &["strict decoding error: unknown field \"spec.containers[0].imagee\""],
    )?;
    has(&refused(&pod("{containers: []}"))?, &["spec.containers: Required value"])?;
    has(
        &refused(&pod("{containers: [{name: A_b, image: b}]}"))?,
        &["spec.containers[0].name: Invalid value", "RFC 1123"],
    )?;
    has(
        &refused(&pod(
            "{containers: [{name: a, image: b, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}]}",
        ))?,
        &["spec.containers[0].resources.requests", "must be less than or equal to cpu limit"],
    )?;
    has(
        &refused(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: a, image: b}]}}}\n",
        )?,
        &["`selector` does not match template `labels`"],
    )?;
    Ok(())
}

#[test]
fn the_program_refuses_what_cannot_work() -> Result<()> {
    let dunlin = |args: &[&str]| -> Result<(Option<i32>, String)> {
        let output = Command::new(program::dunlin()?).args(args).output().context("starting dunlin")?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let (code, said) = dunlin(&["server", "--no-such-flag"])?;
    ensure!(code == Some(2), "wrong usage is exit code 2: {said}");

    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let data = tempfile::tempdir()?;
    let folder = data.path().to_string_lossy().into_owned();
    let (code, said) = dunlin(&["server", "--no-agent", "--data-dir", &folder, "--listen", &address])?;
    ensure!(code == Some(1));
    has(&said, &[&address, "in use", "ss -ltnp", "--listen"])?;

    // The address is taken, and still it is the policy that it speaks of: that was read first.
    let (code, said) =
        dunlin(&["server", "--data-dir", &folder, "--listen", &address, "--scheduler", "best"])?;
    ensure!(code == Some(1));
    has(&said, &["--scheduler best", "balanced, bin-pack, nearest, auction, group, external"])?;

    let foreign = tempfile::tempdir()?;
    std::fs::write(foreign.path().join("VERSION"), "dunlin 999\n")?;
    let folder = foreign.path().to_string_lossy().into_owned();
    let (code, said) = dunlin(&["server", "--no-agent", "--data-dir", &folder, "--listen", "127.0.0.1:0"])?;
    ensure!(code == Some(1));
    has(&said, &[&folder, "999", "version", "use the program that made it", "--data-dir"])?;

    let fresh = tempfile::tempdir()?;
    let folder = fresh.path().to_string_lossy().into_owned();
    let (code, said) =
        dunlin(&["agent", "--server", "https://127.0.0.1:1", "--token", "nonsense", "--data-dir", &folder])?;
    ensure!(code == Some(1));
    has(&said, &["token is malformed", "must start with", "dunlin token create"])?;
    let (code, said) = dunlin(&["agent", "--server", "http://127.0.0.1:1", "--data-dir", &folder])?;
    ensure!(code == Some(1));
    has(&said, &["http://127.0.0.1:1", "https://host:6443"])?;
    Ok(())
}

#[test]
fn wrong_tokens_are_refused_with_what_to_do() -> Result<()> {
    let world = World::new()?;
    let host = world.lan.host()?;
    let url = format!("https://{}:6443", world.server.host.address);
    let join = |token: &[&str]| -> Result<String> {
        let data = tempfile::tempdir()?;
        let mut command = host.command(&program::dunlin()?);
        command.args(["agent", "--server", &url, "--node-name", "two"]).args(token);
        let output = command.arg("--data-dir").arg(data.path()).output()?;
        ensure!(output.status.code() == Some(1), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let token = std::fs::read_to_string(world.server.data.path().join("token"))?;
    let parts: Vec<&str> = token.trim().split('.').collect();

    let unknown = [parts[0], parts[1], "aaaaaa", parts[3]].join(".");
    let revoked = [parts[0], parts[1], parts[2], "aaaaaaaaaaaaaaaa"].join(".");
    for wrong in [&unknown, &revoked] {
        let said = join(&["--token", wrong])?;
        has(&said, &[&url, "refused the join token", "dunlin token create"])?;
        ensure!(!said.contains(parts[3]), "the secret is not repeated");
    }
    let elsewhere = [parts[0], &"0".repeat(64), parts[2], parts[3]].join(".");
    has(&join(&["--token", &elsewhere])?, &[&url, "the token was made on", "dunlin token create"])?;
    let short = token.trim().rsplit_once('.').context("a token has parts")?.0.to_owned();
    has(&join(&["--token", &short])?, &["four parts", "cut off", "dunlin token create"])?;
    has(&join(&[])?, &[&url, "--token", "dunlin token create"])?;

    let user = world.kubectl.refused(
        &[
            "--kubeconfig=/dev/null",
            "--server",
            &url,
            "--insecure-skip-tls-verify",
            "--token=wrong",
            "get",
            "pods",
        ],
        "",
    )?;
    has(&user, &["logged in", "Unauthorized"])
}
