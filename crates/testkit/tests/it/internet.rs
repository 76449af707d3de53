//! Reachability, address translation, and every fault of a cable, with the payload program as both ends.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dunlin_testkit::host::{Host, Lan, Network};
use dunlin_testkit::internet::Internet;
use dunlin_testkit::process::Process;
use dunlin_testkit::{program, wait};

fn serve(host: &Host, folder: &std::path::Path) -> Result<Process> {
    let mut command = host.command(&program::hello()?);
    command.args(["serve", "80"]);
    let served = Process::start(command, &folder.join(host.namespace().name()))?;
    wait::until("the web server", Duration::from_secs(10), || fetch(host, "127.0.0.1"))?;
    Ok(served)
}

fn fetch(host: &Host, address: &str) -> Result<()> {
    ask(host, address, "/")
}

/// Asks `address` for a page, from `host`, and waits two seconds.
fn ask(host: &Host, address: &str, page: &str) -> Result<()> {
    let mut command = host.command(std::path::Path::new("timeout"));
    command.arg("2").arg(program::hello()?).args(["get", &format!("{address}:80"), page]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "{address} did not answer");
    Ok(())
}

#[test]
fn sites_call_out_and_cannot_be_called() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let internet = Internet::new()?;
    let root = internet.host()?;
    let (site, other) = (internet.site()?, internet.site()?);
    let (inner, second, far) = (site.host()?, site.host()?, other.host()?);
    ensure!(inner.address == far.address, "two sites use the same range");
    let _servers = [serve(&root, folder.path())?, serve(&inner, folder.path())?];
    fetch(&inner, &root.address)?;
    fetch(&far, &root.address)?;
    fetch(&second, &inner.address)?;

    // A route to the private range does not help anybody outside, and the router itself has no open door.
    root.namespace().ip(&format!("route add 192.168.1.0/24 via {}", site.public_address))?;
    ensure!(fetch(&root, &inner.address).is_err(), "a machine in a site was called from outside");
    ensure!(fetch(&root, &site.public_address).is_err(), "the router was called from outside");

    site.uplink().cut()?;
    ensure!(fetch(&inner, &root.address).is_err(), "a cut site reached the root");
    fetch(&second, &inner.address)?;
    fetch(&far, &root.address)?;
    site.uplink().mend()?;
    fetch(&inner, &root.address)
}

#[test]
fn cables_are_slow_lossy_and_narrow_when_asked() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lan = Lan::new()?;
    let (one, two) = (lan.host()?, lan.host()?);
    let _server = serve(&two, folder.path())?;
    fetch(&one, &two.address)?;

    one.cable().slow(Duration::from_millis(150))?;
    let begun = Instant::now();
    fetch(&one, &two.address)?;
    // The handshake and the answer are two round trips.
    ensure!(begun.elapsed() >= Duration::from_millis(600), "it took {:?}", begun.elapsed());
    one.cable().slow(Duration::ZERO)?;

    one.cable().lossy(100)?;
    ensure!(fetch(&one, &two.address).is_err(), "every packet was to be lost");
    one.cable().lossy(0)?;
    fetch(&one, &two.address)?;

    let before = one.cable().traffic()?;
    fetch(&one, &two.address)?;
    let used = one.cable().traffic()?.since(before);
    ensure!((5..20).contains(&used.sent_packets) && used.sent_bytes > 300, "{used:?}");
    ensure!((4..20).contains(&used.received_packets) && used.received_bytes > 300, "{used:?}");

    // 60 KB at 64 kbit/s take more than seven seconds; `ask` waits for two.
    let large = format!("/{}", "x".repeat(60_000));
    ask(&one, &two.address, &large)?;
    one.cable().throttle(Some("64kbit"))?;
    ensure!(ask(&one, &two.address, &large).is_err(), "60 KB passed a wire of 64 kbit/s within 2 s");
    one.cable().throttle(None)?;
    ask(&one, &two.address, &large)
}

#[test]
fn nothing_is_left_behind() -> Result<()> {
    let names = {
        let internet = Internet::new()?;
        let site = internet.site()?;
        let host = site.host()?;
        let names = dunlin_testkit::namespace::system(&["ip", "netns", "list"])?;
        ensure!(names.contains(host.namespace().name()));
        host.namespace().name().to_owned()
    };
    let left = dunlin_testkit::namespace::system(&["ip", "netns", "list"])?;
    ensure!(!left.lines().any(|line| line.split(' ').next() == Some(&names)), "{left}");
    Ok(())
}
