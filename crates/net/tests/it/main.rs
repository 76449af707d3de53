//! The pod network for real, inside a private network namespace of this test's own process thread.
//!
//! Needs root; without it the test says so and ends, because nothing can be exercised.

use std::net::Ipv4Addr;
use std::process::Command;

use dunlin_net::{HostPort, NetConfig, Network, Protocol, netlink};

fn run(words: &[&str]) -> bool {
    Command::new(words[0]).args(&words[1..]).output().is_ok_and(|o| o.status.success())
}

struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Option<Self> {
        let name = format!("{name}{}", std::process::id());
        run(&["ip", "netns", "add", &name]).then(|| Self(name))
    }
    fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run(&["ip", "netns", "del", &self.0]);
    }
}

#[test]
fn two_pods_reach_each_other_and_host_ports_lead_inside() {
    let (Some(host), Some(a), Some(b)) =
        (Namespace::new("dnlh"), Namespace::new("dnla"), Namespace::new("dnlb"))
    else {
        eprintln!("not root: the pod network was not exercised");
        return;
    };
    let file = std::fs::File::open(host.path()).expect("namespace");
    // The test's own thread enters the host namespace, so that every socket of the runtime below is opened there.
    std::thread::spawn(move || {
        use std::os::fd::AsRawFd as _;
        // SAFETY: setns takes an open descriptor and changes only this thread.
        assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(exercise(&a.path(), &b.path()));
        drop((a, b));
    })
    .join()
    .expect("the network works");
    drop(host);
}

async fn exercise(a: &str, b: &str) {
    assert!(run(&["ip", "link", "set", "lo", "up"]));
    let dir = tempfile::tempdir().expect("dir");
    let config = NetConfig {
        api: dunlin_net::network::API,
        id: "0a1b2c3d".into(),
        range: "10.99.0.0/24".parse().expect("range"),
        state_dir: dir.path().into(),
    };
    let network = Network::start(config.clone()).await.expect("start");
    let port = HostPort { protocol: Protocol::Tcp, host_ip: None, host_port: 8080, container_port: 80 };
    let first = network.attach("pod-a", a.as_ref(), &[port]).await.expect("attach a");
    let second = network.attach("pod-b", b.as_ref(), &[]).await.expect("attach b");
    assert_eq!((first, second), (Ipv4Addr::new(10, 99, 0, 2), Ipv4Addr::new(10, 99, 0, 3)));

    let inside = netlink::open_namespace(a.as_ref()).expect("open");
    let listener =
        netlink::in_namespace(inside, || Ok(std::net::TcpListener::bind("0.0.0.0:80").expect("bind")))
            .await
            .expect("listen");
    for address in ["10.99.0.2:80"] {
        let from_b = netlink::open_namespace(b.as_ref()).expect("open");
        netlink::connect(from_b, address.parse().expect("address")).await.expect("pod to pod");
        listener.accept().expect("accept");
    }
    for address in ["10.99.0.2:80", "127.0.0.1:8080"] {
        tokio::net::TcpStream::connect(address).await.unwrap_or_else(|e| panic!("host to {address}: {e}"));
        listener.accept().expect("accept");
    }
    // A second agent takes over what the first left.
    drop(network);
    let network = Network::start(config).await.expect("again");
    assert_eq!(network.address("pod-a"), Some(first));
    network.detach("pod-a").await.expect("detach");
    network.detach("pod-a").await.expect("detach twice");
    assert!(tokio::net::TcpStream::connect("127.0.0.1:8080").await.is_err());
    network.remove().await.expect("remove");
    assert!(!run(&["ip", "link", "show", "dnl0a1b2c3d"]));
}
