//! Pods on cgroup v2, in a machine that has nothing else: their limits, their end, their takeover.

use std::time::Duration;

use anyhow::{Result, ensure};
use dunlin_testkit::guest::Guest;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::program;

/// Several times what it takes on a machine that has nothing else to do.
const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn pods_live_in_cgroup_v2() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("image.tar");
    ImageBuilder::busybox()?.write_docker_archive("busybox:test", &image)?;
    let console = Guest::new()?
        .program("/bin/dunlin", &program::dunlin()?)?
        .file("/image.tar", &image)
        .text("/pods.yaml", include_str!("guest/pods.yaml"))
        .run(include_str!("guest/cgroup-v2.sh"), LIMIT)?;
    ensure!(console.contains("nothing is left"), "the script's last step was done: {console}");
    Ok(())
}
