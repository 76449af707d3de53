//! More machines: agents that join by token, and never touch each other's things.

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::Dunlin;
use dunlin_testkit::image::ImageBuilder;
use serde_json::Value;

use crate::support::{World, heard, pod_when, running};

#[test]
fn agents_join_by_token_and_run_pods_side_by_side() -> Result<()> {
    let world = World::new()?;
    let two = Dunlin::agent(&world.lan, &world.server, "two", &["--label", "place=field"])?;
    let mut three = Dunlin::agent(&world.lan, &world.server, "three", &[])?;
    for agent in [&two, &three] {
        agent.import(&ImageBuilder::busybox()?, "busybox:test")?;
    }
    let place = |node: &str| format!("  nodeName: {node}");
    for node in ["one", "two", "three"] {
        world.shell(&format!("on-{node}"), "echo hello from $(hostname); sleep 1000", "", &place(node))?;
    }
    for node in ["one", "two", "three"] {
        let pod = world.pod_when(&format!("on-{node}"), running)?;
        ensure!(pod["spec"]["nodeName"] == node);
        world.log_with(&format!("on-{node}"), &format!("hello from on-{node}"))?;
        let said = world.kubectl.run(&["exec", &format!("on-{node}"), "--", "hostname"])?;
        ensure!(said.trim() == format!("on-{node}"), "{said}");
    }
    world.shell("picky", "sleep 1000", "", "  nodeSelector: {place: field}")?;
    ensure!(world.pod_when("picky", running)?["spec"]["nodeName"] == "two");

    // One machine is killed and comes back; pods of the others keep their containers.
    let container = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    let before = container(&world.pod_when("on-two", running)?);
    three.kill();
    world.kubectl.run(&["delete", "pod", "on-one", "--timeout=30s"])?;
    three.start()?;
    world.server.wait_for_node("three")?;
    ensure!(container(&pod_when(&world.kubectl, "on-two", running)?) == before);
    world.log_with("on-three", "hello from on-three")?;
    Ok(())
}

#[test]
fn an_agent_serves_nothing_to_the_network() -> Result<()> {
    let world = World::new()?;
    let two = Dunlin::agent(&world.lan, &world.server, "two", &[])?;
    let open = heard(&two)?;
    ensure!(open.is_empty(), "the agent listens on {open:?}");
    Ok(())
}
