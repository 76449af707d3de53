//! Who can be connected to, and from where: only servers listen, and nothing that lies behind a NAT is reached from
//! outside it, though pods of the root run there and are looked into from there.

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::Dunlin;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::internet::Internet;
use dunlin_testkit::wait;

use crate::support::{heard, pod_when, running};

/// On the machine of a cluster behind NAT, with a port of the machine that leads into it.
const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: served}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {place: field}
  containers: [{name: web, image: 'hello:test', ports: [{containerPort: 8080, hostPort: 18080}]}]
";

/// Whether a TCP connection from one machine to an address comes about. Nobody waits for what a router swallows.
fn connects(from: &Dunlin, address: &str, port: u16) -> Result<bool> {
    let line = format!("timeout 2 busybox nc -w 2 {address} {port} < /dev/null > /dev/null 2>&1; echo $?");
    let status = from.host.namespace().shell(&line)?;
    Ok(status.trim() == "0")
}

#[test]
fn only_servers_listen_and_nothing_behind_a_nat_is_reached_from_outside() -> Result<()> {
    let internet = Internet::new()?;
    let site = internet.site()?;
    let root = Dunlin::server(&internet, &["--name", "root", "--node-name", "root-machine"])?;
    let edge = Dunlin::agent(&internet, &root, "edge", &[])?;
    let garching = Dunlin::child(&site, &root, "garching", &["--node-name", "garching-machine"])?;
    let board = Dunlin::agent(&site, &garching, "board", &["--label", "place=field"])?;
    root.wait_for_node("garching")?;
    board.import(&ImageBuilder::hello()?, "hello:test")?;
    let kubectl = root.kubectl();
    kubectl.apply(POD)?;
    pod_when(&kubectl, "served", running)?;
    // What goes down opens connections, which must not leave a listener behind.
    ensure!(kubectl.run(&["exec", "served", "--", "/hello", "env"])?.contains("PATH="));

    // A port of the machine is a rule of the kernel and no listener.
    for agent in [&edge, &board] {
        let open = heard(agent)?;
        ensure!(open.is_empty(), "an agent listens on {open:?}");
    }
    // A child is a client of its parent: it listens for its own site, on the one address that it was given.
    for server in [&root, &garching] {
        let open = heard(server)?;
        ensure!(open == [format!("tcp {}:6443", server.host.address)], "a server listens on {open:?}");
    }

    // Within the site everything is reached that is to be, so that what follows means something.
    let inside = &garching.host.address;
    ensure!(connects(&board, inside, 6443)?, "the machine does not reach its own server");
    wait::until("the machine's port", std::time::Duration::from_secs(10), || {
        ensure!(connects(&garching, &board.host.address, 18080)?, "it is not reached within the site");
        Ok(())
    })?;
    ensure!(connects(&edge, &root.host.address, 6443)?, "the backbone carries nothing");

    let router = &site.public_address;
    std::thread::scope(|scope| {
        let tried = [6443, 18080, 8080, 10250, 22, 53, 80, 443].map(|port| {
            let tried = [&root, &edge].map(|from| scope.spawn(move || connects(from, router, port)));
            (port, tried)
        });
        for (port, tried) in tried {
            for from in tried {
                let connected = from.join().expect("connecting does not panic")?;
                ensure!(!connected, "{router}:{port} leads into the site");
            }
        }
        anyhow::Ok(())
    })?;
    // Nor by who claims to be the way to the private addresses: the router forwards nothing that was not asked for.
    for (machine, port) in [(&garching, 6443), (&board, 18080)] {
        let route = format!("route add {} via {router}", machine.host.address);
        root.host.namespace().ip(&route).context("a route past the NAT")?;
        ensure!(!connects(&root, &machine.host.address, port)?, "port {port} is reached past the NAT");
    }
    Ok(())
}
