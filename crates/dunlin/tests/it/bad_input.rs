//! Wrong input gets an answer that says what is wrong, where, and what to do.

use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use dunlin_testkit::program;
use std::process::Command;

use crate::support::{World, waiting};

fn has(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "{word:?} is missing in {text:?}");
    }
    Ok(())
}

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
fn pods_that_cannot_run_say_why() -> Result<()> {
    let world = World::new()?;
    world.kubectl.run(&["run", "absent", "--image=127.0.0.1:1/no/such:image"])?;
    world.kubectl.run(&["run", "never", "--image=not-here:test", "--image-pull-policy=Never"])?;
    world.kubectl.run(&["run", "misspelt", "--image=hello:test", "--command", "--", "/no-such-command"])?;
    world.shell(
        "keyless",
        "true",
        "    env: [{name: A, valueFrom: {configMapKeyRef: {name: nowhere, key: a}}}]",
        "",
    )?;
    world.shell("vast", "true", "    resources: {requests: {memory: 900Ti}}", "")?;

    world.pod_when("absent", |p| waiting("ErrImagePull")(p) || waiting("ImagePullBackOff")(p))?;
    has(&world.kubectl.run(&["describe", "pod", "absent"])?, &["Failed", "127.0.0.1:1/no/such:image"])?;
    world.pod_when("never", waiting("ErrImageNeverPull"))?;
    let keyless = world.pod_when("keyless", waiting("CreateContainerConfigError"))?;
    has(&keyless["status"].to_string(), &["nowhere", "not found"])?;
    let misspelt = world.pod_when("misspelt", |p| {
        p["status"]["containerStatuses"][0]["restartCount"] != 0 || waiting("CrashLoopBackOff")(p)
    })?;
    has(&misspelt["status"].to_string(), &["/no-such-command"])?;
    let vast = world.pod_when("vast", |p| p["status"]["conditions"][0]["reason"] == "Unschedulable")?;
    has(&vast["status"].to_string(), &["0/1 nodes are available", "Insufficient memory"])?;
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
    has(&said, &[&address, "in use", "--listen"])?;

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
    has(&said, &[&folder, "999", "version"])?;

    let fresh = tempfile::tempdir()?;
    let folder = fresh.path().to_string_lossy().into_owned();
    let (code, said) =
        dunlin(&["agent", "--server", "https://127.0.0.1:1", "--token", "nonsense", "--data-dir", &folder])?;
    ensure!(code == Some(1));
    has(&said, &["token"])?;
    Ok(())
}
