//! Sessions through three tunnels: from the root through a region to a site behind NAT, and to a machine of that site.

use anyhow::{Result, ensure};
use dunlin_testkit::cluster::Dunlin;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::internet::{Internet, Site};
use dunlin_testkit::kubectl::Kubectl;

use crate::streaming::{SPDY, forwards_ports, runs_commands};

/// On the machine that is farthest from the root, and on no other.
const PLACE: &str = "nodeSelector: {level: board}";

/// Fields drop in this order.
struct Deep {
    board: Dunlin,
    _site: Dunlin,
    _region: Dunlin,
    root: Dunlin,
    _north: Site,
    _internet: Internet,
    /// The root's.
    kubectl: Kubectl,
}

impl Deep {
    fn new() -> Result<Self> {
        let internet = Internet::new()?;
        let north = internet.site()?;
        let root = Dunlin::server(&internet, &["--name", "root", "--no-agent"])?;
        let region = Dunlin::child(&internet, &root, "region", &["--node-name", "region-machine"])?;
        let site = Dunlin::child(&north, &region, "site", &["--node-name", "site-machine"])?;
        let board = Dunlin::agent(&north, &site, "board", &["--label", "level=board"])?;
        board.import(&ImageBuilder::hello()?, "hello:test")?;
        board.import(&ImageBuilder::busybox()?, "busybox:test")?;
        root.wait_for_node("region")?;
        let kubectl = root.kubectl();
        Ok(Self { board, _site: site, _region: region, root, _north: north, _internet: internet, kubectl })
    }
}

#[test]
fn ports_are_forwarded_through_three_tunnels() -> Result<()> {
    let deep = Deep::new()?;
    forwards_ports(&deep.root, PLACE, &deep.kubectl)?;
    ensure!(deep.board.running("hello")? == 2, "the pod runs somewhere nearer");
    forwards_ports(&deep.root, PLACE, &deep.kubectl.clone().env(&SPDY))
}

#[test]
fn commands_run_through_three_tunnels() -> Result<()> {
    let deep = Deep::new()?;
    let place = format!("  {PLACE}");
    runs_commands(&deep.kubectl, &place)?;
    runs_commands(&deep.kubectl.clone().env(&SPDY), &place)
}
