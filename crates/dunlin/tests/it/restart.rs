//! What keeps running when we do not: the agent killed, and the server with it.

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::wait;

use crate::support::{World, running};

#[test]
fn a_killed_agent_leaves_its_containers_and_the_next_takes_them_over() -> Result<()> {
    let mut world = World::new()?;
    world.shell("steady", "echo started; while true; do date > /tmp/now; sleep 0.2; done", "", "")?;
    let before = world.pod_when("steady", running)?;
    world.log_with("steady", "started")?;

    world.server.kill();
    world.server.start()?;
    world.server.wait_for_node("")?;
    let after = world.pod_when("steady", running)?;
    ensure!(after["metadata"]["uid"] == before["metadata"]["uid"], "the same pod");
    let (old, new) = (&before["status"]["containerStatuses"][0], &after["status"]["containerStatuses"][0]);
    ensure!(new["containerID"] == old["containerID"], "the same container: {old} {new}");
    ensure!(new["restartCount"] == 0 && new["state"] == old["state"], "not restarted: {old} {new}");
    ensure!(world.kubectl.run(&["logs", "steady"])?.matches("started").count() == 1);

    // It is still ours to end.
    world.kubectl.run(&["delete", "pod", "steady", "--timeout=30s"])?;
    world.shell("steady", "sleep 1000", "", "")?;
    world.pod_when("steady", running)?;
    Ok(())
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() -> Result<()> {
    let mut world = World::new()?;
    for number in 0..20 {
        world.kubectl.run(&["create", "configmap", &format!("kept-{number}"), "--from-literal=a=b"])?;
    }
    world.server.kill();
    world.server.start()?;
    wait::until("the server answering again", PATIENCE, || world.kubectl.run(&["get", "namespaces"]))?;
    let names = world.kubectl.run(&["get", "configmaps", "-o", "name"])?;
    ensure!(names.matches("kept-").count() == 20, "{names}");
    Ok(())
}
