//! What must not restart a pod: the agent's death, and the API server's.

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::wait;

use super::{World, ready};

pub fn check(world: &mut World) -> Result<()> {
    let before = world.starts()?;
    ensure!(before.lines().count() == 2, "two pods run: {before}");
    let unchanged = |world: &World, after: &str| -> Result<()> {
        let now = world.starts()?;
        ensure!(now == before, "{after}: pods were\n{before}\nand are\n{now}");
        let running = world.agent.running("hello")?;
        ensure!(running == 2, "{after}: {running} of 2 programs run");
        Ok(())
    };

    world.agent.kill();
    world.agent.start()?;
    answers(world, "after the agent was killed")?;
    unchanged(world, "after the agent was killed")?;

    world.kubernetes.kill("kube-apiserver")?;
    let tried = |world: &World| world.agent.running("hello");
    // Killed and started again with nobody to ask.
    world.agent.kill();
    world.agent.start()?;
    wait::until("the agent's start without an API server", PATIENCE, || {
        ensure!(world.agent.log().matches("a node of this cluster").count() >= 3, "it has not come so far");
        Ok(())
    })?;
    ensure!(tried(world)? == 2, "{} of 2 programs run without the API server", tried(world)?);
    // A program that ends is started again from what is on disk.
    crash(world)?;
    world.kubernetes.resume("kube-apiserver")?;
    wait::until("the API server's return", PATIENCE, || {
        world.kubectl.run(&["get", "--raw", "/readyz"]).map(drop)
    })?;
    ready(&world.kubectl, "edge")?;
    answers(world, "after the API server was away")?;
    let now = world.starts()?;
    let uids = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    };
    ensure!(uids(&now) == uids(&before), "the same pods: {before}\n{now}");
    let restarts: Vec<&str> = now.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    ensure!(restarts.iter().filter(|n| **n == "1").count() == 1, "one container was restarted, once: {now}");
    ensure!(restarts.iter().filter(|n| **n == "0").count() == 1, "and the other was not: {now}");
    println!("  pods outlive the agent and the API server");
    reboot(world, &uids(&before))
}

/// A power cut while nobody can be asked: the same pods come back from the machine's disk.
fn reboot(world: &mut World, pods: &[String]) -> Result<()> {
    world.kubernetes.kill("kube-apiserver")?;
    world.agent.reboot()?;
    wait::until("the pods' return without an API server", PATIENCE, || {
        let running = world.agent.running("hello")?;
        ensure!(running == 2, "{running} of 2 programs run");
        Ok(())
    })?;
    world.api_from_a_pod().err().context("nothing answers for the API server")?;
    world.kubernetes.resume("kube-apiserver")?;
    wait::until("the API server's return", PATIENCE, || {
        world.kubectl.run(&["get", "--raw", "/readyz"]).map(drop)
    })?;
    answers(world, "after the machine was off")?;
    world.api_from_a_pod()?;
    let now: Vec<String> =
        world.starts()?.lines().filter_map(|l| l.split(' ').next().map(str::to_owned)).collect();
    ensure!(now == pods, "pods were {pods:?} and are {now:?}");
    println!("  pods come back after a power cut without an API server");
    Ok(())
}

/// Ends one pod's program, and waits until it runs again.
fn crash(world: &World) -> Result<()> {
    let shells = || world.processes("sh");
    let before = shells()?;
    ensure!(before.len() == 2, "two shells run: {before:?}");
    let pid: i32 = before[0].parse()?;
    // SAFETY: kill takes plain integers; the process was just seen to be one of our own containers'.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    wait::until("the restart of a container without the API server", PATIENCE, || {
        let now = shells()?;
        ensure!(now.len() == 2 && now != before, "shells are {now:?}, were {before:?}");
        Ok(())
    })
}

/// The node answers for its pods again.
fn answers(world: &World, when: &str) -> Result<()> {
    wait::until(&format!("an exec {when}"), PATIENCE, || {
        let said = world.kubectl.run(&["exec", "deploy/web", "--", "echo", "here"])?;
        ensure!(said == "here\n", "{said:?}");
        Ok(())
    })
}
