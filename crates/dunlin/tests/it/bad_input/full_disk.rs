//! A full disk: what needs room is refused with the reason, everything else goes on, and room is all that it takes.
//!
//! The server's log lies on the same disk, as it does on a small machine.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::disk::SmallDisk;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::{program, wait};
use serde_json::Value;

use crate::support::{World, has, running};

fn disk(world: &World) -> Result<&SmallDisk> {
    world.server.disk.as_ref().context("the world has a small disk")
}

fn config_map(name: &str) -> String {
    let data = "v".repeat(100_000);
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: {data}}}\n")
}

#[test]
fn writes_are_refused_with_the_reason_and_nothing_acknowledged_is_lost() -> Result<()> {
    let mut world = World::on_small_disk(32)?;
    world.shell("steady", "echo started; while true; do sleep 1; done", "", "")?;
    world.pod_when("steady", running)?;
    let kubectl = world.kubectl.clone();
    let create = |name: &str| kubectl.output(&["create", "-v=6", "-f", "-"], &config_map(name));

    disk(&world)?.fill(0)?;
    let mut kept = Vec::new();
    let said = loop {
        let name = format!("big-{:03}", kept.len());
        let output = create(&name)?;
        if !output.status.success() {
            break String::from_utf8_lossy(&output.stderr).into_owned();
        }
        kept.push(format!("configmap/{name}"));
        ensure!(kept.len() < 300, "the disk must be full");
    };
    let store = world.server.data.path().canonicalize()?.join("server/store.db");
    has(
        &said,
        &["InsufficientStorage", "the disk is full", &store.to_string_lossy(), "free some space", "507"],
    )?;

    let names = || -> Result<Vec<String>> {
        let all = kubectl.run(&["get", "configmaps", "-o", "name"])?;
        Ok(all.lines().filter(|n| n.contains("/big-")).map(str::to_owned).collect())
    };
    ensure!(names()? == kept, "reads go on, and show what was acknowledged");
    ensure!(kubectl.run(&["exec", "steady", "--", "echo", "here"])?.trim() == "here", "so do pods");
    world.log_with("steady", "started")?;
    world.server.wait_for_node("one")?;

    disk(&world)?.make_room()?;
    ensure!(create("big-zzz")?.status.success(), "there is room, and nothing was restarted");
    kept.push("configmap/big-zzz".to_owned());
    ensure!(world.server.process()?.ended()?.is_none(), "the server never ended");

    world.server.kill();
    world.server.start()?;
    wait::until("the server answering again", PATIENCE, || {
        ensure!(names()? == kept);
        Ok(())
    })
}

#[test]
fn a_server_starts_and_answers_on_a_full_disk() -> Result<()> {
    let mut world = World::on_small_disk(32)?;
    world.kubectl.run(&["create", "configmap", "kept", "--from-literal=a=b"])?;
    world.server.kill();
    disk(&world)?.fill(0)?;
    world.server.start()?;
    wait::until("the server answering", PATIENCE, || world.kubectl.run(&["get", "configmap", "kept"]))
        .with_context(|| world.server.log())?;
    disk(&world)?.make_room()?;
    world.server.wait_for_node("one")?;
    world.shell("later", "sleep 1000", "", "")?;
    world.pod_when("later", running)?;
    Ok(())
}

/// An image whose layer no compression makes smaller.
fn large(folder: &std::path::Path, mib: usize) -> Result<ImageBuilder> {
    let file = folder.join("noise");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = (0..mib << 17)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect();
    std::fs::write(&file, noise)?;
    Ok(ImageBuilder::hello()?.file("noise", &file))
}

/// Every blob is what its name says: none of them is a part.
fn blobs_are_whole(world: &World) -> Result<()> {
    for entry in std::fs::read_dir(world.server.data.path().join("images/blobs/sha256"))? {
        let path = entry?.path();
        let sum = dunlin_testkit::namespace::system(&["sha256sum", &path.to_string_lossy()])?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ensure!(sum.starts_with(&name), "{name} is {sum}");
    }
    Ok(())
}

#[test]
fn an_image_that_does_not_fit_says_so_and_leaves_nothing() -> Result<()> {
    let world = World::on_small_disk(48)?;
    let outside = tempfile::tempdir()?;
    let archive = outside.path().join("large.tar");
    large(outside.path(), 12)?.write_docker_archive("large:test", &archive)?;
    let import = || world.server.dunlin(&["image", "import", &archive.to_string_lossy()]);

    let before = {
        disk(&world)?.fill(20 << 20)?;
        disk(&world)?.free()?
    };
    let Err(refused) = import() else { bail!("there is room for 12 MiB once, not for archive and layer") };
    let images = world.server.data.path().canonicalize()?.join("images");
    has(
        &format!("{refused:#}"),
        &["disk is full", &images.to_string_lossy(), "free space", "dunlin image rm"],
    )?;
    let list = world.server.dunlin(&["image", "ls"])?;
    ensure!(!list.contains("large") && list.contains("hello:test"), "{list}");
    blobs_are_whole(&world)?;
    let left = disk(&world)?.free()?;
    ensure!(left + (1 << 20) > before, "what it had brought is gone: {before} bytes before, {left} after");

    // What the message advises works, on a disk without a single free block.
    disk(&world)?.fill(0)?;
    world.server.dunlin(&["image", "rm", "hello:test"])?;
    ensure!(!world.server.dunlin(&["image", "ls"])?.contains("hello:test"));
    disk(&world)?.make_room()?;
    ensure!(import()?.contains("large"), "there is room");
    Ok(())
}

/// The distribution project's registry on the world's machine, holding one large image.
struct Registry {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Registry {
    const ADDRESS: &str = "127.0.0.1:5000";

    fn start(world: &World) -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}/data}}}}\nhttp: {{addr: '{}'}}\n",
            folder.path().display(),
            Self::ADDRESS
        );
        std::fs::write(&config, text)?;
        if Command::new("docker-registry").arg("--version").output().is_err() {
            eprintln!("NOT EXERCISED: docker-registry is not installed");
            return Ok(None);
        }
        let mut command = world.server.host.command("docker-registry".as_ref());
        command.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self { child: command.spawn()?, _folder: folder };

        // Brought there from a data directory of its own.
        let other = tempfile::tempdir()?;
        let archive = other.path().join("large.tar");
        large(other.path(), 12)?.write_docker_archive("large:test", &archive)?;
        let dunlin = |args: &[&str]| -> Result<()> {
            let mut command = world.server.host.command(&program::dunlin()?);
            let output = command.args(args).arg("--data-dir").arg(other.path().join("data")).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(())
        };
        dunlin(&["image", "import", &archive.to_string_lossy()])?;
        let target = format!("{}/large:test", Self::ADDRESS);
        wait::until("pushing to the registry", PATIENCE, || {
            dunlin(&["image", "push", "large:test", &target])
        })?;
        Ok(Some(registry))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_pod_whose_image_does_not_fit_says_so_and_starts_when_there_is_room() -> Result<()> {
    let world = World::on_small_disk(48)?;
    let Some(_registry) = Registry::start(&world)? else { return Ok(()) };
    disk(&world)?.fill(8 << 20)?;
    let image = format!("--image={}/large:test", Registry::ADDRESS);
    world.kubectl.run(&["run", "large", &image])?;
    let told = |pod: &Value| pod["status"]["containerStatuses"].to_string().contains("disk is full");
    let pod = world.pod_when("large", told)?;
    let images = world.server.data.path().canonicalize()?.join("images");
    let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
    has(&waiting["reason"].to_string(), &["ImagePull"])?;
    has(&waiting["message"].to_string(), &[&images.to_string_lossy(), "free space", "dunlin image rm"])?;
    wait::until("the event", PATIENCE, || {
        has(&world.kubectl.run(&["describe", "pod", "large"])?, &["Failed to pull image", "disk is full"])
    })?;
    blobs_are_whole(&world)?;
    ensure!(!world.server.dunlin(&["image", "ls"])?.contains("large"));

    disk(&world)?.make_room()?;
    world.pod_when("large", running)?;
    Ok(())
}

#[test]
fn a_container_that_fills_the_disk_takes_nothing_else_down() -> Result<()> {
    let mut world = World::on_small_disk(32)?;
    world.shell("steady", "while true; do sleep 1; done", "", "")?;
    world.pod_when("steady", running)?;
    let script = "dd if=/dev/zero of=/fill bs=64k; yes | head -c 4000000; touch /dev/shm/full; while true; do sleep 1; done";
    world.shell("greedy", script, "", "")?;
    wait::until("the disk being full", PATIENCE, || {
        world.kubectl.run(&["exec", "greedy", "--", "ls", "/dev/shm/full"])
    })?;
    ensure!(disk(&world)?.free()? < 1 << 20, "{} bytes are free", disk(&world)?.free()?);
    ensure!(world.kubectl.run(&["exec", "steady", "--", "echo", "here"])?.trim() == "here");
    world.server.wait_for_node("one")?;
    ensure!(world.server.process()?.ended()?.is_none(), "server and agent run");

    // Room is made where it was taken; then its log is written again, and so is the API.
    world.kubectl.run(&["exec", "greedy", "--", "rm", "/fill"])?;
    world.kubectl.run(&["exec", "greedy", "--", "sh", "-c", "echo after > /proc/1/fd/1"])?;
    world.log_with("greedy", "after")?;
    world.kubectl.run(&["create", "configmap", "again", "--from-literal=a=b"])?;
    world.kubectl.run(&["delete", "pod", "greedy", "--timeout=30s"])?;
    ensure!(running(&world.kubectl.json(&["pod", "steady"])?), "its neighbour noticed nothing");
    Ok(())
}
