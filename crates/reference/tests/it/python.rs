//! The official Python client.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use dunlin_reference::components::component;
use dunlin_testkit::cluster::Dunlin;
use dunlin_testkit::host::Lan;
use dunlin_testkit::image::ImageBuilder;

/// Runs `clients/check.py` against a Dunlin server with its own agent.
pub fn run() -> Result<()> {
    let lan = Lan::new()?;
    let server = Dunlin::server(&lan, &["--node-name", "one"])?;
    server.import(&ImageBuilder::busybox()?, "busybox:test")?;
    let mut command = server.host.command(&component("python/bin/python")?);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/check.py"))
        .env("KUBECONFIG", server.data.path().join("kubeconfig.yaml"));
    let output = command.output().context("starting python")?;
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(output.status.success(), "{said}");
    Ok(())
}
